import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'

import { WhoAmI } from './whoami.js'

/** @type {import('./api.js').Config} */
const config = {
  url: 'http://gateway.example',
  user: 'me',
  isMe: true,
  auth: 'header',
  hasToken: true,
  topics: [],
  pageSize: 30,
  heartbeat: 15_000,
}
const alice = { clientID: 'alice', notifications: [], nextPageToken: '', cursor: 0, unreadCount: 0 }

/**
 * A gateway that answers these, one after the other, to somebody who asks who they are.
 * @param {import('node:test').TestContext} context
 * @param {[number, Record<string, string>?][]} answers  status and head
 */
function asking(context, answers) {
  context.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 })
  context.mock.method(Math, 'random', () => 0.5)
  const browser = { onLine: true }
  Object.defineProperty(globalThis, 'navigator', { value: browser, configurable: true })
  let asked = 0
  context.mock.method(globalThis, 'fetch', async () => {
    const [status, headers = {}] = answers[asked++] ?? [200]
    const said = status === 200 ? alice : { code: 'no', error: 'no' }
    return new Response(JSON.stringify(said), { status, headers })
  })
  /** @type {string[]} */
  const failures = []
  const whoami = new WhoAmI(
    config,
    async () => `token${asked}`,
    ({ code }) => failures.push(code),
  )
  /** What is under way goes on until it waits. */
  const settle = async () => {
    for (let turns = 0; turns < 10; turns += 1) await turn()
  }
  return { whoami, settle, failures, asked: () => asked, browser }
}

test('when to come again is heeded, also by who wakes it', async (context) => {
  const { whoami, settle, failures, asked } = asking(context, [[503, { 'retry-after': '20' }]])
  const found = whoami.ask('')
  await settle()
  assert.deepEqual([asked(), failures], [1, ['no']])
  context.mock.timers.tick(19_000)
  whoami.wake()
  await settle()
  assert.equal(asked(), 1)
  context.mock.timers.tick(1000)
  whoami.wake()
  assert.deepEqual(await found, { clientID: 'alice', token: 'token0' })
  assert.equal(asked(), 2)
})

test('a wait that nobody asked for is cut short', async (context) => {
  const { whoami, settle, asked } = asking(context, [[500]])
  const found = whoami.ask('')
  await settle()
  assert.equal(asked(), 1)
  whoami.wake()
  assert.equal((await found)?.clientID, 'alice')
})

test('it sleeps while there is no network', async (context) => {
  const { whoami, settle, asked, browser } = asking(context, [[500]])
  browser.onLine = false
  const found = whoami.ask('')
  await settle()
  assert.equal(whoami.isOffline, true)
  context.mock.timers.tick(3600_000)
  await settle()
  assert.equal(asked(), 1)
  browser.onLine = true
  whoami.wake()
  assert.equal((await found)?.clientID, 'alice')
})

test('what is refused for good is asked again only where the page says so', async (context) => {
  const { whoami, settle, asked } = asking(context, [[404]])
  const found = whoami.ask('')
  await settle()
  assert.equal(whoami.refused?.status, 404)
  whoami.wake()
  context.mock.timers.tick(3600_000)
  await settle()
  assert.equal(asked(), 1)
  whoami.again()
  assert.equal(whoami.refused, null)
  assert.equal((await found)?.clientID, 'alice')
})

test('closed, it ends', async (context) => {
  const { whoami, settle, asked } = asking(context, [[500]])
  const found = whoami.ask('')
  await settle()
  whoami.close()
  assert.equal(await found, null)
  assert.equal(asked(), 1)
})

test('users that change over and over wait', async (context) => {
  const { whoami, settle } = asking(context, [])
  const ends = [false, false]
  void whoami.otherUser().then(() => (ends[0] = true))
  context.mock.timers.tick(1)
  await settle()
  void whoami.otherUser().then(() => (ends[1] = true))
  context.mock.timers.tick(1000)
  await settle()
  assert.deepEqual(ends, [true, false])
  context.mock.timers.tick(1000)
  await settle()
  assert.deepEqual(ends, [true, true])
})
