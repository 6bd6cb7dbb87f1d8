// The panel: heading, notice, list; or, in the list's place, that it is empty, loading or broken.

import { icon, make, set, write } from './dom.js'
import { List } from './list.js'

/**
 * @typedef {import('../client.js').State} State
 * @typedef {import('./item.js').Surroundings} Surroundings
 * @typedef {import('./texts.js').Phrases} Phrases
 *
 * @typedef {object} Notice a line above the list
 * @property {string} text
 * @property {'quiet' | 'warning'} kind
 * @property {boolean} [retry] whether trying again makes sense
 */

const SKELETONS = 4

export class Panel {
  #title = make('h2', { class: 'heading', part: 'title', id: 'title' })
  #count = make('span', { class: 'count', part: 'count' })
  #markAll = make('button', { type: 'button', class: 'mark-all', part: 'mark-all' })
  #notice = make('div', { class: 'notice', part: 'notice' })
  #noticeText = make('span')
  #noticeRetry = make('button', { type: 'button', class: 'link', part: 'retry' })
  #above = make('button', { type: 'button', class: 'above', part: 'new-above' })
  #aboveText = make('span')
  #state = make('div', { class: 'state' })
  #stateShown = ''
  #list
  #newAbove = 0

  /** @param {{ loadMore: () => void, markAll: () => void, retry: () => void }} does */
  constructor(does) {
    this.#list = new List(does.loadMore)
    this.retry = does.retry
    this.#markAll.append(icon('checks'), make('span'))
    this.#markAll.addEventListener('click', () => {
      if (!this.#markAll.hasAttribute('aria-disabled')) does.markAll()
    })
    this.#noticeRetry.addEventListener('click', does.retry)
    this.#notice.append(icon('cloud'), this.#noticeText, this.#noticeRetry)
    this.#above.append(icon('up'), this.#aboveText)
    this.#above.addEventListener('click', () => {
      this.#list.element.scrollTo({ top: 0 })
      if (this.#list.feed.firstElementChild instanceof HTMLElement)
        this.#list.feed.firstElementChild.focus({ preventScroll: true })
    })
    this.#list.element.addEventListener('scroll', () => this.#isAtTop() && this.arrived(0), {
      passive: true,
    })
    this.element = make(
      'div',
      { id: 'panel', class: 'panel', part: 'panel', tabindex: -1, 'aria-labelledby': 'title' },
      make('div', { class: 'header', part: 'header' }, this.#title, this.#count, this.#markAll),
      this.#notice,
      make('div', { class: 'content' }, this.#above, this.#list.element, this.#state),
    )
  }

  /**
   * @param {State} state
   * @param {Surroundings} around
   * @param {Notice | null} notice
   */
  show(state, around, notice) {
    const { phrases } = around
    const { notifications, unreadCount } = state
    write(this.#title, phrases.say('title'))
    write(this.#count, phrases.say('unreadCount', { count: unreadCount }))
    this.#count.hidden = notifications.length === 0
    set(this.#count, 'data-unread', unreadCount > 0)
    write(/** @type {Element} */ (this.#markAll.lastElementChild), phrases.say('markAll'))
    set(this.#markAll, 'title', phrases.say('markAll'))
    // Not `disabled`: whoever has just pressed it would lose their place.
    set(this.#markAll, 'aria-disabled', unreadCount === 0 ? 'true' : null)
    this.#markAll.hidden = notifications.length === 0 && unreadCount === 0

    this.#list.show(notifications, state, around)
    const isEmpty = notifications.length === 0
    this.#list.element.hidden = isEmpty
    this.#showState(isEmpty ? stateOf(state) : '', state, phrases)

    this.#notice.hidden = !notice
    if (notice) {
      set(this.#notice, 'data-kind', notice.kind)
      write(this.#noticeText, notice.text)
      write(this.#noticeRetry, phrases.say('retry'))
    }
    this.#noticeRetry.hidden = !notice?.retry
    this.arrived(0, phrases)
  }

  /** @param {number} id */
  item(id) {
    return this.#list.item(id)
  }

  /** Brings the relative times up to date. */
  tick() {
    this.#list.tick()
  }

  /**
   * So many have arrived above what is being looked at.
   *
   * @param {number} count
   * @param {Phrases} [phrases]
   */
  arrived(count, phrases) {
    this.#newAbove = this.#isAtTop() ? 0 : this.#newAbove + count
    this.#above.hidden = this.#newAbove === 0
    if (phrases) write(this.#aboveText, phrases.say('newAbove', { count: this.#newAbove }))
  }

  #isAtTop() {
    return this.#list.element.scrollTop < 40
  }

  /**
   * @param {'' | 'loading' | 'empty' | 'error' | 'signedOut'} which
   * @param {State} state
   * @param {Phrases} phrases
   */
  #showState(which, state, phrases) {
    this.#state.hidden = which === ''
    const key = `${which} ${phrases.say('emptyTitle')} ${state.error?.code ?? ''}`
    if (this.#stateShown === key) return
    this.#stateShown = key
    const hadFocus = this.#state.matches(':focus-within')
    this.#state.replaceChildren()
    set(this.#state, 'part', which ? `state ${which}` : 'state')
    set(this.#state, 'data-state', which)
    if (which === 'loading') {
      this.#state.append(make('span', { class: 'sr' }, phrases.say('loading')))
      for (let row = 0; row < SKELETONS; row++)
        this.#state.append(
          make(
            'div',
            { class: 'skeleton', 'aria-hidden': 'true' },
            make('i'),
            make('b'),
            make('u'),
          ),
        )
    } else if (which) {
      const title =
        which === 'empty' ? 'emptyTitle' : which === 'error' ? 'errorTitle' : 'signedOutTitle'
      const text =
        which === 'empty' ? 'emptyText' : which === 'error' ? 'errorText' : 'signedOutText'
      this.#state.append(
        make(
          'span',
          { class: 'picture', 'aria-hidden': 'true' },
          icon(which === 'empty' ? 'bell' : 'cloud'),
        ),
        make('p', { class: 'state-title', part: 'state-title' }, phrases.say(title)),
        make('p', { class: 'state-text', part: 'state-text' }, phrases.say(text)),
      )
      if (which !== 'empty') {
        const again = make(
          'button',
          { type: 'button', class: 'button', part: 'retry' },
          phrases.say('retry'),
        )
        again.addEventListener('click', () => this.retry())
        this.#state.append(again)
        if (state.error)
          this.#state.append(make('p', { class: 'code', part: 'code' }, state.error.code))
      }
    }
    if (hadFocus) this.element.focus()
  }
}

/** @param {State} state */
function stateOf({ loading, error, connection }) {
  if (error) return /^token-|^unauthori[sz]ed|^401/.test(error.code) ? 'signedOut' : 'error'
  return loading || connection === 'connecting' ? 'loading' : 'empty'
}
