// One session and the tabs that share it. It runs where the connection is: in a SharedWorker, in
// the tab that leads, or in a page of its own.
//
//   a tab says             hello (config, token, online)   call (id, method, args)
//                          token (id, token | error)       wake (online)   bye
//   a tab is told          update (what changed)   result (id, error)   token? (id)   rejoin

import { MercurioError, asError } from './api.js'
import { nothing } from './model.js'
import { Session } from './session.js'
import { blank } from './view.js'

/**
 * @typedef {import('./model.js').Model} Model
 * @typedef {import('./model.js').Notification} Notification
 * @typedef {import('./view.js').View} View
 * @typedef {{ code: string, message: string, status: number }} Failure
 */

/**
 * @typedef {{ type: 'hello', config: import('./api.js').Config, token: string, isOnline: boolean, model?: Model | undefined }
 *   | { type: 'call', id: number, method: 'loadMore' | 'reload' | 'mark' | 'markAll', args: any[] }
 *   | { type: 'token', id: number, token?: string, error?: Failure }
 *   | { type: 'wake', isOnline: boolean }
 *   | { type: 'bye' }} ToHub
 */

/**
 * @typedef {object} Update
 * @property {'update'} type
 * @property {boolean} [isFirst]
 * @property {Omit<View, 'notifications'>} view
 * @property {number[]} [ids]  the notifications' order, where it changed
 * @property {Notification[]} changed
 * @property {{ name: string, detail: any }[]} events
 * @property {Omit<import('./model.js').Model, 'items'>} model  for who has to take over
 */

/** @typedef {Update
 *   | { type: 'result', id: number, error?: Failure }
 *   | { type: 'token?', id: number }
 *   | { type: 'rejoin' }} ToTab */

/** @typedef {{ id: string, post: (message: ToTab) => void }} Tab */

/** How long a tab may take to give a token. */
const PATIENCE = 20_000

export class Hub {
  /** @type {Map<string, Tab>} */
  #tabs = new Map()
  /** Tabs that were given the state. @type {Set<string>} */
  #shown = new Set()
  #session
  #onEmpty
  #view = blank
  #model = nothing
  /** @type {Map<number, { tab: string, settle: (message: ToHub & { type: 'token' }) => void }>} */
  #asked = new Map()
  #asks = 0
  #isStarted = false
  #takesOver
  /** Its user has changed. */
  #isOver = false

  /**
   * @param {import('./api.js').Config} config
   * @param {{ token: string, model?: Model | undefined, onEmpty?: () => void }} known
   */
  constructor(config, { token, model, onEmpty = () => {} }) {
    this.#onEmpty = onEmpty
    this.#session = new Session(
      config,
      {
        token: () => this.#askTabs(),
        onOtherUser: () => this.#sendAway(),
        publish: (view, events, model) => this.#publish(view, events, model),
      },
      { token, model },
    )
    this.#takesOver = model !== undefined
  }

  close() {
    this.#session.close()
  }

  /**
   * @param {Tab} tab
   * @param {ToHub} message
   */
  async receive(tab, message) {
    if (message.type === 'hello') {
      this.#tabs.set(tab.id, tab)
      this.#start()
      if (this.#isOver) return tab.post({ type: 'rejoin' })
      this.#introduce(tab)
      this.#session.wake(message.isOnline)
      // The session has given up for want of a good token: who comes now may have one.
      if (this.#view.connection === 'closed') void this.#session.reload().catch(() => {})
    } else if (message.type === 'call') {
      tab.post({ type: 'result', id: message.id, ...(await this.#call(message)) })
    } else if (message.type === 'token') {
      this.#asked.get(message.id)?.settle(message)
    } else if (message.type === 'wake') {
      this.#session.wake(message.isOnline)
    } else if (message.type === 'bye') {
      this.leave(tab.id)
    }
  }

  /** With the first tab: there is nobody to be asked for a token before. */
  #start() {
    if (this.#isStarted) return
    this.#isStarted = true
    this.#session.start()
    // Marks that were not confirmed when another tab led may have been refused.
    if (this.#takesOver) this.#session.refresh()
  }

  /**
   * A tab is gone.
   * @param {string} id
   */
  leave(id) {
    if (!this.#tabs.delete(id)) return
    this.#shown.delete(id)
    for (const [ask, { tab, settle }] of this.#asked) {
      if (tab === id) settle({ type: 'token', id: ask })
    }
    if (this.#tabs.size === 0) this.#onEmpty()
  }

  /** @param {ToHub & { type: 'call' }} call */
  async #call({ method, args }) {
    try {
      if (method === 'mark') await this.#session.mark(args[0], args[1])
      else if (method === 'markAll') await this.#session.markAll()
      else if (method === 'loadMore') await this.#session.loadMore()
      else if (method === 'reload') await this.#session.reload()
      return {}
    } catch (error) {
      return { error: failure(error) }
    }
  }

  /** @param {Tab} tab */
  #introduce(tab) {
    this.#shown.add(tab.id)
    const { notifications, ...view } = this.#view
    const ids = notifications.map((one) => one.notificationID)
    const model = lean(this.#model)
    const changed = [...notifications]
    tab.post({ type: 'update', isFirst: true, view, ids, changed, events: [], model })
  }

  /**
   * Tells the tabs what changed.
   * @param {View} next
   * @param {Update['events']} events
   * @param {import('./model.js').Model} model
   */
  #publish(next, events, model) {
    const before = this.#view
    this.#view = next
    this.#model = model
    const { notifications, ...view } = next
    const isSame = /** @type {(keyof View)[]} */ (Object.keys(next)).every(
      (key) => next[key] === before[key],
    )
    if (isSame && events.length === 0) return
    const known = new Set(before.notifications)
    /** @type {Update} */
    const update = {
      type: 'update',
      view,
      changed: notifications.filter((one) => !known.has(one)),
      events,
      model: lean(model),
    }
    if (notifications !== before.notifications) {
      update.ids = notifications.map((one) => one.notificationID)
    }
    for (const id of this.#shown) this.#tabs.get(id)?.post(update)
  }

  /** Every tab has to find out whose it is now. */
  #sendAway() {
    this.#isOver = true
    for (const tab of this.#tabs.values()) tab.post({ type: 'rejoin' })
  }

  /** Asks one tab after the other for a token, the newest first: `getToken` is a page's. */
  async #askTabs() {
    let error = { code: 'token-failed', message: 'no page answers', status: 0 }
    for (const tab of [...this.#tabs.values()].reverse()) {
      if (!this.#tabs.has(tab.id)) continue
      const answer = await this.#askTab(tab)
      if (answer.token !== undefined) return answer.token
      error = answer.error ?? error
    }
    throw revived(error)
  }

  /**
   * @param {Tab} tab
   * @returns {Promise<ToHub & { type: 'token' }>}
   */
  #askTab(tab) {
    const id = ++this.#asks
    return new Promise((resolve) => {
      /** @param {ToHub & { type: 'token' }} message */
      const settle = (message) => {
        clearTimeout(timer)
        this.#asked.delete(id)
        resolve(message)
      }
      const timer = setTimeout(() => settle({ type: 'token', id }), PATIENCE)
      this.#asked.set(id, { tab: tab.id, settle })
      tab.post({ type: 'token?', id })
    })
  }
}

/**
 * An error as it travels between pages and workers.
 * @param {unknown} error
 * @returns {Failure}
 */
export function failure(error) {
  const { code, message, status } = asError(error)
  return { code, message, status }
}

/** @param {Failure} failure */
export function revived({ code, message, status }) {
  return new MercurioError(code, message, { status })
}

/** @param {import('./model.js').Model} model */
function lean({ items, ...rest }) {
  return rest
}
