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
      const { body, heartbeat } = await this.#api.stream(cursor, this.#ending)
      this.#silence = HEARTBEATS * (heartbeat ?? this.#config.heartbeat)
      this.#heardAt = Date.now()
      this.#watchSilence()
      this.#watchToken()
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

  /** Before the token expires, the next one is asked for, and the stream given up for it. */
  #watchToken() {
    const before = this.#tokens.current
    const wait = renewIn(before, Date.now())
    if (wait === null || !this.#config.hasToken) return
    this.#renewalTimer = setTimeout(async () => {
      // Where this fails, the gateway's `closing` comes next.
      const token = await this.#tokens.renew().catch(() => before)
      if (this.#ending.signal.aborted) return
      if (token === before) this.#watchToken()
      else this.giveUp('renewed')
    }, wait)
  }
}
