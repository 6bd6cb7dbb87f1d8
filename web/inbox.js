// <mercurio-inbox>: a bell with a badge, and what is behind it. How to use it is in README.md.

import { Announcer } from './inbox/announcer.js'
import { Bell } from './inbox/bell.js'
import { Connection, optionsOf } from './inbox/connection.js'
import { Notices } from './inbox/notices.js'
import { Panel } from './inbox/panel.js'
import { Popover } from './inbox/popover.js'
import { sheet } from './inbox/styles.js'
import { Phrases, language } from './inbox/texts.js'
import { Times } from './inbox/time.js'

/**
 * @typedef {import('./client.js').Inbox} Inbox
 * @typedef {import('./client.js').Notification} Notification
 * @typedef {import('./client.js').State} State
 * @typedef {import('./inbox/texts.js').Texts} Texts
 * @typedef {import('./inbox/item.js').Surroundings} Surroundings
 */

const TICK = 30_000

/** Properties that a page may have set before the element was defined. */
const PROPERTIES = /** @type {const} */ (['getToken', 'inbox', 'texts', 'render', 'open'])

/**
 * @fires notification-click before a notification is opened; prevented, the page does all of it
 * @fires inbox-change with the state
 */
export class MercurioInbox extends HTMLElement {
  static observedAttributes = [
    ...['url', 'user', 'topics', 'auth', 'page-size', 'sharing'],
    ...['lang', 'texts', 'layout', 'open'],
  ]

  #bell = new Bell()
  #panel = new Panel({
    loadMore: () => void this.#loadMore(),
    markAll: () => void this.#mark((inbox) => inbox.markAllRead(), 'allMarked'),
    retry: () => void (this.inbox ? this.inbox.reload().catch(() => {}) : this.#connectSoon()),
  })
  #popover = new Popover(this.#panel.element, this.#bell.element, (isOpen) => {
    this.toggleAttribute('open', isOpen)
    this.#show()
  })
  #announcer = new Announcer((titles) =>
    this.#around.phrases.say('arrived', {
      count: titles.length,
      title: (titles[0] ?? '').slice(0, 120),
    }),
  )
  #notices = new Notices(
    () => this.#show(),
    (key) => this.#announcer.say(this.#around.phrases.say(key)),
  )
  #connection = new Connection({
    changed: () => this.#changed(),
    arrived: (notification) => this.#arrived(notification),
    lost: () => this.#notices.fail('loss'),
  })

  /** @type {(() => Promise<string>) | undefined} */
  #getToken
  /** @type {Inbox | null} */
  #given = null
  #isConnecting = false
  #isShowing = false
  /** @type {Partial<Texts> | null} */
  #texts = null
  /** @type {((notification: Notification) => Node | string) | null} */
  #render = null
  #around = this.#surroundings()
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticking

  constructor() {
    super()
    const root = this.attachShadow({ mode: 'open' })
    root.adoptedStyleSheets = [sheet()]
    root.append(this.#bell.element, this.#panel.element, this.#announcer.element)
  }

  // What a page sets.

  /** Gives a token for the user when one is needed; without it the page's cookie is used. */
  get getToken() {
    return this.#getToken
  }

  set getToken(getToken) {
    this.#getToken = getToken
    this.#connectSoon()
  }

  /** The connection: one that the page made with `connect`, or the element's own. */
  get inbox() {
    return this.#connection.inbox
  }

  set inbox(inbox) {
    this.#given = inbox ?? null
    this.#connectSoon()
  }

  /** Texts in place of the English ones; which there are is in inbox/texts.js. */
  get texts() {
    return this.#texts
  }

  set texts(texts) {
    this.#texts = texts ?? null
    this.#renew()
  }

  /** What the page makes of a notification: a node, or a string, which becomes text. */
  get render() {
    return this.#render
  }

  set render(render) {
    this.#render = render ?? null
    this.#renew()
  }

  /** Whether the panel is open. */
  get open() {
    return this.#popover.isOpen
  }

  set open(open) {
    this.toggleAttribute('open', Boolean(open))
  }

  // The element's life.

  connectedCallback() {
    for (const name of PROPERTIES) {
      if (!Object.hasOwn(this, name)) continue
      const value = this[name]
      Reflect.deleteProperty(this, name)
      Object.assign(this, { [name]: value })
    }
    this.#popover.arrange(this.getAttribute('layout') === 'inline')
    if (this.hasAttribute('open')) this.#popover.show()
    this.#ticking ??= setInterval(() => this.#panel.tick(), TICK)
    this.#renew()
    if (!this.inbox) this.#connectSoon()
  }

  disconnectedCallback() {
    // Where it is only moved within the page, it is back before this runs.
    queueMicrotask(() => {
      if (this.isConnected) return
      this.#popover.hide()
      this.#connection.close()
      this.#notices.stop()
      this.#announcer.stop()
      clearInterval(this.#ticking)
      this.#ticking = undefined
    })
  }

  /**
   * @param {string} name
   * @param {string | null} before
   * @param {string | null} now
   */
  attributeChangedCallback(name, before, now) {
    if (before === now || !this.isConnected) return
    if (name === 'open') {
      if (now === null) this.#popover.hide()
      else this.#popover.show()
    } else if (name === 'layout') this.#popover.arrange(now === 'inline')
    else if (name === 'lang' || name === 'texts') this.#renew()
    else this.#connectSoon()
  }

  // The connection.

  /** Once everything that is set together is set. */
  #connectSoon() {
    if (this.#isConnecting || !this.isConnected) return
    this.#isConnecting = true
    queueMicrotask(() => {
      this.#isConnecting = false
      if (this.isConnected) this.#connect()
    })
  }

  #connect() {
    if (this.#given && this.#given === this.inbox) return
    this.#notices.stop()
    this.#connection.open(this.#given, optionsOf(this, this.#getToken))
  }

  #changed() {
    const state = this.#connection.state
    this.#notices.connection(state.connection)
    this.#show()
    this.dispatchEvent(
      new CustomEvent('inbox-change', { detail: state, bubbles: true, composed: true }),
    )
  }

  /** @param {Notification} notification */
  #arrived(notification) {
    this.#panel.arrived(1, this.#around.phrases)
    // Once the change that brings it is shown.
    queueMicrotask(() => {
      const item = this.#panel.item(notification.notificationID)
      item?.element.classList.add('arrived')
      // Otherwise it would begin again whenever the panel is opened.
      item?.element.addEventListener('animationend', (event) => {
        if (event.target === item.element) item.element.classList.remove('arrived')
      })
      this.#bell.ring()
      this.#announcer.arrive(item?.title ?? '')
    })
  }

  // What the user does.

  /** @param {Notification} notification */
  #activate(notification) {
    const click = new CustomEvent('notification-click', {
      detail: notification,
      bubbles: true,
      composed: true,
      cancelable: true,
    })
    if (!this.dispatchEvent(click)) return false
    if (!notification.readAt)
      void this.#mark((inbox) => inbox.markRead(notification.notificationID))
    return true
  }

  /** @param {Notification} notification */
  #toggle({ notificationID, readAt }) {
    void this.#mark((inbox) =>
      readAt ? inbox.markUnread(notificationID) : inbox.markRead(notificationID),
    )
  }

  /**
   * @param {(inbox: Inbox) => Promise<unknown>} does
   * @param {'allMarked'} [done]
   */
  async #mark(does, done) {
    if (!this.inbox) return
    try {
      await does(this.inbox)
      if (done) this.#announcer.say(this.#around.phrases.say(done))
    } catch {
      // The client has put it back.
      this.#notices.fail('markFailed')
    }
  }

  async #loadMore() {
    const before = this.#connection.state
    if (before.loading || !this.inbox) return
    try {
      await this.inbox.loadMore()
    } catch {
      this.#notices.fail('loadFailed')
    }
    const count = this.#connection.state.notifications.length - before.notifications.length
    if (count > 0) this.#announcer.say(this.#around.phrases.say('moreLoaded', { count }))
  }

  // What is shown.

  /** Another language, other texts, another way to render: everything anew. */
  #renew() {
    this.#around = this.#surroundings()
    this.#show()
  }

  /** @returns {Surroundings} */
  #surroundings() {
    const known = language(this.closest('[lang]')?.getAttribute('lang'))
    return {
      phrases: new Phrases({ ...parsed(this.getAttribute('texts')), ...this.#texts }, known),
      times: new Times(known),
      render: this.#render,
      activate: (notification) => this.#activate(notification),
      toggle: (notification) => this.#toggle(notification),
    }
  }

  /** Soon, and once for all that changes together. */
  #show() {
    if (this.#isShowing) return
    this.#isShowing = true
    queueMicrotask(() => {
      this.#isShowing = false
      if (!this.isConnected) return
      const { phrases } = this.#around
      this.#bell.show(this.#connection.state.unreadCount, phrases)
      this.#panel.show(this.#connection.state, this.#around, this.#notices.line(phrases))
    })
  }
}

/**
 * The attribute `texts`: JSON, for pages that are written without a script of their own.
 *
 * @param {string | null} json
 * @returns {Partial<Texts> | null}
 */
function parsed(json) {
  if (!json) return null
  try {
    return JSON.parse(json)
  } catch {
    console.error('mercurio-inbox: the attribute texts is not JSON')
    return null
  }
}

if (!customElements.get('mercurio-inbox')) customElements.define('mercurio-inbox', MercurioInbox)
