import assert from 'node:assert/strict'
import { test } from 'node:test'

import {
  marked,
  nextExpiry,
  nothing,
  topicFilter,
  withChange,
  withoutExpired,
  withPage,
} from './model.js'

/**
 * @typedef {import('./model.js').Change} Change
 * @typedef {import('./model.js').Model} Model
 * @typedef {import('./model.js').Notification} Notification
 */

const all = () => true
const at = '2026-01-01T00:00:00.000Z'

/**
 * @param {number} id
 * @param {Partial<Notification>} [more]
 * @returns {Notification}
 */
const note = (id, more) => ({
  notificationID: id,
  eventID: `e${id}`,
  sourceID: 's',
  clientID: 'alice',
  topic: 't',
  data: `n${id}`,
  createdAt: at,
  ...more,
})

/**
 * @param {Model} model
 * @returns {[number, boolean][]}
 */
const seen = (model) => model.items.map((one) => [one.notificationID, one.readAt !== undefined])

test('topic filters are those of the gateway', () => {
  const passes = topicFilter(['a.*', 'b.>'])
  for (const [topic, expected] of /** @type {[string, boolean][]} */ ([
    ['a.x', true],
    ['a', false],
    ['a.x.y', false],
    ['b.x.y', true],
    ['b', false],
    ['', false],
  ])) {
    assert.equal(passes(topic), expected, topic)
  }
  assert.equal(topicFilter([])(''), true)
  assert.equal(topicFilter(['>'])('a.b'), true)
})

test('the count is exact at its cursor', () => {
  /** @type {Model} */
  let model = { ...nothing, clientID: 'alice', unreadCount: 3, counted: 10 }
  // Caught up: it is in the count already, and so is what is said of a time before.
  model = withChange(model, { kind: 'notification', cursor: 9, notification: note(9) }, all)
  assert.equal(model.unreadCount, 3)
  const marks = { notificationIDs: [9], status: /** @type {'read'} */ ('read'), unreadCount: 7 }
  model = withChange(
    model,
    { kind: 'marks', cursor: 10, marks: { ...marks, unreadCount: 3 }, at },
    all,
  )
  assert.equal(model.unreadCount, 3)
  model = withChange({ ...model, counted: 12 }, { kind: 'marks', cursor: 11, marks, at }, all)
  assert.equal(model.unreadCount, 3)
  // Live: each adds one, also of a topic that is not shown.
  model = withChange(
    model,
    { kind: 'notification', cursor: 13, notification: note(13) },
    () => false,
  )
  model = withChange(model, { kind: 'notification', cursor: 14, notification: note(14) }, all)
  assert.equal(model.unreadCount, 5)
  assert.deepEqual(seen(model), [
    [14, false],
    [9, true],
  ])
})

test('what is older than what is loaded comes with its page', () => {
  /** @type {Model} */
  const model = { ...nothing, items: [note(9), note(8)], nextPageToken: 'x' }
  /** @type {Change} */
  const change = { kind: 'notification', cursor: 10, notification: note(3) }
  assert.equal(withChange(model, change, all).items, model.items)
  const last = withChange({ ...model, nextPageToken: '' }, change, all)
  assert.deepEqual(seen(last), [
    [9, false],
    [8, false],
    [3, false],
  ])
  const twice = withChange(last, change, all)
  assert.equal(twice.items, last.items)
})

test('marks of what is not there, or is so already, change nothing', () => {
  const items = [note(3), note(2, { readAt: at })]
  assert.equal(marked(items, { notificationIDs: [1, 2], status: 'read' }, at), items)
  assert.equal(marked(items, { notificationIDs: [], upTo: 0, status: 'read' }, at), items)
  const after = marked(items, { notificationIDs: [], upTo: 2, status: 'unread' }, at)
  assert.deepEqual(after, [note(3), note(2)])
  assert.ok(!('readAt' in /** @type {Notification} */ (after[1])))
})

test('a refresh sets right what is loaded, and adds nothing', () => {
  /** @type {Model} */
  const model = {
    ...nothing,
    clientID: 'alice',
    items: [note(5, { readAt: at }), note(4), note(3), note(2, { readAt: at })],
    nextPageToken: 'x',
    cursor: 5,
  }
  const notifications = [note(6), note(5), note(4, { readAt: at }), note(3)]
  const page = { clientID: 'alice', notifications, nextPageToken: 'y', cursor: 9, unreadCount: 7 }
  const after = withPage(model, page, 'refresh', [], all)
  assert.deepEqual(seen(after), [
    [5, false],
    [4, true],
    [3, false],
    [2, true],
  ])
  assert.deepEqual([after.unreadCount, after.counted], [7, 9])
  assert.deepEqual([after.nextPageToken, after.cursor], ['x', 5])
  // What is right is not touched, so that nothing is sent to the tabs for it.
  assert.equal(withPage(after, page, 'refresh', [], all).items, after.items)
})

test('what has expired goes', () => {
  const model = { ...nothing, items: [note(2, { expiresAt: at }), note(1)] }
  assert.equal(nextExpiry(model), Date.parse(at))
  assert.equal(withoutExpired(model, Date.parse(at) - 1), model)
  const after = withoutExpired(model, Date.parse(at))
  assert.deepEqual(seen(after), [[1, false]])
  assert.equal(nextExpiry(after), Infinity)
})

// A server's log, a client that loads pages while the stream goes on: whenever everything has
// arrived, the client has what the server has.
test('pages and the stream come together, in whatever order', () => {
  for (let seed = 1; seed <= 400; seed += 1) run(seed)
})

/** @param {number} seed */
function run(seed) {
  let state = seed
  const random = (/** @type {number} */ below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return (state >>> 8) % below
  }
  /** @type {Change[]} */
  const log = []
  /** @type {Map<number, boolean>} */
  const server = new Map()
  const unread = () => [...server.values()].filter((isRead) => !isRead).length
  const happen = () => {
    const cursor = log.length + 1
    if (server.size === 0 || random(2) === 0) {
      server.set(cursor, false)
      log.push({ kind: 'notification', cursor, notification: note(cursor) })
      return
    }
    const ids = [...server.keys()].filter(() => random(4) === 0)
    const upTo = random(3) === 0 ? random(cursor) : 0
    const isRead = random(3) > 0
    for (const id of server.keys()) if (ids.includes(id) || id <= upTo) server.set(id, isRead)
    const status = isRead ? /** @type {const} */ ('read') : /** @type {const} */ ('unread')
    const marks = { notificationIDs: ids, upTo, status, unreadCount: unread() }
    log.push({ kind: 'marks', cursor, marks, at })
  }
  const page = (/** @type {string} */ token) => {
    const before = token === '' ? Infinity : Number(token)
    const ids = [...server.keys()].filter((id) => id < before).reverse()
    const shown = ids.slice(0, 4)
    return {
      clientID: 'alice',
      notifications: shown.map((id) => note(id, server.get(id) ? { readAt: at } : {})),
      nextPageToken: ids.length > 4 ? String(shown.at(-1)) : '',
      cursor: log.length,
      unreadCount: unread(),
    }
  }

  for (let n = random(20); n > 0; n -= 1) happen()
  let model = withPage(nothing, page(''), 'first', [], all)
  let streamed = model.counted
  for (let n = 0; n < 40; n += 1) {
    const loads = random(3) === 0
    const kind = random(3) === 0 ? 'first' : random(2) === 0 ? 'refresh' : 'more'
    const token = kind === 'more' ? model.nextPageToken : ''
    /** @type {Change[]} */
    const since = []
    /** @type {import('./model.js').Page | null} */
    let loaded = null
    for (let steps = random(6); steps > 0; steps -= 1) {
      if (random(2) === 0) happen()
      else if (streamed < log.length) {
        const change = /** @type {Change} */ (log[streamed])
        model = withChange(model, change, all)
        since.push(change)
        streamed += 1
      }
      if (loads && random(3) === 0) loaded ??= page(token)
    }
    if (loads && (kind !== 'more' || token !== '')) {
      model = withPage(model, loaded ?? page(token), kind, since, all)
    }
  }
  for (; streamed < log.length; streamed += 1) {
    model = withChange(model, /** @type {Change} */ (log[streamed]), all)
  }
  assert.equal(model.unreadCount, unread(), `seed ${seed}`)
  const lowest = model.nextPageToken === '' ? 0 : Number(model.nextPageToken)
  const expected = [...server].filter(([id]) => id >= lowest).reverse()
  assert.deepEqual(seen(model), expected, `seed ${seed}`)
}

test('what is deleted goes, with the count that the server says', () => {
  /** @type {Model} */
  const known = { ...nothing, items: [note(9), note(7), note(4)], unreadCount: 3, counted: 9 }
  /** @param {number} cursor @param {import('./model.js').Gone} gone */
  const after = (cursor, gone) => withChange(known, { kind: 'gone', cursor, gone }, all)
  const one = after(10, { notificationIDs: [7, 99], unreadCount: 2 })
  assert.deepEqual(
    [seen(one), one.unreadCount, one.counted],
    [seen({ ...known, items: [note(9), note(4)] }), 2, 10],
  )
  const most = after(10, { notificationIDs: [], upTo: 8, unreadCount: 0 })
  assert.deepEqual([most.items.length, most.unreadCount], [1, 0])
  // Of everyone's the count is asked for; and one from before the page is known already.
  const everyones = after(10, { notificationIDs: [4] })
  assert.deepEqual([everyones.items.length, everyones.unreadCount, everyones.counted], [2, 3, 9])
  assert.equal(after(8, { notificationIDs: [99], unreadCount: 1 }).unreadCount, 3)
  assert.equal(after(10, { notificationIDs: [99] }).items, known.items)
})
