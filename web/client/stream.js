// One connection of the event stream: read until it ends, is given up, or falls silent.

import { MercurioError } from './api.js'
import { EventStreamParser } from './sse.js'
import { renewIn } from './tokens.js'

/** A stream that is silent for so many heartbeats is dead. */
const HEARTBEATS = 2.5

/**
 * @typedef {object} Listener
 * @property {(event: import('./sse.js').ServerEvent) => void} onEvent
 * @property {(milliseconds: number) => void} onRetry
 * @property {() => void} onRead  a piece has been read
 */

export class Stream {
  /** Why it ended: '' where it just did. */
  why = ''
  #api
  #tokens
  #config
  #listener
  #ending = new AbortController()
  #heardAt = Date.now()
  #silence = Infinity
  /** The token that keeps it open. */
  #shown = ''
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #silenceTimer
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #renewalTimer

  /**
   * @param {import('./api.js').Api} api
   * @param {import('./tokens.js').Tokens} tokens
   * @param {import('./api.js').Config} config
   * @param {Listener} listener
   */
  constructor(api, tokens, config, listener) {
    this.#api = api
    this.#tokens = tokens
    this.#config = config
    this.#listener = listener
  }

  /**
   * Reads what comes after the cursor; throws where it can't be opened.
   * @param {number} cursor
   */
  async follow(cursor) {
    const { onEvent, onRetry, onRead } = this.#listener
    const parser = new EventStreamParser((event) => {
      // What comes behind the decision to give up is read again, by the next one.
      if (this.why === '') onEvent(event)
    }, onRetry)
    try {
      const { body, id, heartbeat, left } = await this.#api.stream(cursor, this.#ending)
      this.#silence = HEARTBEATS * (heartbeat ?? this.#config.heartbeat)
      this.#heardAt = Date.now()
      this.#watchSilence()
      this.#shown = this.#tokens.current
      if (id !== null) this.#renewBefore(id, left)
      const reader = body.getReader()
      for (;;) {
        const { done, value } = await reader.read()
        if (done || this.#ending.signal.aborted) break
        this.#heardAt = Date.now()
        parser.feed(value)
        onRead()
      }
    } catch (error) {
      // That it broke, or was aborted here, is the end of it; anything else is to be told.
      const isRefused = error instanceof MercurioError || error instanceof SyntaxError
      if (isRefused && this.why === '') throw error
    } finally {
      this.#ending.abort()
      clearTimeout(this.#silenceTimer)
      clearTimeout(this.#renewalTimer)
    }
  }

  /** @param {string} why */
  giveUp(why) {
    this.why ||= why
    this.#ending.abort()
  }

  /** Gives it up where too many heartbeats are missing: a timer may have slept with the page. */
  checkSilence() {
    if (Date.now() - this.#heardAt >= this.#silence) this.giveUp('silent')
  }

  #watchSilence() {
    const wait = Math.max(this.#heardAt + this.#silence - Date.now(), 0)
    this.#silenceTimer = setTimeout(() => {
      this.checkSilence()
      if (!this.#ending.signal.aborted) this.#watchSilence()
    }, wait)
  }

  /**
   * Before its token expires the stream is shown the next one.
   * @param {string} id
   * @param {number | null} left  milliseconds until it ends
   */
  #renewBefore(id, left) {
    const wait = renewIn(left)
    if (wait === null) return
    const end = Date.now() + Number(left)
    this.#renewalTimer = setTimeout(async () => {
      const next = await this.#renew(id, end)
      if (!this.#ending.signal.aborted) this.#renewBefore(id, next)
    }, wait)
  }

  /**
   * The milliseconds that it has then. Where it can't be kept open (another gateway answers, or it was
   * too late) it is given up for one with the new token, from its cursor.
   * @param {string} id
   * @param {number} end
   */
  async #renew(id, end) {
    const { auth, hasToken } = this.#config
    const unchanged = () => end - Date.now()
    try {
      if (hasToken) await this.#tokens.renew()
    } catch {
      // A later attempt may get one; else the gateway's `closing` is next.
      return unchanged()
    }
    // What a cookie has by now only the gateway can tell.
    if (auth !== 'cookie' && this.#tokens.current === this.#shown) return unchanged()
    try {
      const left = await this.#api.renew(id)
      this.#shown = this.#tokens.current
      return left
    } catch {
      // Nobody has given another cookie: the old one is as good for a new stream as for this one.
      if (!hasToken) return unchanged()
      this.giveUp('renewed')
      return null
    }
  }
}
