// One user's notifications, kept current: history, then the stream from the history's cursor, and
// the stream again from its own cursor whenever it ends. Runs in a page or in a worker; pages are
// reached through the host only.

import { Api, MercurioError, asError } from './api.js'
import {
  marked,
  nextExpiry,
  nothing,
  topicFilter,
  withChange,
  withoutExpired,
  withPage,
} from './model.js'
import { Stream } from './stream.js'
import { LONGEST, Tokens } from './tokens.js'
import { Waits } from './waits.js'

/**
 * @typedef {import('./api.js').Config} Config
 * @typedef {import('./model.js').Change} Change
 * @typedef {import('./model.js').Marks} Marks
 * @typedef {import('./model.js').Model} Model
 * @typedef {import('./model.js').Notification} Notification
 */

/** @typedef {'connecting' | 'open' | 'waiting' | 'offline' | 'closed'} Connection */

/**
 * @typedef {object} View  what a page sees
 * @property {readonly Notification[]} notifications
 * @property {number} unreadCount
 * @property {Connection} connection
 * @property {boolean} hasMore
 * @property {boolean} loading
 * @property {{ code: string, message: string } | null} error
 */

/**
 * @typedef {object} Host
 * @property {() => Promise<string>} token  asks a page
 * @property {() => void} onOtherUser  the token or the cookie has become another user's; this is over
 * @property {(view: View, events: { name: string, detail: any }[], model: Model) => void} publish
 */

/** Marks under way at once: browsers have six connections to a host. */
const MARKS_AT_ONCE = 3

export class Session {
  #config
  #host
  #api
  #tokens
  #isWanted
  /** @type {Model} */
  #model = nothing
  /** The history has to be loaded (again) before the stream. */
  #isStale = true
  /** @type {{ oldest: number } | null} */
  #loss = null

  /** @type {Connection} */
  #connection = 'connecting'
  /** @type {View['error']} */
  #error = null
  /** @type {{ name: string, detail: any }[]} */
  #events = []
  #loading = 0

  /** Marks that are not confirmed yet, in their order. @type {Set<{ marks: Marks, at: string }>} */
  #pending = new Set()
  /** Each load and mark under way notes what the stream brings. @type {Set<Change[]>} */
  #journals = new Set()
  /** @type {Promise<unknown>} */
  #loads = Promise.resolve()

  /** @type {Stream | null} */
  #stream = null
  #waits = new Waits()
  #isOnline = true
  #isClosed = false
  #wake = () => {}
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #expiryTimer

  /**
   * @param {Config} config
   * @param {Host} host
   * @param {{ token: string, model: Model | undefined }} known  what somebody else knew before
   */
  constructor(config, host, { token, model }) {
    this.#config = config
    this.#host = host
    this.#isWanted = topicFilter(config.topics)
    this.#tokens = new Tokens(host.token, token)
    this.#api = new Api(config, this.#tokens, () => this.#otherUser())
    if (model) {
      this.#model = model
      this.#isStale = false
    }
  }

  /** Begins. */
  start() {
    void this.#run()
  }

  /** Ends for good. */
  close() {
    this.#isClosed = true
    clearTimeout(this.#expiryTimer)
    this.#stream?.giveUp('closed')
    this.#wake()
  }

  /** The next page behind what is loaded. */
  async loadMore() {
    await this.#load('more')
  }

  /** The history anew; goes on where the session had given up. */
  async reload() {
    await this.#load('first')
    if (this.#connection !== 'open') this.#wake()
  }

  /** What is loaded may be wrong about marks: those of a tab that led and is gone. */
  async refresh() {
    await this.#load('refresh', this.#config.pageSize)
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
    this.#publish()
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
    if (this.#model.clientID === null) await this.#load('first')
    const upTo = this.#model.cursor
    if (upTo === 0) return
    /** @type {Marks} */
    const marks = { notificationIDs: [], upTo, status: 'read', unreadCount: 0 }
    const one = { marks, at: new Date().toISOString() }
    this.#pending.add(one)
    this.#publish()
    await this.#settle(one, () => this.#api.markAll(upTo))
  }

  /**
   * What a page noticed: it came to the front, or the network came or went.
   * @param {boolean} [isOnline]
   */
  wake(isOnline = this.#isOnline) {
    const came = isOnline && !this.#isOnline
    this.#isOnline = isOnline
    if (!isOnline) {
      if (this.#isOffline && this.#connection !== 'closed') this.#show('offline')
      return
    }
    // A stream that was open before the network went is as good as dead; so is a silent one,
    // whose timer may have slept with the page.
    if (came) this.#stream?.giveUp('online')
    else this.#stream?.checkSilence()
    if (this.#waits.mayHurry && this.#connection !== 'closed') this.#wake()
  }

  /** A host that is this machine can be reached without a network. */
  get #isOffline() {
    const { hostname } = new URL(this.#config.url)
    const isHere = /^(localhost|.*\.localhost|127\.[\d.]+|\[::1\])$/.test(hostname)
    return !this.#isOnline && !isHere
  }

  async #run() {
    this.#watchExpiry()
    let why = ''
    while (!this.#isClosed) {
      try {
        if (this.#isStale) await this.#load('first')
        this.#tell('loss', this.#loss)
        this.#loss = null
        why = await this.#follow(why)
        if (why === 'token-expired') await this.#replaceToken()
        await this.#pause(this.#waits.afterEnd(why))
      } catch (error) {
        why = ''
        const refused = asError(error)
        this.#error = { code: refused.code, message: refused.message }
        if (refused.isFinal) await this.#pause(null, 'closed')
        else await this.#pause(this.#waits.afterRefusal(refused.retryAfter))
      }
    }
  }

  /**
   * Reads the stream until it ends, and says why.
   * @param {string} before  why the last one did
   */
  async #follow(before) {
    if (this.#isClosed) return ''
    // The user notices nothing of a new token.
    if (before !== 'renewed' && before !== 'token-expired') this.#show('connecting')
    const stream = new Stream(this.#api, this.#tokens, this.#config, {
      onEvent: (event) => this.#take(event),
      onRetry: (retry) => (this.#waits.retry = retry),
      onRead: () => this.#show(this.#connection === 'offline' ? 'open' : this.#connection),
    })
    this.#stream = stream
    try {
      await stream.follow(this.#model.cursor)
    } finally {
      this.#stream = null
    }
    return stream.why
  }

  /**
   * @param {number | null} milliseconds  null: until somebody wakes it
   * @param {Connection} as
   */
  async #pause(milliseconds, as = this.#isOffline ? 'offline' : 'waiting') {
    if (this.#isClosed || milliseconds === 0) return
    this.#show(as)
    await new Promise((resolve) => {
      this.#wake = () => resolve(undefined)
      if (milliseconds === null) return
      setTimeout(() => this.#isOffline || resolve(undefined), milliseconds)
    })
    this.#wake = () => {}
  }

  /** @param {import('./sse.js').ServerEvent} event */
  #take({ type, data, id }) {
    const cursor = Number(id)
    const said = JSON.parse(data)
    if (type === 'closing') return this.#stream?.giveUp(said.reason)
    if (type === 'opened' && !this.#opened(said)) return
    if (type === 'read-state') {
      this.#change({ kind: 'marks', cursor, marks: said, at: new Date().toISOString() })
      this.#tell('read-state', said)
    } else if (type === 'message') {
      const before = this.#model.items
      this.#change({ kind: 'notification', cursor, notification: Object.freeze(said) })
      if (this.#model.items !== before) this.#tell('notification', said)
    }
    if (id !== '') this.#model = { ...this.#model, cursor }
  }

  /**
   * Whether it goes on from here.
   * @param {{ complete: boolean, oldest: number, cursor: number, unreadCount: number }} opened
   */
  #opened({ complete, oldest, cursor, unreadCount }) {
    if (!complete) {
      this.#loss = { oldest }
      this.#isStale = true
      this.#stream?.giveUp('loss')
      return false
    }
    this.#change({ kind: 'count', cursor, unreadCount })
    this.#waits.reset()
    this.#error = null
    this.#show('open')
    return true
  }

  /** @param {Change} change */
  #change(change) {
    for (const journal of this.#journals) journal.push(change)
    this.#model = withChange(this.#model, change, this.#isWanted)
    if (change.kind === 'notification') this.#watchExpiry()
  }

  #otherUser() {
    if (this.#isClosed) return
    this.close()
    this.#host.onOtherUser()
  }

  /**
   * One after the other: where a page begins depends on the one before.
   * @param {'first' | 'more' | 'refresh'} kind
   * @param {number} [limit]  notifications
   */
  #load(kind, limit = kind === 'refresh' ? 1 : this.#config.pageSize) {
    const load = this.#loads.then(() => this.#loadNow(kind, limit))
    this.#loads = load.catch(() => {})
    return load
  }

  /**
   * @param {'first' | 'more' | 'refresh'} kind
   * @param {number} limit
   */
  async #loadNow(kind, limit) {
    const token = kind === 'more' ? this.#model.nextPageToken : ''
    if (this.#isClosed || (kind === 'more' && token === '')) return
    if (kind === 'refresh' && this.#isStale) return
    const isShown = kind !== 'refresh'
    /** @type {Change[]} */
    const journal = []
    this.#journals.add(journal)
    try {
      this.#loading += Number(isShown)
      if (isShown) this.#publish()
      const page = await this.#api.page(limit, token)
      page.notifications.forEach(Object.freeze)
      const { clientID, cursor } = this.#model
      if (clientID !== null && clientID !== page.clientID) return this.#otherUser()
      this.#api.user = page.clientID
      this.#model = withPage(this.#model, page, kind, journal, this.#isWanted)
      // What the page has before the stream did arrives with the page.
      const isNew = (/** @type {Notification} */ one) => one.notificationID > cursor
      const arrived = this.#isStale || kind !== 'first' ? [] : page.notifications.filter(isNew)
      for (const one of arrived.reverse()) this.#tell('notification', one)
      if (kind === 'first' && this.#isStale) {
        this.#model = { ...this.#model, cursor: page.cursor }
        this.#isStale = false
      }
      this.#watchExpiry()
    } finally {
      this.#journals.delete(journal)
      this.#loading -= Number(isShown)
      this.#publish()
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
      let items = marked(this.#model.items, one.marks, one.at)
      for (const change of journal) {
        if (change.kind === 'marks') items = marked(items, change.marks, change.at)
      }
      this.#model = { ...this.#model, items }
      // Otherwise the stream tells the count.
      if (this.#connection !== 'open') void this.#load('refresh').catch(() => {})
    } finally {
      this.#journals.delete(journal)
      this.#pending.delete(one)
      this.#publish()
    }
  }

  async #replaceToken() {
    if (!this.#config.hasToken) return
    const before = this.#tokens.current
    const token = await this.#tokens.renew()
    if (this.#config.auth === 'cookie' || token !== before) return
    throw new MercurioError('token-expired', 'getToken gave the token that has expired again')
  }

  /** What expires is taken away when it is due; the server says what the count is then. */
  #watchExpiry() {
    clearTimeout(this.#expiryTimer)
    const due = nextExpiry(this.#model)
    if (due === Infinity || this.#isClosed) return
    const wait = Math.min(Math.max(due - Date.now(), 0), LONGEST)
    this.#expiryTimer = setTimeout(() => {
      const before = this.#model
      this.#model = withoutExpired(before, Date.now())
      this.#watchExpiry()
      if (this.#model === before) return
      this.#publish()
      void this.#load('refresh').catch(() => {})
    }, wait)
  }

  /** @param {Connection} connection */
  #show(connection) {
    this.#connection = connection
    this.#publish()
  }

  /**
   * @param {string} name
   * @param {unknown} detail  null: nothing to tell
   */
  #tell(name, detail) {
    if (detail !== null) this.#events.push({ name, detail })
  }

  #publish() {
    let items = this.#model.items
    for (const { marks, at } of this.#pending) items = marked(items, marks, at)
    const events = this.#events
    this.#events = []
    const view = {
      notifications: items,
      unreadCount: this.#model.unreadCount,
      connection: this.#connection,
      hasMore: this.#model.nextPageToken !== '',
      loading: this.#loading > 0,
      error: this.#error,
    }
    this.#host.publish(view, events, this.#model)
  }
}
