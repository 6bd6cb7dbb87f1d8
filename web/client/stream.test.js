import assert from 'node:assert/strict'
import { test } from 'node:test'

import { MercurioError } from './api.js'
import { Stream } from './stream.js'
import { Tokens } from './tokens.js'

const ID = '0123456789abcdef'
const gone = () => {
  throw new MercurioError('stream-not-found', 'it is at another gateway', { status: 404 })
}

/**
 * A stream of ten seconds, its server's end, what the gateway was shown, and how often a token was asked for.
 * @param {import('node:test').TestContext} context
 * @param {object} given
 * @param {string[]} given.tokens  what the page gives, one after the other; '' fails
 * @param {() => number | null} [given.renew]  what the gateway answers
 * @param {'header' | 'cookie' | 'query'} [given.auth]
 * @param {boolean} [given.hasToken]
 */
async function opened(context, { tokens, renew = () => 10_000, auth = 'header', hasToken = true }) {
  context.mock.timers.enable({ apis: ['setTimeout', 'Date'] })
  /** @type {{ opened: number, asked: number, shown: string[] }} */
  const seen = { opened: 0, asked: 0, shown: [] }
  const ask = async () => {
    const token = tokens[Math.min((seen.asked += 1), tokens.length) - 1] ?? ''
    if (token === '' && auth !== 'cookie') throw new MercurioError('token-failed', 'signed out')
    return token
  }
  const of = new Tokens(ask, auth === 'cookie' ? '' : 'first')
  /** @type {ReadableStreamDefaultController | undefined} */
  let server
  const api = {
    /** @param {number} cursor  @param {AbortController} ending */
    async stream(cursor, ending) {
      seen.opened += 1
      const body = new ReadableStream({ start: (controller) => void (server = controller) })
      ending.signal.addEventListener('abort', () => server?.error(new Error('aborted')))
      return { body, id: ID, heartbeat: 1e9, left: 10_000 }
    },
    /** @param {string} id */
    async renew(id) {
      assert.equal(id, ID)
      seen.shown.push(of.current)
      return renew()
    },
  }
  const listener = { onEvent: () => {}, onRetry: () => {}, onRead: () => {} }
  const config = { auth, hasToken, heartbeat: 1e9 }
  const stream = new Stream(/** @type {any} */ (api), of, /** @type {any} */ (config), listener)
  const followed = stream.follow(7)
  await settled()
  /** @param {number} milliseconds */
  const pass = async (milliseconds) => {
    context.mock.timers.tick(milliseconds)
    await settled()
  }
  return { stream, followed, seen, pass }
}

/** What was due has been done. */
const settled = () => new Promise((resolve) => setImmediate(resolve))

test('the same stream goes on with one fresh token after the other', async (context) => {
  const { stream, followed, seen, pass } = await opened(context, { tokens: ['second', 'third'] })
  await pass(7999)
  assert.deepEqual(seen, { opened: 1, asked: 0, shown: [] })
  await pass(1)
  await pass(8000)
  assert.deepEqual(seen, { opened: 1, asked: 2, shown: ['second', 'third'] })
  assert.equal(stream.why, '')
  stream.giveUp('closed')
  await followed
  // Nothing is left running.
  await pass(60_000)
  assert.equal(seen.asked, 2)
})

test('where it is not kept open it is given up for another one', async (context) => {
  const { stream, followed, seen, pass } = await opened(context, {
    tokens: ['second'],
    renew: gone,
  })
  await pass(8000)
  await followed
  assert.equal(stream.why, 'renewed')
  assert.deepEqual(seen, { opened: 1, asked: 1, shown: ['second'] })
})

test('a token that is the old one still, or none, is asked for again', async (context) => {
  const given = { tokens: ['first', '', 'second'] }
  const { stream, followed, seen, pass } = await opened(context, given)
  await pass(8000)
  assert.deepEqual(seen, { opened: 1, asked: 1, shown: [] })
  // Two seconds are left, then 0.4: too late for another attempt.
  await pass(1600)
  assert.deepEqual(seen, { opened: 1, asked: 2, shown: [] })
  await pass(60_000)
  assert.deepEqual(seen, { opened: 1, asked: 2, shown: [] })
  assert.equal(stream.why, '')
  stream.giveUp('token-expired')
  await followed
  assert.equal(stream.why, 'token-expired')
})

test('a token without an end is the last', async (context) => {
  const { stream, followed, seen, pass } = await opened(context, {
    tokens: ['second'],
    renew: () => null,
  })
  await pass(8000)
  await pass(2 ** 31)
  assert.deepEqual(seen.shown, ['second'])
  stream.giveUp('closed')
  await followed
})

test('by cookie the gateway tells how long it has', async (context) => {
  for (const hasToken of [true, false]) {
    const given = { tokens: [], auth: /** @type {const} */ ('cookie'), hasToken }
    const { stream, followed, seen, pass } = await opened(context, given)
    await pass(8000)
    assert.deepEqual(seen, { opened: 1, asked: hasToken ? 1 : 0, shown: [''] })
    stream.giveUp('closed')
    await followed
    context.mock.timers.reset()
  }
})

test('a cookie that nobody renews is no reason to give a stream up', async (context) => {
  const given = { tokens: [], auth: /** @type {const} */ ('cookie'), hasToken: false, renew: gone }
  const { stream, followed, pass } = await opened(context, given)
  await pass(8000)
  assert.equal(stream.why, '')
  stream.giveUp('closed')
  await followed
})
