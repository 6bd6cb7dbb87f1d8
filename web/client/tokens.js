// The token in use, and when to ask the page for the next one.

import { MercurioError } from './api.js'
import { LONGEST } from './timers.js'

/** Asked for so long before the stream ends, or after four fifths of a short time. */
const LEAD = 30_000

export class Tokens {
  #ask
  #token = ''
  /** @type {Promise<string> | null} */
  #asking = null

  /**
   * @param {() => Promise<string>} ask
   * @param {string} first  '' where there is none yet
   */
  constructor(ask, first) {
    this.#ask = ask
    this.#token = first
  }

  get current() {
    return this.#token
  }

  /** The token in use. */
  async get() {
    return this.#token === '' ? this.renew() : this.#token
  }

  /**
   * One in the place of one that was refused: who comes second takes what the first was given.
   * @param {string} refused
   */
  async instead(refused) {
    return this.#token !== refused && this.#token !== '' ? this.#token : this.renew()
  }

  /** Asks the page for one; those who ask at the same time get the same. */
  renew() {
    this.#asking ??= this.#ask()
      .then((token) => (this.#token = token))
      .finally(() => (this.#asking = null))
    return this.#asking
  }
}

/**
 * What `getToken` gave, if it is one. By cookie it only has to renew that.
 * @param {(() => Promise<unknown>) | undefined} getToken
 * @param {import('./api.js').Config['auth']} auth
 */
export async function ask(getToken, auth) {
  let token
  try {
    token = await getToken?.()
  } catch (error) {
    throw new MercurioError('token-failed', `getToken failed: ${message(error)}`)
  }
  if (auth === 'cookie') return ''
  // An error page, say, is none, and would be no header's value.
  const found = typeof token === 'string' ? token.trim() : ''
  if (/^[\x21-\x7e]+$/.test(found)) return found
  const given = (JSON.stringify(token) ?? 'nothing').slice(0, 20)
  throw new MercurioError('token-failed', `getToken gave ${given}, not a token`)
}

/**
 * Milliseconds until a stream's token should be replaced; `null`: never, or it is too late (the gateway
 * will tell).
 * @param {number | null} left  milliseconds until the stream ends; null: it does not
 */
export function renewIn(left) {
  if (left === null || left < 1000) return null
  return Math.min(left - Math.min(LEAD, left / 5), LONGEST)
}

/** @param {unknown} error */
function message(error) {
  return error instanceof Error ? error.message : String(error)
}
