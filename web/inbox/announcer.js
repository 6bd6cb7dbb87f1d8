// What a screen reader is told: politely, and not faster than it can be heard.

import { make } from './dom.js'

/** What arrives within this time is told together. */
const GATHER = 700
/** And no two announcements are closer than that. */
const APART = 4000

export class Announcer {
  element = make('div', {
    class: 'sr',
    role: 'status',
    'aria-live': 'polite',
    'aria-atomic': 'true',
  })
  /** @type {string[]} */
  #arrived = []
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer
  #last = -APART

  /** @param {(titles: string[]) => string} arrivals puts what arrived into words */
  constructor(arrivals) {
    this.arrivals = arrivals
  }

  /**
   * Something that arrived by itself: gathered.
   *
   * @param {string} title
   */
  arrive(title) {
    this.#arrived.push(title)
    const wait = Math.max(GATHER, this.#last + APART - performance.now())
    this.#timer ??= setTimeout(() => this.#tell(), wait)
  }

  /**
   * The outcome of what the user did, or a change they have to know of: at once.
   *
   * @param {string} text
   */
  say(text) {
    // The same words again are said again only where the node is another.
    this.element.replaceChildren(make('span', {}, text))
    this.#last = performance.now()
  }

  stop() {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#arrived = []
  }

  #tell() {
    this.#timer = undefined
    this.say(this.arrivals(this.#arrived.splice(0)))
  }
}
