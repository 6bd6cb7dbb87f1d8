// One notification in the list: made once, brought up to date in place, so that focus and what a
// screen reader is reading survive every change around it.

import { contentOf } from './content.js'
import { make, set, write } from './dom.js'

/**
 * @typedef {import('../client.js').Notification} Notification
 * @typedef {import('./texts.js').Phrases} Phrases
 * @typedef {import('./time.js').Times} Times
 *
 * @typedef {object} Surroundings what the items of a list share
 * @property {Phrases} phrases
 * @property {Times} times
 * @property {((notification: Notification) => Node | string) | null} render
 * @property {(notification: Notification) => boolean} activate false: the page does all of it
 * @property {(notification: Notification) => void} toggle
 */

const TINTS = 6
let made = 0

export class Item {
  /** @type {Notification} */
  notification
  #around
  #id = `n${++made}`
  #date
  #content
  #main
  #unread = make('span', { class: 'sr', id: `${this.#id}-unread` })
  #time = make('time', { part: 'time' })
  #toggle = make('button', { type: 'button', class: 'toggle', part: 'toggle' })

  /**
   * @param {Notification} notification
   * @param {Surroundings} around
   */
  constructor(notification, around) {
    this.notification = notification
    this.#around = around
    this.#date = new Date(notification.createdAt)
    this.#content = contentOf(notification.data, document.baseURI)
    const rendered = around.render ? renderedBy(around.render, notification) : null
    this.#main = rendered ?? this.#default()
    this.#main.id = `${this.#id}-main`
    this.#toggle.append(make('span', { class: 'dot', part: 'dot' }))
    this.#toggle.addEventListener('click', (event) => {
      event.stopPropagation()
      around.toggle(this.notification)
    })
    this.element = make(
      'div',
      {
        role: 'article',
        class: 'item',
        // What a page renders itself may have nothing to focus.
        tabindex: rendered ? 0 : -1,
        'aria-labelledby': `${this.#unread.id} ${this.#main.id}`,
        'data-id': notification.notificationID,
      },
      this.#unread,
      ...(rendered ? [] : [this.#avatar()]),
      this.#main,
      this.#toggle,
    )
    if (rendered) this.element.addEventListener('click', (event) => this.#activate(event))
    this.element.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && event.target === this.element) this.#activate(event)
    })
    this.update(notification)
  }

  /** What it says in a line. */
  get title() {
    return this.#content.title || this.notification.topic || this.#around.phrases.say('untitled')
  }

  /** @param {Notification} notification the same one, perhaps with another mark */
  update(notification) {
    this.notification = notification
    const { phrases } = this.#around
    const unread = !notification.readAt
    set(this.element, 'part', unread ? 'item item-unread' : 'item')
    set(this.element, 'data-unread', unread)
    write(this.#unread, unread ? phrases.say('unread') : '')
    const label = phrases.say(unread ? 'markRead' : 'markUnread')
    set(this.#toggle, 'aria-label', `${label}: ${this.title.slice(0, 80)}`)
    set(this.#toggle, 'title', label)
    this.tick()
  }

  /** Time goes on. */
  tick() {
    write(this.#time, this.#around.times.ago(this.#date))
  }

  /** @param {Event} event */
  #activate(event) {
    if (!this.#around.activate(this.notification)) event.preventDefault()
    else if (!this.#content.link) this.element.toggleAttribute('data-open')
  }

  #default() {
    const { link, body } = this.#content
    const { topic, createdAt } = this.notification
    const elsewhere = link && link.origin !== location.origin
    const common = { class: 'title', part: 'item-title', dir: 'auto' }
    const title = link
      ? make('a', {
          ...common,
          href: link.href,
          ...(elsewhere ? { target: '_blank', rel: 'noopener noreferrer' } : {}),
        })
      : make('button', { ...common, type: 'button' })
    title.append(this.title)
    if (elsewhere)
      title.append(make('span', { class: 'sr' }, ` (${this.#around.phrases.say('newTab')})`))
    title.addEventListener('click', (event) => this.#activate(event))
    set(this.#time, 'datetime', createdAt)
    set(this.#time, 'title', this.#around.times.full(this.#date))
    const about = make('div', { class: 'meta', part: 'meta' }, this.#time)
    if (topic) about.append(make('span', { class: 'topic', part: 'topic', dir: 'auto' }, topic))
    if (elsewhere)
      about.append(make('span', { class: 'host', part: 'host', dir: 'ltr' }, link.host))
    const main = make('div', { class: 'main' }, title)
    if (body) main.append(make('div', { class: 'body', part: 'item-body', dir: 'auto' }, body))
    main.append(about)
    return main
  }

  /** Who sent it, at a glance. */
  #avatar() {
    const source = this.notification.sourceID
    let sum = 0
    for (const char of source) sum = (sum * 31 + (char.codePointAt(0) ?? 0)) % 1009
    const letter = [...source.trim()][0] ?? '·'
    return make(
      'span',
      {
        class: 'avatar',
        part: 'avatar',
        'aria-hidden': 'true',
        title: source,
        'data-tint': sum % TINTS,
      },
      letter.toUpperCase(),
    )
  }
}

/**
 * What the page makes of it: a node, or a string as text. Where it throws, the default is shown.
 *
 * @param {(notification: Notification) => Node | string} render
 * @param {Notification} notification
 */
function renderedBy(render, notification) {
  try {
    return make('div', { class: 'main', part: 'rendered' }, render(notification))
  } catch (error) {
    console.error('mercurio-inbox: render failed', error)
    return null
  }
}
