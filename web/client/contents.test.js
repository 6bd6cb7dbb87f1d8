import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'

import { MercurioError } from './api.js'
import { Contents } from './contents.js'
import { nothing } from './model.js'

/** @param {number} cursor @param {number} unreadCount */
const page = (cursor, unreadCount) => ({
  clientID: 'alice',
  notifications: [],
  nextPageToken: '',
  cursor,
  unreadCount,
})

const config = /** @type {any} */ ({ topics: [], pageSize: 30 })
const told = { changed: () => {}, arrived: () => {}, otherUser: () => assert.fail() }

test('a page from a server that is behind is asked for again', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] })
  const pages = [page(5, 3), page(8, 2), page(9, 1)]
  const asked = context.mock.fn(async () => pages.shift() ?? page(9, 1))
  const api = /** @type {any} */ ({ page: asked, user: 'alice' })
  const known = { ...nothing, clientID: 'alice', cursor: 9, unreadCount: 1 }
  const contents = new Contents(config, api, told, known)
  const loaded = contents.load('refresh')
  for (const times of [1, 2, 3]) {
    for (let turns = 0; turns < 10; turns += 1) await turn()
    assert.equal(asked.mock.callCount(), times)
    assert.equal(contents.model.unreadCount, 1, 'what is older is not taken')
    context.mock.timers.tick(250)
  }
  await loaded
  assert.equal(contents.model.unreadCount, 1)
  contents.close()
})

test('what everybody is told is not asked about at once', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] })
  context.mock.method(Math, 'random', () => 0.5)
  const asked = context.mock.fn(async () => page(9, 0))
  const api = /** @type {any} */ ({ page: asked, user: 'alice' })
  const known = { ...nothing, clientID: 'alice', cursor: 7, unreadCount: 2 }
  const contents = new Contents(config, api, told, known)
  for (const cursor of [8, 9]) {
    contents.take({ kind: 'gone', cursor, gone: { notificationIDs: [cursor - 7] } })
  }
  context.mock.timers.tick(1_499)
  await turn()
  assert.equal(asked.mock.callCount(), 0)
  context.mock.timers.tick(1)
  for (let turns = 0; turns < 10; turns += 1) await turn()
  assert.equal(asked.mock.callCount(), 1, 'once for both')
  assert.equal(contents.model.unreadCount, 0)
  contents.close()
})

test('what could not be answered is asked again, later each time', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] })
  context.mock.method(Math, 'random', () => 0.5)
  const busy = new MercurioError('too-many-requests', 'busy', { status: 429, retryAfter: 7_000 })
  const away = new MercurioError('unreachable', 'away')
  const failures = [away, busy, away]
  const asked = context.mock.fn(async () => {
    const failure = failures.shift()
    if (failure) throw failure
    return page(8, 1)
  })
  const api = /** @type {any} */ ({ page: asked, user: 'alice' })
  const known = { ...nothing, clientID: 'alice', cursor: 7, unreadCount: 2 }
  const contents = new Contents(config, api, told, known)
  contents.take({ kind: 'gone', cursor: 8, gone: { notificationIDs: [1] } })
  let times = 0
  for (const wait of [1_500, 3_000, 7_000 + 6_000, 12_000]) {
    context.mock.timers.tick(wait - 1)
    for (let turns = 0; turns < 10; turns += 1) await turn()
    assert.equal(asked.mock.callCount(), times, `${wait}`)
    context.mock.timers.tick(1)
    for (let turns = 0; turns < 10; turns += 1) await turn()
    assert.equal(asked.mock.callCount(), (times += 1), `${wait}`)
  }
  assert.equal(contents.model.unreadCount, 1)
  context.mock.timers.tick(600_000)
  for (let turns = 0; turns < 10; turns += 1) await turn()
  assert.equal(asked.mock.callCount(), 4, 'it is answered')
  // What is refused for good is not asked again.
  failures.push(new MercurioError('not-your-feed', 'no', { status: 403 }))
  contents.refresh()
  for (let turns = 0; turns < 10; turns += 1) await turn()
  context.mock.timers.tick(600_000)
  for (let turns = 0; turns < 10; turns += 1) await turn()
  assert.equal(asked.mock.callCount(), 5)
  contents.close()
})
