// The list, by the ARIA feed pattern: articles in a feed that grows at both ends, Page Down and
// Page Up from one to the next, Control with Home and End out of it. The arrow keys, Home and End
// work too.

import { make, set, write } from './dom.js'
import { Item } from './item.js'

/** This close to the end of what is loaded, more is. */
const NEAR_END = 240

/**
 * @typedef {import('../client.js').Notification} Notification
 * @typedef {import('./item.js').Surroundings} Surroundings
 */

export class List {
  #keys = make('p', { class: 'sr', id: 'keys' })
  feed = make('div', {
    role: 'feed',
    class: 'feed',
    part: 'list',
    'aria-labelledby': 'title',
    'aria-describedby': 'keys',
  })
  more = make('button', { type: 'button', class: 'more', part: 'load-more' })
  element = make('div', { class: 'scroller', part: 'scroller' }, this.#keys, this.feed, this.more)
  /** @type {Map<number, Item>} */
  #items = new Map()
  /** @type {Surroundings | undefined} */
  #around

  /** @param {() => void} loadMore */
  constructor(loadMore) {
    this.more.addEventListener('click', loadMore)
    this.element.addEventListener(
      'scroll',
      () => {
        const { scrollTop, scrollHeight, clientHeight } = this.element
        if (
          scrollTop > 0 &&
          scrollTop + clientHeight > scrollHeight - NEAR_END &&
          !this.more.hidden
        )
          loadMore()
      },
      { passive: true },
    )
    this.feed.addEventListener('keydown', (event) => this.#move(event))
  }

  /**
   * @param {readonly Notification[]} notifications newest first
   * @param {{ hasMore: boolean, loading: boolean }} state
   * @param {Surroundings} around when another than before, all items are made anew
   */
  show(notifications, { hasMore, loading }, around) {
    if (around !== this.#around) {
      this.#around = around
      this.#items.clear()
      this.feed.replaceChildren()
    }
    const hadFocus = this.#focused()
    const moreHadFocus = this.more.matches(':focus')
    const shown = new Set(notifications.map((notification) => notification.notificationID))
    this.#remove(shown, hadFocus)
    const last = this.feed.lastElementChild
    let place = this.feed.firstElementChild
    const size = hasMore ? -1 : notifications.length
    for (const [index, notification] of notifications.entries()) {
      let item = this.#items.get(notification.notificationID)
      if (!item) {
        item = new Item(notification, around)
        this.#items.set(notification.notificationID, item)
      } else if (item.notification !== notification) {
        item.update(notification)
      }
      // Only what is out of place is moved: moving an element takes its focus away.
      if (item.element === place) place = place.nextElementSibling
      else this.feed.insertBefore(item.element, place)
      set(item.element, 'aria-posinset', index + 1)
      set(item.element, 'aria-setsize', size)
    }
    set(this.feed, 'aria-busy', loading ? 'true' : 'false')
    write(this.#keys, around.phrases.say('keys'))
    write(this.more, around.phrases.say(loading ? 'loading' : 'loadMore'))
    set(this.more, 'aria-disabled', loading ? 'true' : null)
    this.more.hidden = !hasMore
    // The button has gone because everything is there: on with the first of what it brought.
    if (moreHadFocus && this.more.hidden)
      focus(last?.nextElementSibling ?? this.feed.lastElementChild)
  }

  /** @param {number} id */
  item(id) {
    return this.#items.get(id)
  }

  /** Brings the relative times up to date. */
  tick() {
    for (const item of this.#items.values()) item.tick()
  }

  /**
   * What is gone is taken out; where it had the focus, its neighbour gets it.
   *
   * @param {Set<number>} shown
   * @param {Item | undefined} focused
   */
  #remove(shown, focused) {
    const isGone = focused && !shown.has(focused.notification.notificationID)
    let next = isGone ? focused.element : null
    while (next && !shown.has(Number(/** @type {HTMLElement} */ (next).dataset.id)))
      next = /** @type {HTMLDivElement | null} */ (next.nextElementSibling)
    for (const [id, item] of this.#items) {
      if (shown.has(id)) continue
      item.element.remove()
      this.#items.delete(id)
    }
    if (isGone) focus(next ?? this.feed.lastElementChild ?? this.element.closest('#panel'))
  }

  #focused() {
    const article = this.feed.querySelector('[role=article]:focus-within')
    return article
      ? this.#items.get(Number(/** @type {HTMLElement} */ (article).dataset.id))
      : undefined
  }

  /** @param {KeyboardEvent} event */
  #move(event) {
    if (event.defaultPrevented || event.altKey || event.metaKey || event.shiftKey) return
    const from = this.#focused()?.element
    if (!from) return
    const to = event.ctrlKey ? this.#outside(event.key) : this.#neighbour(event.key, from)
    if (!to) return
    event.preventDefault()
    to.focus()
    to.scrollIntoView({ block: 'nearest' })
  }

  /**
   * @param {string} key
   * @param {HTMLElement} from
   */
  #neighbour(key, from) {
    switch (key) {
      case 'PageDown':
      case 'ArrowDown':
        return /** @type {HTMLElement} */ (
          from.nextElementSibling ?? (this.more.hidden ? from : this.more)
        )
      case 'PageUp':
      case 'ArrowUp':
        return /** @type {HTMLElement} */ (from.previousElementSibling ?? from)
      case 'Home':
        return /** @type {HTMLElement} */ (this.feed.firstElementChild)
      case 'End':
        return /** @type {HTMLElement} */ (this.feed.lastElementChild)
    }
    return null
  }

  /**
   * The first thing to focus before the feed, or behind it.
   *
   * @param {string} key
   */
  #outside(key) {
    if (key === 'End') return this.more.hidden ? null : this.more
    if (key === 'Home')
      return /** @type {HTMLElement | null} */ (
        this.element.closest('#panel')?.querySelector('button, a')
      )
    return null
  }
}

/** @param {Element | null | undefined} element */
function focus(element) {
  if (element instanceof HTMLElement) element.focus()
}
