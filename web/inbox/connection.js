// Which inbox is shown: one that the page made with `connect`, or the element's own.

import { connect } from '../client.js'
import { blank } from '../client/view.js'

/**
 * @typedef {import('../client.js').Inbox} Inbox
 * @typedef {import('../client.js').Notification} Notification
 * @typedef {import('../client.js').Options} Options
 * @typedef {import('../client.js').State} State
 */

export class Connection {
  /** @type {Inbox | null} */
  inbox = null
  /** The state where there is none. */
  #nothing = blank
  /** Ends what listens to the inbox. */
  #listening = new AbortController()
  #told

  /** @param {{ changed: () => void, arrived: (notification: Notification) => void, lost: () => void }} told */
  constructor(told) {
    this.#told = told
  }

  /** @returns {State} */
  get state() {
    return this.inbox?.state ?? this.#nothing
  }

  /**
   * Shows this inbox, or one of its own with these options, in the place of the one before.
   *
   * @param {Inbox | null} given
   * @param {Options} options
   */
  open(given, options) {
    this.close()
    const inbox = given ?? this.#own(options)
    this.inbox = inbox
    if (inbox) {
      const { signal } = (this.#listening = new AbortController())
      /** @type {(type: string, listener: (event: any) => void) => void} */
      const on = (type, listener) => inbox.addEventListener(type, listener, { signal })
      on('change', () => this.#told.changed())
      on('notification', (event) => this.#told.arrived(event.detail))
      on('loss', () => this.#told.lost())
      // What the page made is the page's to close.
      if (!given) signal.addEventListener('abort', () => inbox.close())
    }
    this.#told.changed()
  }

  close() {
    this.#listening.abort()
    this.inbox = null
    this.#nothing = blank
  }

  /** @param {Options} options */
  #own(options) {
    try {
      return connect(options)
    } catch (error) {
      const { message } = /** @type {Error} */ (error)
      console.error(`mercurio-inbox: ${message}`)
      const wrong = { code: 'invalid-options', message }
      this.#nothing = { ...blank, connection: 'closed', loading: false, error: wrong }
      return null
    }
  }
}

/**
 * The options of an element's attributes. What is not said is left to `connect`, and so is what is
 * wrong.
 *
 * @param {Element} element
 * @param {Options['getToken']} getToken
 * @returns {Options}
 */
export function optionsOf(element, getToken) {
  const size = element.getAttribute('page-size')
  const options = {
    url: element.getAttribute('url'),
    user: element.getAttribute('user'),
    topics: element.getAttribute('topics')?.split(/\s+/).filter(Boolean),
    auth: element.getAttribute('auth'),
    sharing: element.getAttribute('sharing'),
    pageSize: size === null ? null : Number(size),
    getToken,
  }
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value != null))
}
