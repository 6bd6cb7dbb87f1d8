// Who `me` is: which claim names the user, only the gateway knows. Whose hub a tab joins depends
// on it.

import { Api, asError } from './api.js'
import { Tokens } from './tokens.js'
import { Waits, isCutOff } from './waits.js'

/** @typedef {import('./api.js').MercurioError} MercurioError */

export class WhoAmI {
  /** What it was refused with, for good, until `again`. @type {MercurioError | null} */
  refused = null
  #config
  #getToken
  #onFailure
  #waits = new Waits()
  #isClosed = false
  #wake = () => {}

  /**
   * @param {import('./api.js').Config} config
   * @param {() => Promise<string>} getToken
   * @param {(error: MercurioError) => void} onFailure  told each time
   */
  constructor(config, getToken, onFailure) {
    this.#config = config
    this.#getToken = getToken
    this.#onFailure = onFailure
  }

  /**
   * Asks until it is answered: the user's id, and the token in use. `null`: it was closed.
   * @param {string} token  '' where there is none yet
   */
  async ask(token) {
    const tokens = new Tokens(this.#getToken, token)
    const api = new Api(this.#config, tokens)
    while (!this.#isClosed) {
      try {
        const { clientID } = await api.page(1, '')
        return this.#isClosed ? null : { clientID, token: tokens.current }
      } catch (error) {
        if (this.#isClosed) break
        const failed = asError(error)
        this.refused = failed.isFinal ? failed : null
        this.#onFailure(failed)
        await this.#pause(failed.isFinal ? null : this.#waits.afterRefusal(failed.retryAfter))
      }
    }
    return null
  }

  /** The user is another one: a wait before who it is now is asked, where it is so again and again. */
  otherUser() {
    return this.#pause(this.#waits.afterEnd('other-user'))
  }

  /** Nothing is asked meanwhile. */
  get isOffline() {
    return isCutOff(this.#config.url, navigator.onLine)
  }

  /** The page came to the front, or the network came: what waits need not, unless it was told to. */
  wake() {
    if (this.refused === null && this.#waits.mayHurry) this.#wake()
  }

  /** The page says so: at once, also where it was refused. */
  again() {
    this.refused = null
    this.#wake()
  }

  close() {
    this.#isClosed = true
    this.#wake()
  }

  /** @param {number | null} milliseconds  null: until somebody wakes it */
  async #pause(milliseconds) {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer
    await new Promise((resolve) => {
      this.#wake = () => resolve(undefined)
      if (milliseconds === null) return
      timer = setTimeout(() => this.isOffline || resolve(undefined), milliseconds)
    })
    clearTimeout(timer)
    this.#wake = () => {}
  }
}
