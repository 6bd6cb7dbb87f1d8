// The connection of one user: history, then the stream from the history's cursor, and the stream
// again from its own cursor whenever it ends. Runs in a page or in a worker; pages are reached
// through the host only.

import { Api, MercurioError, asError } from './api.js'
import { Contents } from './contents.js'
import { Stream } from './stream.js'
import { Tokens } from './tokens.js'
import { blank } from './view.js'
import { Waits, isCutOff } from './waits.js'

/**
 * @typedef {import('./api.js').Config} Config
 * @typedef {import('./model.js').Model} Model
 * @typedef {import('./model.js').Notification} Notification
 * @typedef {import('./view.js').Connection} Connection
 * @typedef {import('./view.js').View} View
 */

/**
 * @typedef {object} Host
 * @property {() => Promise<string>} token  asks a page
 * @property {() => void} onOtherUser  the token or the cookie has become another user's; this is over
 * @property {(view: View, events: { name: string, detail: any }[], model: Model) => void} publish
 */

/** A count that is older is asked for again when a page comes to the front. */
const EXACT_FOR = 10_000

export class Session {
  #config
  #host
  #api
  #tokens
  #contents
  /** @type {{ oldest: number } | null} */
  #loss = null

  /** @type {Connection} */
  #connection = blank.connection
  /** @type {View['error']} */
  #error = null
  /** @type {{ name: string, detail: any }[]} */
  #events = []
  /** @type {Stream | null} */
  #stream = null
  #waits = new Waits()
  #isOnline = true
  #isClosed = false
  #wake = () => {}

  /**
   * @param {Config} config
   * @param {Host} host
   * @param {{ token: string, model: Model | undefined }} known  what somebody else knew before
   */
  constructor(config, host, { token, model }) {
    this.#config = config
    this.#host = host
    this.#tokens = new Tokens(host.token, token)
    this.#api = new Api(config, this.#tokens, () => this.#otherUser())
    const told = {
      changed: () => this.#publish(),
      arrived: (/** @type {Notification} */ one) => this.#tell('notification', one),
      otherUser: () => this.#otherUser(),
    }
    this.#contents = new Contents(config, this.#api, told, model)
  }

  /** Begins. */
  start() {
    void this.#run()
  }

  /** Ends for good. */
  close() {
    this.#isClosed = true
    this.#contents.close()
    this.#stream?.giveUp('closed')
    this.#wake()
  }

  /** The next page behind what is loaded. */
  async loadMore() {
    await this.#contents.load('more')
  }

  /** The history anew; goes on where the session had given up. */
  async reload() {
    await this.#contents.load('first')
    if (this.#connection !== 'open') this.#wake()
  }

  /** What is loaded may be wrong about marks: those of a tab that led and is gone. */
  refresh() {
    this.#contents.refresh(this.#config.pageSize)
  }

  /**
   * @param {readonly number[]} ids
   * @param {'read' | 'unread'} status
   */
  mark(ids, status) {
    return this.#marking(this.#contents.mark(ids, status))
  }

  /** Marks all that is known of as read. */
  markAll() {
    return this.#marking(this.#contents.markAll())
  }

  /** @param {Promise<void>} marks */
  async #marking(marks) {
    await marks.finally(() => {
      // Otherwise the stream tells the count.
      if (this.#connection !== 'open') this.#contents.refresh()
    })
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
    // What expired unseen nobody said.
    const isOld = Date.now() - this.#contents.countedAt > EXACT_FOR
    if (isOld && this.#connection === 'open') this.#contents.refresh()
  }

  get #isOffline() {
    return isCutOff(this.#config.url, this.#isOnline)
  }

  async #run() {
    let why = ''
    while (!this.#isClosed) {
      try {
        if (this.#contents.isStale) await this.#contents.load('first')
        this.#tell('loss', this.#loss)
        this.#loss = null
        why = await this.#follow(why)
        if (why === 'token-expired') await this.#replaceToken()
        await this.#pause(this.#waits.afterEnd(why))
        // Behind the wait: tokens say in whole seconds when they were issued.
        if (why === 'token-revoked') await this.#replaceToken(why)
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
      await stream.follow(this.#contents.model.cursor)
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
      const at = new Date().toISOString()
      this.#contents.take({ kind: 'marks', cursor, marks: said, at })
      this.#tell('read-state', said)
    } else if (type === 'deleted') {
      this.#contents.take({ kind: 'gone', cursor, gone: said })
      this.#tell('deleted', said)
    } else if (type === 'message') {
      const notification = Object.freeze(said)
      const isNew = this.#contents.take({ kind: 'notification', cursor, notification })
      if (isNew) this.#tell('notification', said)
    }
    if (id !== '') this.#contents.model = { ...this.#contents.model, cursor }
  }

  /**
   * Whether it goes on from here.
   * @param {{ complete: boolean, oldest: number, cursor: number, unreadCount: number }} opened
   */
  #opened({ complete, oldest, cursor, unreadCount }) {
    if (!complete) {
      this.#loss = { oldest }
      this.#contents.isStale = true
      this.#stream?.giveUp('loss')
      return false
    }
    this.#contents.take({ kind: 'count', cursor, unreadCount })
    this.#waits.reset()
    this.#error = null
    this.#show('open')
    return true
  }

  #otherUser() {
    if (this.#isClosed) return
    this.close()
    this.#host.onOtherUser()
  }

  async #replaceToken(why = 'token-expired') {
    if (!this.#config.hasToken) return
    const before = this.#tokens.current
    const token = await this.#tokens.renew()
    if (this.#config.auth === 'cookie' || token !== before) return
    throw new MercurioError(why, 'getToken gave the same token again')
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
    const events = this.#events
    this.#events = []
    const view = {
      ...this.#contents.view,
      connection: this.#connection,
      error: this.#error,
    }
    this.#host.publish(view, events, this.#contents.model)
  }
}
