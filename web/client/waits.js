// How long to wait before the stream is opened again: random, so that those who were cut off
// together don't come back together, and longer each time it fails.

/** The browser's own wait, until the stream says `retry:`. */
const RETRY = 3000
const RETRY_MAX = 60_000
/** A token of the second in which others were revoked may be taken for one of them. */
const REVOKED = 1000
/** After these it is opened again at once, though not twice in a second. */
const AT_ONCE = ['renewed', 'token-expired', 'loss', 'online', 'silent', 'other-user']

/**
 * Whether there is no way to a gateway for want of a network: to this machine itself there is always one.
 * @param {string} url
 * @param {boolean} isOnline
 */
export function isCutOff(url, isOnline) {
  const { hostname } = new URL(url)
  return !isOnline && !/^(localhost|.*\.localhost|127\.[\d.]+|\[::1\])$/.test(hostname)
}

export class Waits {
  /** What the stream's `retry:` said, in milliseconds. */
  retry = RETRY
  #attempts = 0
  #hurriedAt = 0
  #notBefore = 0

  /** It worked. */
  reset() {
    this.#attempts = 0
  }

  /** Whether a wait may be cut short: not where the server has said when to come again, or it is for a token's sake. */
  get mayHurry() {
    return Date.now() >= this.#notBefore
  }

  /**
   * Milliseconds, after a stream that ended.
   * @param {string} why
   */
  afterEnd(why) {
    const now = Date.now()
    if (AT_ONCE.includes(why) && now - this.#hurriedAt > 1000) {
      this.#hurriedAt = now
      return 0
    }
    if (why === 'token-revoked') {
      this.#notBefore = now + REVOKED
      return REVOKED + this.#random()
    }
    // The server has spread these itself.
    return why === 'shutdown' ? this.retry : this.#random()
  }

  /**
   * Milliseconds, after one that was refused.
   * @param {number} retryAfter
   */
  afterRefusal(retryAfter) {
    this.#notBefore = Date.now() + retryAfter
    return retryAfter + this.#random()
  }

  #random() {
    const most = Math.min(RETRY_MAX, this.retry * 2 ** this.#attempts)
    this.#attempts += 1
    return Math.random() * most
  }
}
