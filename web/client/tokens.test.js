import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Tokens, ask, renewIn } from './tokens.js'

test('a token is replaced before the stream ends', () => {
  assert.equal(renewIn(3_600_000), 3_570_000)
  assert.equal(renewIn(10_000), 8000)
  assert.equal(renewIn(999), null)
  assert.equal(renewIn(-10_000), null)
  assert.equal(renewIn(1e12), 2 ** 31 - 1)
  assert.equal(renewIn(null), null)
})

test('those who ask at the same time get the same', async () => {
  let asked = 0
  const tokens = new Tokens(async () => `t${(asked += 1)}`, '')
  assert.deepEqual(await Promise.all([tokens.get(), tokens.get(), tokens.renew()]), [
    't1',
    't1',
    't1',
  ])
  assert.equal(await tokens.instead('t1'), 't2')
  // Another has replaced it already.
  assert.equal(await tokens.instead('t1'), 't2')
  assert.equal(asked, 2)
})

test('what getToken gives is checked', async () => {
  assert.equal(await ask(async () => 'x', 'header'), 'x')
  assert.equal(await ask(async () => undefined, 'cookie'), '')
  const wrong = /** @type {any[]} */ ([async () => '', async () => null, () => 7, undefined])
  for (const getToken of wrong)
    await assert.rejects(ask(getToken, 'query'), { code: 'token-failed' })
  const failing = ask(() => Promise.reject(new Error('signed out')), 'cookie')
  await assert.rejects(failing, { code: 'token-failed', message: 'getToken failed: signed out' })
})

test('an error page is no token', async () => {
  for (const given of ['<html>\n  Not found</html>', '', ' ', 'two words', 'ü', undefined, 7]) {
    await assert.rejects(
      ask(async () => given, 'header'),
      { code: 'token-failed' },
    )
  }
  assert.equal(await ask(async () => 'a.b.c\n', 'header'), 'a.b.c')
})
