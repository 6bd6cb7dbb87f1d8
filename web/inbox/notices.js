// The line above the list: that the connection is away, or that something did not work.

/**
 * @typedef {import('./panel.js').Notice} Notice
 * @typedef {import('./texts.js').Phrases} Phrases
 */

/** A connection that is back within this time was never worth a word. */
const PATIENCE = 2500
const FAILURE_SHOWN = 8000

export class Notices {
  #connection = 'connecting'
  #isPatient = true
  #wasOpen = false
  #wasAway = false
  /** @type {'markFailed' | 'loadFailed' | 'loss' | null} */
  #failure = null
  #changed
  #say
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #patience
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #shown

  /**
   * @param {() => void} changed
   * @param {(key: 'offline' | 'reconnecting' | 'reconnected' | 'closed' | 'markFailed' | 'loadFailed' | 'loss') => void} say to a screen reader
   */
  constructor(changed, say) {
    this.#changed = changed
    this.#say = say
  }

  /** @param {string} connection */
  connection(connection) {
    if (connection === this.#connection) return
    this.#connection = connection
    if (connection === 'open') {
      this.#settle()
      if (this.#wasAway) this.#say('reconnected')
      this.#wasAway = false
      this.#wasOpen = true
    } else {
      this.#patience ??= setTimeout(() => this.#lose(), connection === 'waiting' ? PATIENCE : 0)
    }
    this.#changed()
  }

  /** @param {'markFailed' | 'loadFailed' | 'loss'} failure */
  fail(failure) {
    this.#failure = failure
    clearTimeout(this.#shown)
    this.#shown = setTimeout(() => {
      this.#failure = null
      this.#changed()
    }, FAILURE_SHOWN)
    this.#say(failure)
    this.#changed()
  }

  /**
   * @param {Phrases} phrases
   * @returns {Notice | null}
   */
  line(phrases) {
    if (this.#failure) {
      const kind = this.#failure === 'loss' ? 'quiet' : 'warning'
      return { text: phrases.say(this.#failure), kind }
    }
    const key = this.#isPatient ? null : this.#away()
    return key && { text: phrases.say(key), kind: 'quiet', retry: key === 'closed' }
  }

  stop() {
    this.#settle()
    clearTimeout(this.#shown)
    this.#failure = null
    this.#connection = 'connecting'
    this.#wasAway = false
    this.#wasOpen = false
  }

  #settle() {
    clearTimeout(this.#patience)
    this.#patience = undefined
    this.#isPatient = true
  }

  #lose() {
    this.#isPatient = false
    const key = this.#away()
    if (key && this.#wasOpen) {
      this.#wasAway = true
      this.#say(key)
    }
    this.#changed()
  }

  #away() {
    switch (this.#connection) {
      case 'offline':
        return 'offline'
      case 'waiting':
        return 'reconnecting'
      case 'closed':
        // Otherwise that is what the error in the list's place is about.
        return this.#wasOpen ? 'closed' : null
      case 'connecting':
        return this.#wasAway ? 'reconnecting' : null
    }
    return null
  }
}
