// Mercurio in a page: a user's notifications, the unread count and read marks, kept current over
// one connection for all tabs.
//
//   import { connect } from '/client.js'
//   const inbox = connect({ getToken: async () => theTokenOfWhoIsSignedIn() })
//   inbox.addEventListener('change', () => show(inbox.state))

import { MercurioError } from './client/api.js'
import { Calls } from './client/calls.js'
import { InboxEvents } from './client/events.js'
import { failure } from './client/hub.js'
import { MANNERS, bestLink } from './client/links.js'
import { Mirror } from './client/mirror.js'
import { settled } from './client/options.js'
import { hold, newId } from './client/tabs.js'
import { ask } from './client/tokens.js'
import { WhoAmI } from './client/whoami.js'

/**
 * @typedef {import('./client/model.js').Notification} Notification
 * @typedef {import('./client/view.js').Connection} Connection
 * @typedef {import('./client/view.js').View} State
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

/**
 * A user's notifications. An EventTarget; its events are those of `client/events.js`.
 */
export class Inbox extends InboxEvents {
  #options
  #config
  #id = newId()
  #token = ''
  /** @type {import('./client/links.js').Manner[]} */
  #manners
  #whoami
  #mirror = new Mirror()
  /** @type {import('./client/links.js').Link | undefined} */
  #link
  /** The last notification that was told as having arrived. */
  #newest = 0
  /** The hub knows of this tab. */
  #isJoined = false
  #isClosed = false
  #calls = new Calls()
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
    const { sharing = 'auto' } = options
    this.#manners = sharing === 'auto' ? MANNERS : [sharing]
    this.#whoami = new WhoAmI(
      this.#config,
      () => this.#getToken(),
      (error) => this.#refused(error),
    )
    this.#listen(true)
    void this.#begin()
  }

  /** What is known now. Frozen; a change replaces it. */
  get state() {
    return this.#mirror.state
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
    this.#whoami.again()
    return this.#call('reload')
  }

  /** Ends. Other tabs are not concerned. */
  close() {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#listen(false)
    this.#link?.close()
    this.#release()
    this.#calls.refuse(closed())
    this.#whoami.close()
    this.#set({ connection: 'closed' })
    this.#isReady()
  }

  async #begin() {
    try {
      const release = await hold(this.#id)
      if (this.#isClosed) return release()
      this.#release = release
    } catch {
      // A sandboxed frame may not; nothing can be shared with it.
      this.#manners = ['none']
    }
    await this.#join()
  }

  /** Whose hub this tab joins depends on who the user is. */
  async #join() {
    if (this.#config.isMe && this.#manners[0] !== 'none') {
      const found = await this.#whoami.ask(this.#token)
      if (found === null) return
      this.#token = found.token
      this.#config = { ...this.#config, user: found.clientID }
    }
    if (!this.#isClosed) this.#open()
  }

  /**
   * Who the user is could not be learnt.
   * @param {MercurioError} error
   */
  #refused(error) {
    const { code, message, isFinal } = error
    const connection = isFinal ? 'closed' : this.#whoami.isOffline ? 'offline' : 'waiting'
    this.#set({ connection, error: { code, message }, loading: false })
    if (!isFinal) return
    this.#calls.refuse(error)
    this.#isReady()
  }

  async #getToken() {
    return ask(this.#options.getToken, this.#config.auth)
  }

  #open() {
    const { url, user, isMe, auth, topics, hasToken } = this.#config
    const line = {
      id: this.#id,
      key: JSON.stringify([url, user, isMe, auth, topics, hasToken]),
      hello: () => this.#hello(),
      receive: (/** @type {ToTab} */ message) => void this.#receive(message),
      onHub: () => this.#greet(),
      model: () => this.#mirror.model,
    }
    this.#link = bestLink(this.#manners, line, this.#options.workerUrl, (error) => {
      this.close()
      this.#set({ error: { code: 'sharing-unavailable', message: failure(error).message } })
    })
  }

  /** @returns {ToHub & { type: 'hello' }} */
  #hello() {
    const { onLine } = navigator
    return { type: 'hello', config: this.#config, token: this.#token, isOnline: onLine }
  }

  #greet() {
    this.#isJoined = false
    if (!this.#isClosed) this.#link?.post(this.#hello())
  }

  /** @param {ToTab} message */
  async #receive(message) {
    if (this.#isClosed) return
    if (message.type === 'update') this.#update(message)
    else if (message.type === 'rejoin') this.#rejoin()
    else if (message.type === 'result') this.#calls.settle(message)
    else this.#link?.post(await this.#answer(message.id))
  }

  /**
   * A hub asks for a token.
   * @param {number} id
   * @returns {Promise<ToHub & { type: 'token' }>}
   */
  async #answer(id) {
    try {
      this.#token = await this.#getToken()
      return { type: 'token', id, token: this.#token }
    } catch (error) {
      return { type: 'token', id, error: failure(error) }
    }
  }

  /** The user is another one now; nobody is shown what was the first one's. */
  #rejoin() {
    this.#link?.close()
    this.#link = undefined
    this.#isJoined = false
    this.#newest = 0
    // The first one's token may hold for long, and what was to be marked was the first one's.
    this.#token = ''
    this.#config = { ...this.#config, user: 'me' }
    this.#calls.refuse(new MercurioError('other-user', 'the user is another one now'))
    this.#mirror.clear()
    this.#set({})
    void this.#whoami.otherUser().then(() => this.#join())
  }

  /** @param {import('./client/hub.js').Update} update */
  #update(update) {
    const { isFirst, events, model } = update
    if (!isFirst && !this.#isJoined) return
    const known = this.#mirror.model
    this.#set(() => this.#mirror.take(update))
    // What the hub before this one told others last, and this tab perhaps not.
    if (isFirst && known) {
      const missed = this.state.notifications.filter((one) => one.notificationID > known.cursor)
      for (const one of [...missed].reverse()) this.#tell('notification', one)
    }
    for (const { name, detail } of events) this.#tell(name, detail)
    if (model.clientID !== null || this.state.connection === 'closed') this.#isReady()
    if (isFirst && !this.#isJoined) {
      this.#isJoined = true
      for (const call of this.#calls.waiting) this.#link?.post(call)
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

  /** @param {Partial<State> | (() => void)} change */
  #set(change) {
    const before = this.state
    if (typeof change === 'function') change()
    else this.#mirror.set(change)
    const { state } = this
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
    const refused = this.#isClosed ? closed() : this.#whoami.refused
    if (refused) return Promise.reject(refused)
    const { call, answer } = this.#calls.make(method, args)
    // Otherwise it is said once there is a hub, and again to one that takes over.
    if (this.#isJoined) this.#link?.post(call)
    return answer
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
      if (/** @type {PageTransitionEvent} */ (event).persisted) this.#greet()
    } else if (event.type !== 'visibilitychange' || document.visibilityState === 'visible') {
      this.#whoami.wake()
      this.#link?.post({ type: 'wake', isOnline: navigator.onLine })
    }
  }
}

function closed() {
  return new MercurioError('closed', 'the inbox was closed')
}
