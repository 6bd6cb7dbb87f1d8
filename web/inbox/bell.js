// The bell with its badge: the button that opens the panel.

import { icon, make, set, write } from './dom.js'

/** @typedef {import('./texts.js').Phrases} Phrases */

const BADGE_MAX = 99

export class Bell {
  #badge = make('span', { class: 'badge', part: 'badge', 'aria-hidden': 'true' })
  element = make(
    'button',
    {
      type: 'button',
      class: 'bell',
      part: 'bell',
      'aria-haspopup': 'dialog',
      'aria-controls': 'panel',
    },
    icon('bell'),
    this.#badge,
  )

  /**
   * @param {number} count  unread ones
   * @param {Phrases} phrases
   */
  show(count, phrases) {
    const shown = phrases.say(count > BADGE_MAX ? 'badgeOverflow' : 'badge', {
      count: Math.min(count, BADGE_MAX),
    })
    write(this.#badge, count > 0 ? shown : '')
    this.#badge.hidden = count === 0
    set(this.element, 'aria-label', phrases.say('bell', { count }))
    set(this.element, 'title', phrases.say('title'))
  }

  ring() {
    this.element.classList.remove('rings')
    void this.element.offsetWidth // Begins the animation anew.
    this.element.classList.add('rings')
  }
}
