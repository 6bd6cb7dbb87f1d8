// Opening and closing: a non-modal dialog behind a button, in the top layer, closed by Escape, by a
// click elsewhere, and by going on elsewhere with the keyboard. Focus goes in, and back to the bell.

import { set } from './dom.js'

const GAP = 8
const MARGIN = 12
/** Less room than this below the bell, and the panel goes above, where there is more. */
const LOW = 280

export class Popover {
  #panel
  #bell
  #unfollow = () => {}
  #hadFocus = false

  /**
   * @param {HTMLElement} panel
   * @param {HTMLButtonElement} bell
   * @param {(isOpen: boolean) => void} toggled
   */
  constructor(panel, bell, toggled) {
    this.#panel = panel
    this.#bell = bell
    panel.addEventListener('beforetoggle', () => {
      this.#hadFocus = panel.matches(':focus-within')
    })
    panel.addEventListener('toggle', (event) => {
      const isOpen = /** @type {ToggleEvent} */ (event).newState === 'open'
      if (isOpen) this.#opened()
      else this.#closed()
      toggled(isOpen)
    })
    panel.addEventListener('focusout', ({ relatedTarget }) => {
      const isElsewhere = relatedTarget instanceof Node && !panel.contains(relatedTarget)
      if (isElsewhere && relatedTarget !== bell && this.isOpen) panel.hidePopover()
    })
  }

  get isOpen() {
    return this.#panel.popover !== null && this.#panel.matches(':popover-open')
  }

  /** @param {boolean} isInline the panel is part of the page, and there is no bell */
  arrange(isInline) {
    this.hide()
    set(this.#panel, 'popover', isInline ? null : 'auto')
    set(this.#panel, 'role', isInline ? 'group' : 'dialog')
    this.#bell.hidden = isInline
    this.#bell.popoverTargetElement = isInline ? null : this.#panel
    set(this.#bell, 'aria-expanded', 'false')
  }

  show() {
    if (this.#panel.popover !== null && !this.isOpen) this.#panel.showPopover()
  }

  hide() {
    this.#unfollow()
    if (this.isOpen) this.#panel.hidePopover()
  }

  #opened() {
    set(this.#bell, 'aria-expanded', 'true')
    this.#unfollow()
    this.#unfollow = follow(this.#panel, this.#bell)
    this.#panel.focus({ preventScroll: true })
  }

  #closed() {
    set(this.#bell, 'aria-expanded', 'false')
    this.#unfollow()
    // Unless whoever closed it has gone elsewhere.
    const root = /** @type {ShadowRoot} */ (this.#panel.getRootNode())
    const isNowhere = document.activeElement === document.body || root.activeElement !== null
    if (this.#hadFocus && isNowhere) this.#bell.focus({ preventScroll: true })
  }
}

/**
 * Keeps the panel below the bell, at the bell's end of the line, within the window.
 *
 * @param {HTMLElement} panel
 * @param {HTMLElement} bell
 * @returns {() => void} ends it
 */
function follow(panel, bell) {
  const place = () => {
    const at = bell.getBoundingClientRect()
    const { clientWidth: width, clientHeight: height } = document.documentElement
    const isRightToLeft = getComputedStyle(bell).direction === 'rtl'
    const wished = isRightToLeft ? at.left : at.right - panel.offsetWidth
    const left = Math.max(MARGIN, Math.min(wished, width - panel.offsetWidth - MARGIN))
    const below = height - at.bottom - GAP - MARGIN
    const above = at.top - GAP - MARGIN
    const isAbove = below < LOW && above > below
    // By the object model, not an attribute: a strict Content-Security-Policy allows it.
    panel.style.setProperty('--_left', `${left}px`)
    panel.style.setProperty('--_top', isAbove ? 'auto' : `${at.bottom + GAP}px`)
    panel.style.setProperty('--_bottom', isAbove ? `${height - at.top + GAP}px` : 'auto')
    panel.style.setProperty('--_room', `${Math.max(isAbove ? above : below, 160)}px`)
  }
  place()
  const ended = new AbortController()
  const options = { passive: true, capture: true, signal: ended.signal }
  addEventListener('scroll', place, options)
  addEventListener('resize', place, options)
  return () => ended.abort()
}
