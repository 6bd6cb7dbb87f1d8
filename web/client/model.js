// What is known of a user's notifications, and how a page of history and the stream's changes
// alter it. Pure: no clock, no network; nothing is mutated.
//
// The count is the server's and exact at a cursor (`counted`): a page and `opened` say it, each
// change of read marks says it, and an unread notification beyond that cursor adds one.

/**
 * @typedef {object} Notification
 * @property {number} notificationID
 * @property {string} eventID
 * @property {string} sourceID
 * @property {string} clientID
 * @property {string} topic
 * @property {string} data
 * @property {string} createdAt
 * @property {string} [readAt]  absent: unread
 * @property {string} [expiresAt]
 * @property {boolean} [broadcast]
 */

/**
 * @typedef {object} Model
 * @property {string | null} clientID  null: nothing is loaded yet
 * @property {readonly Notification[]} items  newest first, as far as loaded
 * @property {number} cursor  the last change seen: where the stream goes on
 * @property {number} unreadCount
 * @property {number} counted  the cursor at which `unreadCount` is exact
 * @property {string} nextPageToken  '': there is no more
 */

/**
 * @typedef {object} Page  an answer of `GET …/notifications`
 * @property {string} clientID
 * @property {Notification[]} notifications
 * @property {string} nextPageToken
 * @property {number} cursor
 * @property {number} unreadCount
 */

/**
 * @typedef {{ kind: 'notification', cursor: number, notification: Notification }
 *   | { kind: 'marks', cursor: number, marks: Marks, at: string }
 *   | { kind: 'gone', cursor: number, gone: Gone }
 *   | { kind: 'count', cursor: number, unreadCount: number }} Change
 */

/**
 * @typedef {object} Gone  the data of a `deleted` event
 * @property {number[]} notificationIDs  some of them may be others'
 * @property {number} [upTo]  all notifications up to this one
 * @property {number} [unreadCount]  absent: the history says it
 */

/**
 * @typedef {object} Marks  the data of a `read-state` event
 * @property {number[]} notificationIDs
 * @property {number} [upTo]  all notifications up to this one
 * @property {'read' | 'unread'} status
 * @property {number} unreadCount
 */

/** @type {Model} */
export const nothing = Object.freeze({
  clientID: null,
  items: Object.freeze([]),
  cursor: 0,
  unreadCount: 0,
  counted: 0,
  nextPageToken: '',
})

/**
 * @param {Model} model
 * @param {Change} change
 * @param {(topic: string) => boolean} isWanted
 * @returns {Model}
 */
export function withChange(model, change, isWanted) {
  const next = { ...model }
  if (change.kind === 'notification') {
    const { notification } = change
    if (isWanted(notification.topic)) next.items = inserted(model, notification)
    if (change.cursor > model.counted) {
      next.unreadCount += notification.readAt === undefined ? 1 : 0
      next.counted = change.cursor
    }
    return next
  }
  const count = said(change)
  if (count !== undefined && change.cursor >= model.counted) {
    next.unreadCount = count
    next.counted = change.cursor
  }
  if (change.kind === 'gone') next.items = without(model.items, change.gone)
  if (change.kind === 'marks') next.items = marked(model.items, change.marks, change.at)
  return next
}

/**
 * A page in the place of all that was loaded (`first`), behind it (`more`), or only for what it says
 * of the count and of what is loaded (`refresh`).
 * `since`: what the stream brought since the page was asked for.
 * @param {Model} model
 * @param {Page} page
 * @param {'first' | 'more' | 'refresh'} kind
 * @param {readonly Change[]} since
 * @param {(topic: string) => boolean} isWanted
 * @returns {Model}
 */
export function withPage(model, page, kind, since, isWanted) {
  /** @type {Model} */
  let next = {
    ...model,
    clientID: page.clientID,
    unreadCount: page.unreadCount,
    counted: page.cursor,
  }
  if (kind === 'first') next.items = page.notifications
  if (kind === 'more') next.items = [...model.items, ...page.notifications]
  if (kind === 'refresh') next.items = refreshed(model.items, page.notifications)
  if (kind !== 'refresh') next.nextPageToken = page.nextPageToken
  for (const change of since) {
    if (change.cursor > page.cursor) next = withChange(next, change, isWanted)
  }
  return next
}

/**
 * Without what has expired; the same model where nothing has.
 * @param {Model} model
 * @param {number} now
 * @returns {Model}
 */
export function withoutExpired(model, now) {
  const items = model.items.filter((one) => !(expiry(one) <= now))
  return items.length === model.items.length ? model : { ...model, items }
}

/**
 * When the next of them expires; `Infinity`: never.
 * @param {Model} model
 */
export function nextExpiry(model) {
  return model.items.reduce((soonest, one) => Math.min(soonest, expiry(one)), Infinity)
}

/**
 * The items with a change of read marks; the same ones where it changes none.
 * @param {readonly Notification[]} items
 * @param {Pick<Marks, 'notificationIDs' | 'upTo' | 'status'>} marks
 * @param {string} at
 * @returns {readonly Notification[]}
 */
export function marked(items, marks, at) {
  const ids = new Set(marks.notificationIDs)
  const upTo = marks.upTo ?? 0
  const isRead = marks.status === 'read'
  const changes = (/** @type {Notification} */ one) =>
    (ids.has(one.notificationID) || one.notificationID <= upTo) &&
    (one.readAt !== undefined) !== isRead
  if (!items.some(changes)) return items
  return items.map((one) => {
    if (!changes(one)) return one
    const { readAt, ...unread } = one
    return isRead ? { ...unread, readAt: at } : unread
  })
}

/**
 * The count that a change says.
 * @param {Exclude<Change, { kind: 'notification' }>} change
 */
function said(change) {
  if (change.kind === 'marks') return change.marks.unreadCount
  return change.kind === 'gone' ? change.gone.unreadCount : change.unreadCount
}

/**
 * The items without those that are gone; the same ones where none of them is.
 * @param {readonly Notification[]} items
 * @param {Gone} gone
 */
function without(items, { notificationIDs, upTo = 0 }) {
  const ids = new Set(notificationIDs)
  const left = items.filter((one) => one.notificationID > upTo && !ids.has(one.notificationID))
  return left.length === items.length ? items : left
}

/**
 * Topic filters: `*` is one token, a trailing `>` the rest.
 * @param {readonly string[]} filters  none: every topic passes
 * @returns {(topic: string) => boolean}
 */
export function topicFilter(filters) {
  const wanted = filters.map((filter) => filter.split('.'))
  return (topic) => {
    const tokens = topic.split('.')
    const matches = (/** @type {string[]} */ filter) => {
      const open = filter.at(-1) === '>'
      const fixed = open ? filter.slice(0, -1) : filter
      if (open ? tokens.length <= fixed.length : tokens.length !== fixed.length) return false
      return fixed.every((token, at) => (token === '*' ? tokens[at] !== '' : token === tokens[at]))
    }
    return wanted.length === 0 || wanted.some(matches)
  }
}

/**
 * @param {Model} model
 * @param {Notification} notification
 */
function inserted({ items, nextPageToken }, notification) {
  const id = notification.notificationID
  let at = items.findIndex((one) => one.notificationID <= id)
  if (items[at]?.notificationID === id) return items
  if (at < 0) {
    // Older than what is loaded: it comes with its page.
    if (nextPageToken !== '') return items
    at = items.length
  }
  return [...items.slice(0, at), notification, ...items.slice(at)]
}

/**
 * The items, read or unread as they are in the page; the same ones where they are.
 * @param {readonly Notification[]} items
 * @param {readonly Notification[]} page
 */
function refreshed(items, page) {
  const fresh = new Map(page.map((one) => [one.notificationID, one]))
  let isSame = true
  const next = items.map((one) => {
    const found = fresh.get(one.notificationID) ?? one
    if ((found.readAt === undefined) === (one.readAt === undefined)) return one
    isSame = false
    return found
  })
  return isSame ? items : next
}

/** @param {Notification} notification */
function expiry({ expiresAt }) {
  return expiresAt === undefined ? Infinity : Date.parse(expiresAt)
}
