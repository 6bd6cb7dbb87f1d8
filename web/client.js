// Mercurio in a page: a user's notifications, the unread count and read marks, kept current over
// one connection for all tabs.
//
//   import { connect } from '/client.js'
//   const inbox = connect({ getToken: async () => (await fetch('/token')).text() })
//   inbox.addEventListener('change', () => show(inbox.state))

import { MercurioError } from './client/api.js'
import { InboxEvents } from './client/events.js'
import { failure, revived } from './client/hub.js'
import { leaderLink, ownLink, workerLink } from './client/links.js'
import { settled } from './client/options.js'
import { hasLocks, hold, newId } from './client/tabs.js'
import { ask, identity } from './client/tokens.js'

/**
 * @typedef {import('./client/model.js').Notification} Notification
 * @typedef {import('./client/session.js').Connection} Connection
 * @typedef {import('./client/session.js').View} State
 * @typedef {import('./client/events.js').Events} Events
 * @typedef {import('./client/options.js').Options} Options
 * @typedef {import('./client/hub.js').ToHub} ToHub
 * @typedef {import('./client/hub.js').ToTab} ToTab
 */

export { MercurioError }

/**
 * Connects, and keeps connected until `close()`.
 * @param {Options} [options]
 */
export function connect(options = {}) {
  return new Inbox(options)
}

/** The longest wait before `getToken` is asked again at the start. */
const TOKEN_RETRY_MAX = 30_000

/**
 * A user's notifications. An EventTarget; its events are those of `client/events.js`.
 */
export class Inbox extends InboxEvents {
  #options
  #config
  #id = newId()
  #token = ''
  /** @type {State} */
  #state = Object.freeze({
    notifications: Object.freeze([]),
    unreadCount: 0,
    connection: 'connecting',
    hasMore: false,
    loading: true,
    error: null,
  })
  /** @type {Map<number, Notification>} */
  #known = new Map()
  /** @type {import('./client/hub.js').Update['model'] | undefined} */
  #model
  /** @type {import('./client/links.js').Link | undefined} */
  #link
  /** The last notification that was told as having arrived. */
  #newest = 0
  /** The hub knows of this tab. */
  #isJoined = false
  #isClosed = false
  /** @type {Map<number, { call: ToHub & { type: 'call' }, resolve: () => void, reject: (error: unknown) => void }>} */
  #calls = new Map()
  #callCount = 0
  #release = () => {}
  #isReady = () => {}

  /**
   * Resolves once the first history is loaded, or the client has given up (`state.error`).
   * @type {Promise<void>}
   */
  ready = new Promise((resolve) => (this.#isReady = resolve))

  /** @param {Options} options */
  constructor(options) {
    super()
    this.#options = options
    this.#config = settled(options)
    void this.#begin()
  }

  /** What is known now. Frozen; a change replaces it. */
  get state() {
    return this.#state
  }

  /** Loads the page behind what is loaded. */
  loadMore() {
    return this.#call('loadMore')
  }

  /** @param {number | readonly number[]} ids */
  markRead(ids) {
    return this.#mark(ids, 'read')
  }

  /** @param {number | readonly number[]} ids */
  markUnread(ids) {
    return this.#mark(ids, 'unread')
  }

  /** Marks all as read, whatever their topic. */
  markAllRead() {
    return this.#call('markAll')
  }

  /** Loads the history anew; goes on where the client had given up. */
  reload() {
    return this.#call('reload')
  }

  /** Ends. Other tabs are not concerned. */
  close() {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#listen(false)
    this.#link?.close()
    this.#release()
    this.#refuseCalls()
    this.#set({ ...this.#state, connection: 'closed' })
    this.#isReady()
  }

  async #begin() {
    const { getToken } = this.#options
    if (this.#config.auth !== 'cookie' && getToken) await this.#firstToken(getToken)
    const release = await hold(this.#id)
    if (this.#isClosed) return release()
    this.#release = release
    const { sharing = 'auto' } = this.#options
    this.#open(sharing === 'auto' ? ['worker', 'leader', 'none'] : [sharing])
    if (!this.#isClosed) this.#listen(true)
  }

  /**
   * Whose hub this tab joins depends on whom its token is for.
   * @param {() => Promise<string>} getToken
   */
  async #firstToken(getToken) {
    for (let wait = 1000; !this.#isClosed; wait = Math.min(wait * 2, TOKEN_RETRY_MAX)) {
      try {
        this.#token = await ask(getToken)
        return
      } catch (error) {
        const { code, message } = failure(error)
        this.#set({ ...this.#state, connection: 'waiting', error: { code, message } })
        await new Promise((resolve) => setTimeout(resolve, wait * (0.5 + Math.random() / 2)))
      }
    }
  }

  /**
   * Opens the first of these that works here.
   * @param {('worker' | 'leader' | 'none')[]} manners
   */
  #open([manner, ...others]) {
    if (this.#isClosed) return
    this.#isJoined = false
    const { url, user, auth, topics, hasToken } = this.#config
    const whose = this.#token === '' ? '' : identity(this.#token)
    const line = {
      id: this.#id,
      key: JSON.stringify([url, user, auth, topics, hasToken, whose]),
      hello: () => this.#hello(),
      receive: (/** @type {ToTab} */ message) => void this.#receive(message),
      onHub: () => this.#join(),
      model: () => this.#model && { ...this.#model, items: this.#state.notifications },
    }
    try {
      if (manner === 'worker') {
        if (!('SharedWorker' in globalThis)) throw new Error('there is no SharedWorker here')
        this.#link = workerLink(line, this.#options.workerUrl, () => {
          this.#link?.close()
          this.#fail(others, new Error('the SharedWorker can’t be started'))
        })
      } else if (manner === 'leader') {
        if (!hasLocks) throw new Error('there are no Web Locks here')
        this.#link = leaderLink(line)
      } else {
        this.#link = ownLink(line)
      }
    } catch (error) {
      this.#fail(others, error)
    }
  }

  /**
   * @param {('worker' | 'leader' | 'none')[]} others
   * @param {unknown} error
   */
  #fail(others, error) {
    if (others.length > 0) return this.#open(others)
    const { message } = failure(error)
    this.close()
    this.#set({ ...this.#state, error: { code: 'sharing-unavailable', message } })
  }

  /** @returns {ToHub & { type: 'hello' }} */
  #hello() {
    const { onLine } = navigator
    return { type: 'hello', config: this.#config, token: this.#token, isOnline: onLine }
  }

  #join() {
    this.#isJoined = false
    if (!this.#isClosed) this.#link?.post(this.#hello())
  }

  /** @param {ToTab} message */
  async #receive(message) {
    if (this.#isClosed) return
    if (message.type === 'update') this.#update(message)
    else if (message.type === 'result') {
      const call = this.#calls.get(message.id)
      this.#calls.delete(message.id)
      if (message.error) call?.reject(revived(message.error))
      else call?.resolve()
    } else {
      this.#link?.post(await this.#answer(message.id))
    }
  }

  /**
   * A hub asks for a token.
   * @param {number} id
   * @returns {Promise<ToHub & { type: 'token' }>}
   */
  async #answer(id) {
    const { getToken } = this.#options
    try {
      // By cookie it renews the cookie; what it gives is of no interest.
      if (this.#config.auth === 'cookie') await getToken?.()
      else this.#token = await ask(getToken)
      return { type: 'token', id, token: this.#token }
    } catch (error) {
      return { type: 'token', id, error: failure(error) }
    }
  }

  /** @param {import('./client/hub.js').Update} update */
  #update({ isFirst, view, ids, changed, events, model }) {
    if (isFirst) this.#known.clear()
    else if (!this.#isJoined) return
    for (const one of changed) this.#known.set(one.notificationID, Object.freeze(one))
    let { notifications } = this.#state
    if (ids) {
      const found = ids.map((id) => this.#known.get(id))
      notifications = /** @type {Notification[]} */ (Object.freeze(found))
      this.#known = new Map(notifications.map((one) => [one.notificationID, one]))
    }
    this.#model = model.clientID === null ? undefined : model
    this.#set({ ...view, notifications })
    for (const { name, detail } of events) this.#tell(name, detail)
    if (model.clientID !== null || view.connection === 'closed') this.#isReady()
    if (isFirst && !this.#isJoined) {
      this.#isJoined = true
      for (const { call } of this.#calls.values()) this.#link?.post(call)
    }
  }

  /**
   * Each notification is told once, also where a hub took over that did not know of the last ones.
   * @param {string} name
   * @param {any} detail
   */
  #tell(name, detail) {
    if (name === 'loss') this.#newest = 0
    if (name === 'notification') {
      if (detail.notificationID <= this.#newest) return
      this.#newest = detail.notificationID
    }
    this.#dispatch(name, detail)
  }

  /** @param {State} state */
  #set(state) {
    const before = this.#state
    this.#state = Object.freeze(state)
    this.#dispatch('change', state)
    if (state.connection !== before.connection) this.#dispatch('connection', state.connection)
    if (state.error && state.error.code !== before.error?.code) this.#dispatch('error', state.error)
  }

  /**
   * @param {string} name
   * @param {unknown} detail
   */
  #dispatch(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }))
  }

  /**
   * @param {number | readonly number[]} ids
   * @param {'read' | 'unread'} status
   */
  async #mark(ids, status) {
    const list = typeof ids === 'number' ? [ids] : [...ids]
    const wrong = list.find((id) => !Number.isSafeInteger(id) || id < 1)
    if (wrong !== undefined) {
      throw new MercurioError('invalid-field', `${JSON.stringify(wrong)} is not a notificationID`)
    }
    if (list.length > 0) await this.#call('mark', list, status)
  }

  /**
   * @param {(ToHub & { type: 'call' })['method']} method
   * @param {unknown[]} args
   * @returns {Promise<void>}
   */
  #call(method, ...args) {
    if (this.#isClosed) return Promise.reject(closed())
    const id = ++this.#callCount
    /** @type {ToHub & { type: 'call' }} */
    const call = { type: 'call', id, method, args }
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { call, resolve, reject })
      // Otherwise it is said once there is a hub, and again to one that takes over.
      if (this.#isJoined) this.#link?.post(call)
    })
  }

  #refuseCalls() {
    for (const { reject } of this.#calls.values()) reject(closed())
    this.#calls.clear()
  }

  /** @param {boolean} isOn */
  #listen(isOn) {
    const change = isOn ? addEventListener : removeEventListener
    for (const type of ['online', 'offline', 'pageshow', 'pagehide']) change(type, this.#onPage)
    const changeDocument = isOn ? document.addEventListener : document.removeEventListener
    changeDocument.call(document, 'visibilitychange', this.#onPage)
  }

  /** @param {Event} event */
  #onPage = (event) => {
    if (event.type === 'pagehide') this.#link?.post({ type: 'bye' })
    else if (event.type === 'pageshow') {
      if (/** @type {PageTransitionEvent} */ (event).persisted) this.#join()
    } else if (event.type !== 'visibilitychange' || document.visibilityState === 'visible') {
      this.#link?.post({ type: 'wake', isOnline: navigator.onLine })
    }
  }
}

function closed() {
  return new MercurioError('closed', 'the inbox was closed')
}
