import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Session } from './session.js'

/** What was due has been done. */
const settled = async () => {
  for (let turns = 0; turns < 20; turns += 1) await new Promise((resolve) => setImmediate(resolve))
}

const page = {
  clientID: 'alice',
  notifications: [],
  nextPageToken: '',
  cursor: 1,
  unreadCount: 0,
}

/** @param {string} text */
const stream = (text) =>
  new Response(text, {
    headers: { 'content-type': 'text/event-stream', 'mercurio-heartbeat': '1000000' },
  })
const opened =
  'event: opened\nid: 1\ndata: {"complete":true,"oldest":0,"cursor":1,"unreadCount":0}\n\n'
const revoked = 'event: closing\ndata: {"reason":"token-revoked"}\n\n'

/** @param {import('node:test').TestContext} context */
async function closedAsRevoked(context) {
  context.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 })
  /** @type {(() => Response)[]} */
  const streams = [() => stream(opened + revoked)]
  const asked = { streams: 0, tokens: 0 }
  context.mock.method(globalThis, 'fetch', async (/** @type {string} */ url) => {
    if (!url.includes('/stream')) return Response.json(page)
    asked.streams += 1
    return /** @type {() => Response} */ (streams.shift())()
  })
  /** @type {string[]} */
  const shown = []
  const session = new Session(
    /** @type {any} */ ({
      url: 'http://localhost',
      user: 'alice',
      isMe: false,
      auth: 'header',
      hasToken: true,
      topics: [],
      pageSize: 30,
      heartbeat: 1e9,
    }),
    {
      token: async () => `token-${(asked.tokens += 1)}`,
      onOtherUser: () => assert.fail(),
      publish: ({ connection }) => void (shown.at(-1) === connection || shown.push(connection)),
    },
    { token: 'first', model: undefined },
  )
  session.start()
  await settled()
  /** @param {number} milliseconds */
  const pass = async (milliseconds) => {
    context.mock.timers.tick(milliseconds)
    await settled()
  }
  return { session, streams, asked, shown, pass }
}

test('a woken page does not ask for a token in the second that was revoked', async (context) => {
  const { session, streams, asked, shown, pass } = await closedAsRevoked(context)
  streams.push(() => stream(opened))
  assert.deepEqual(asked, { streams: 1, tokens: 0 })
  session.wake()
  await pass(999)
  session.wake()
  await settled()
  assert.deepEqual(asked, { streams: 1, tokens: 0 })
  await pass(1)
  session.wake()
  await settled()
  assert.deepEqual(asked, { streams: 2, tokens: 1 })
  assert.ok(!shown.includes('closed'))
  session.close()
})

test('who is given a token of the revoked second all the same asks for the next one', async (context) => {
  const { session, streams, asked, shown, pass } = await closedAsRevoked(context)
  const refused = () => Response.json({ code: 'token-revoked', error: 'revoked' }, { status: 401 })
  streams.push(refused, refused, () => stream(opened))
  await pass(1_000 + 3_000)
  assert.deepEqual(asked, { streams: 3, tokens: 2 })
  assert.equal(shown.at(-1), 'waiting')
  await pass(60_000)
  assert.equal(asked.streams, 4)
  assert.ok(shown.includes('open') && !shown.includes('closed'))
  session.close()
})
