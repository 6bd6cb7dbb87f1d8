// What is known of one user's notifications: the model, pages of history that are loaded into it,
// what the stream says, marks that are on their way, and what expires.

import { asError } from './api.js'
import {
  marked,
  nextExpiry,
  nothing,
  topicFilter,
  withChange,
  withoutExpired,
  withPage,
} from './model.js'
import { LONGEST } from './timers.js'

/**
 * @typedef {import('./model.js').Change} Change
 * @typedef {import('./model.js').Marks} Marks
 * @typedef {import('./model.js').Model} Model
 * @typedef {import('./model.js').Notification} Notification
 */

/**
 * How a page is taken: as the first one, as the next one, as all that is kept of a long list, or only
 * for what it says of the count and of what is loaded.
 * @typedef {'first' | 'more' | 'kept' | 'refresh'} Kind
 */

/**
 * @typedef {object} Told
 * @property {() => void} changed
 * @property {(notification: Notification) => void} arrived
 * @property {() => void} otherUser  what is asked of `me` is answered for another one
 */

/** Marks under way at once: browsers have six connections to a host. */
const MARKS_AT_ONCE = 3
/** Of a list that arrivals have made twice as long, so many pages are kept. */
const PAGES_KEPT = 10
const PAGE_MAX = 500
/** How often a server that is behind is asked, and how long it has in between, in milliseconds. */
const BEHIND_TRIES = 20
const BEHIND_PAUSE = 250
/** What everybody is told at one moment, each asks about at its own, within so many milliseconds. */
const SPREAD = 3_000
/** That grows to this with each time that it can't be answered. */
const SPREAD_MAX = 60_000

export class Contents {
  /** @type {Model} */
  model = nothing
  /** The history has to be loaded (again) before the stream. */
  isStale = true
  /** When the server last said the count. */
  countedAt = 0
  #api
  #told
  #isWanted
  #pageSize
  #kept
  #isClosed = false
  #loading = 0
  /** Since a page was last taken. */
  #arrivals = 0
  /** Marks that are not confirmed yet, in their order. @type {Set<{ marks: Marks, at: string }>} */
  #pending = new Set()
  /** Each load and mark under way notes what the stream brings. @type {Set<Change[]>} */
  #journals = new Set()
  /** @type {Promise<unknown>} */
  #loads = Promise.resolve()
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #expiryTimer
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #refreshTimer
  /** Notifications that are looked at then. */
  #refreshLimit = 0

  /**
   * @param {import('./api.js').Config} config
   * @param {import('./api.js').Api} api
   * @param {Told} told
   * @param {Model | undefined} model  what somebody else knew before
   */
  constructor({ topics, pageSize }, api, told, model) {
    this.#api = api
    this.#told = told
    this.#isWanted = topicFilter(topics)
    this.#pageSize = pageSize
    this.#kept = Math.min(pageSize * PAGES_KEPT, PAGE_MAX)
    if (!model) return
    this.model = model
    this.isStale = false
    this.#watchExpiry()
  }

  close() {
    this.#isClosed = true
    clearTimeout(this.#expiryTimer)
    clearTimeout(this.#refreshTimer)
  }

  /** What a page sees of it. */
  get view() {
    const { unreadCount, nextPageToken } = this.model
    let notifications = this.model.items
    for (const { marks, at } of this.#pending) notifications = marked(notifications, marks, at)
    return {
      notifications,
      unreadCount,
      hasMore: nextPageToken !== '',
      loading: this.#loading > 0,
    }
  }

  /**
   * One after the other: where a page begins depends on the one before.
   * @param {Kind} kind
   * @param {number} [limit]  notifications
   */
  load(kind, limit = this.#pageSize) {
    const load = this.#loads.then(() => this.#load(kind, limit))
    this.#loads = load.catch(() => {})
    return load
  }

  /**
   * What is said of the count is old, and what is loaded may be wrong about marks. Nobody waits; it is
   * asked until it is answered, since nothing else may tell.
   * @param {number} [limit]  so many are looked at
   * @param {number} [spread]  milliseconds
   */
  refresh(limit = 1, spread = SPREAD) {
    void this.load('refresh', limit).catch((error) => {
      const { isFinal, retryAfter } = asError(error)
      if (!isFinal) this.#refreshSoon(limit, Math.min(2 * spread, SPREAD_MAX), retryAfter)
    })
  }

  /**
   * The same where all others have the same reason now: not all at once.
   * @param {number} [limit]
   * @param {number} [spread]
   * @param {number} [after]  milliseconds
   */
  #refreshSoon(limit = 1, spread = SPREAD, after = 0) {
    if (this.#isClosed) return
    this.#refreshLimit = Math.max(this.#refreshLimit, limit)
    this.#refreshTimer ??= setTimeout(
      () => {
        const all = this.#refreshLimit
        this.#refreshLimit = 0
        this.#refreshTimer = undefined
        this.refresh(all, spread)
      },
      after + Math.random() * spread,
    )
  }

  /**
   * What the stream says. Whether there is one more to be seen.
   * @param {Change} change
   */
  take(change) {
    for (const journal of this.#journals) journal.push(change)
    const { items } = this.model
    this.model = withChange(this.model, change, this.#isWanted)
    if (change.kind !== 'notification') {
      // What went to everyone is gone: whether it was unread here, the server knows.
      if (change.kind === 'gone' && change.gone.unreadCount === undefined) this.#refreshSoon()
      else this.countedAt = Date.now()
      return false
    }
    if (this.model.items === items) return false
    this.#watchExpiry()
    this.#arrivals += 1
    // What arrives all day falls off at the end, and comes with the next page again; not what
    // somebody has asked for just now.
    if (this.#arrivals > this.#kept && this.model.items.length > 2 * this.#kept) {
      this.#arrivals = 0
      void this.load('kept', this.#kept).catch(() => {})
    }
    return true
  }

  /**
   * Marks these; shown at once, and taken back where the server refuses.
   * @param {readonly number[]} ids
   * @param {'read' | 'unread'} status
   */
  async mark(ids, status) {
    const at = new Date().toISOString()
    const marks = ids.map((id) => ({ notificationIDs: [id], status, unreadCount: 0 }))
    const pending = marks.map((marks) => ({ marks, at }))
    for (const one of pending) this.#pending.add(one)
    this.#told.changed()
    const waiting = pending.entries()
    /** @type {unknown[]} */
    const failures = []
    const work = async () => {
      for (const [place, one] of waiting) {
        const id = /** @type {number} */ (ids[place])
        await this.#settle(one, () => this.#api.mark(id, status)).catch((e) => failures.push(e))
      }
    }
    await Promise.all(Array.from({ length: MARKS_AT_ONCE }, work))
    if (failures.length > 0) throw failures[0]
  }

  /** Marks all that is known of as read. */
  async markAll() {
    if (this.model.clientID === null) await this.load('first')
    const upTo = this.model.cursor
    if (upTo === 0) return
    /** @type {Marks} */
    const marks = { notificationIDs: [], upTo, status: 'read', unreadCount: 0 }
    const one = { marks, at: new Date().toISOString() }
    this.#pending.add(one)
    this.#told.changed()
    await this.#settle(one, () => this.#api.markAll(upTo))
  }

  /**
   * A page from a server that is behind what the stream has said already would bring back old counts
   * and marks: it is asked for again, for some seconds.
   * @param {number} limit
   * @param {string} token
   */
  async #page(limit, token) {
    for (let tries = 1; ; tries += 1) {
      const { clientID, cursor } = this.model
      const page = await this.#api.page(limit, token)
      const isBehind = !this.isStale && page.clientID === clientID && page.cursor < cursor
      if (!isBehind || tries === BEHIND_TRIES || this.#isClosed) return page
      await new Promise((resolve) => setTimeout(resolve, BEHIND_PAUSE))
    }
  }

  /**
   * @param {Kind} kind
   * @param {number} limit
   */
  async #load(kind, limit) {
    const token = kind === 'more' ? this.model.nextPageToken : ''
    if (this.#isClosed || (kind === 'more' && token === '')) return
    if (kind === 'refresh' && this.isStale) return
    const isShown = kind === 'first' || kind === 'more'
    /** @type {Change[]} */
    const journal = []
    this.#journals.add(journal)
    try {
      this.#loading += Number(isShown)
      if (isShown) this.#told.changed()
      const page = await this.#page(limit, token)
      page.notifications.forEach(Object.freeze)
      const { clientID, cursor } = this.model
      if (clientID !== null && clientID !== page.clientID) return this.#told.otherUser()
      this.#api.user = page.clientID
      const place = kind === 'kept' ? 'first' : kind
      this.model = withPage(this.model, page, place, journal, this.#isWanted)
      this.countedAt = Date.now()
      if (isShown) this.#arrivals = 0
      // What the page has before the stream did arrives with the page.
      const isNew = (/** @type {Notification} */ one) => one.notificationID > cursor
      const arrived = this.isStale || place !== 'first' ? [] : page.notifications.filter(isNew)
      for (const one of arrived.reverse()) this.#told.arrived(one)
      if (kind === 'first' && this.isStale) {
        this.model = { ...this.model, cursor: page.cursor }
        this.isStale = false
      }
      this.#watchExpiry()
    } finally {
      this.#journals.delete(journal)
      this.#loading -= Number(isShown)
      this.#told.changed()
    }
  }

  /**
   * Sends a mark that is shown already. Once it is answered, what is shown is what the server has:
   * the mark, and whatever the stream has said since.
   * @param {{ marks: Marks, at: string }} one
   * @param {() => Promise<void>} send
   */
  async #settle(one, send) {
    /** @type {Change[]} */
    const journal = []
    this.#journals.add(journal)
    try {
      await send()
      let items = marked(this.model.items, one.marks, one.at)
      for (const change of journal) {
        if (change.kind === 'marks') items = marked(items, change.marks, change.at)
      }
      this.model = { ...this.model, items }
    } finally {
      this.#journals.delete(journal)
      this.#pending.delete(one)
      this.#told.changed()
    }
  }

  /** What expires is taken away when it is due; the server says what the count is then. */
  #watchExpiry() {
    clearTimeout(this.#expiryTimer)
    const due = nextExpiry(this.model)
    if (due === Infinity || this.#isClosed) return
    const wait = Math.min(Math.max(due - Date.now(), 0), LONGEST)
    this.#expiryTimer = setTimeout(() => {
      const before = this.model
      this.model = withoutExpired(before, Date.now())
      this.#watchExpiry()
      if (this.model === before) return
      this.#told.changed()
      this.#refreshSoon()
    }, wait)
  }
}
