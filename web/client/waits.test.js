import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Waits, isCutOff } from './waits.js'

/**
 * The longest of many waits.
 * @param {() => number} wait
 */
const longest = (wait) => Math.max(...Array.from({ length: 200 }, wait))

test('waits are random, from what the stream said, and grow to a minute', () => {
  for (const [failures, most] of [
    [0, 2000],
    [1, 4000],
    [3, 16_000],
    [10, 60_000],
    [2000, 60_000],
  ]) {
    const wait = () => {
      const waits = new Waits()
      waits.retry = 2000
      for (let n = 0; n < Number(failures); n += 1) waits.afterRefusal(0)
      return waits.afterEnd('')
    }
    const found = longest(wait)
    assert.ok(found <= Number(most) && found > Number(most) * 0.8, `${failures}: ${found}`)
    assert.ok(wait() !== wait())
  }
})

test('what worked begins anew', () => {
  const waits = new Waits()
  for (let n = 0; n < 10; n += 1) waits.afterRefusal(0)
  const reset = () => (waits.reset(), waits.afterRefusal(0))
  assert.ok(longest(reset) <= 3000)
})

test('a server that stops has spread the waits itself', () => {
  const waits = new Waits()
  waits.retry = 1234
  assert.equal(waits.afterEnd('shutdown'), 1234)
})

test("a token is new enough to be good when its user's were revoked", (context) => {
  context.mock.timers.enable({ apis: ['Date'], now: 1_000_000 })
  const waits = new Waits()
  const all = Array.from({ length: 20 }, () => waits.afterEnd('token-revoked'))
  assert.ok(all.every((wait) => wait >= 1000))
  context.mock.timers.tick(999)
  assert.equal(waits.mayHurry, false)
  context.mock.timers.tick(1)
  assert.equal(waits.mayHurry, true)
})

test('when to come again is heeded', () => {
  const waits = new Waits()
  assert.equal(waits.mayHurry, true)
  const wait = waits.afterRefusal(30_000)
  assert.ok(wait >= 30_000 && wait <= 33_000)
  assert.equal(waits.mayHurry, false)
})

test('at once, but not twice in a second', () => {
  const waits = new Waits()
  assert.equal(waits.afterEnd('token-expired'), 0)
  const again = Array.from({ length: 20 }, () => waits.afterEnd('renewed'))
  assert.ok(again.every((wait) => wait > 0))
})

test('this machine is there without a network too', () => {
  for (const here of [
    'http://localhost:8000',
    'http://a.localhost',
    'http://127.0.0.1',
    'http://[::1]:1',
  ]) {
    assert.equal(isCutOff(here, false), false, here)
  }
  assert.equal(isCutOff('https://app.example', false), true)
  assert.equal(isCutOff('https://localhost.example', false), true)
  assert.equal(isCutOff('https://app.example', true), false)
})
