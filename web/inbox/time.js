// When something was, in words.

const MINUTE = 60
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const WEEK = 7 * DAY

/** Moments in a language. */
export class Times {
  #relative
  #thisYear
  #date
  #full

  /** @param {string} language */
  constructor(language) {
    this.#relative = new Intl.RelativeTimeFormat(language, { numeric: 'auto', style: 'short' })
    this.#thisYear = new Intl.DateTimeFormat(language, { day: 'numeric', month: 'short' })
    this.#date = new Intl.DateTimeFormat(language, { dateStyle: 'medium' })
    this.#full = new Intl.DateTimeFormat(language, { dateStyle: 'full', timeStyle: 'short' })
  }

  /**
   * "now", "5 min. ago", "yesterday"; a date once a week is over.
   *
   * @param {Date} moment
   * @param {Date} [now]
   */
  ago(moment, now = new Date()) {
    // Another machine's clock may be ahead of this one's.
    const seconds = Math.max(0, (now.getTime() - moment.getTime()) / 1000)
    if (Number.isNaN(seconds)) return ''
    if (seconds < MINUTE) return this.#relative.format(0, 'second')
    if (seconds < HOUR) return this.#relative.format(-Math.floor(seconds / MINUTE), 'minute')
    if (seconds < DAY) return this.#relative.format(-Math.floor(seconds / HOUR), 'hour')
    if (seconds < WEEK) return this.#relative.format(-Math.floor(seconds / DAY), 'day')
    const format = moment.getFullYear() === now.getFullYear() ? this.#thisYear : this.#date
    return format.format(moment)
  }

  /** @param {Date} moment */
  full(moment) {
    return Number.isNaN(moment.getTime()) ? '' : this.#full.format(moment)
  }
}
