// What a page asks for, until the hub has answered.

import { revived } from './hub.js'

/** @typedef {import('./hub.js').ToHub & { type: 'call' }} Call */

export class Calls {
  /** @type {Map<number, { call: Call, resolve: () => void, reject: (error: unknown) => void }>} */
  #waiting = new Map()
  #count = 0

  /** Those that wait, in their order. */
  get waiting() {
    return Array.from(this.#waiting.values(), ({ call }) => call)
  }

  /**
   * @param {Call['method']} method
   * @param {unknown[]} args
   */
  make(method, args) {
    const id = ++this.#count
    /** @type {Call} */
    const call = { type: 'call', id, method, args }
    /** @type {Promise<void>} */
    const answer = new Promise((resolve, reject) => {
      this.#waiting.set(id, { call, resolve, reject })
    })
    return { call, answer }
  }

  /** @param {import('./hub.js').ToTab & { type: 'result' }} result */
  settle({ id, error }) {
    const found = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (error) found?.reject(revived(error))
    else found?.resolve()
  }

  /**
   * None of those that wait will be answered.
   * @param {Error} error
   */
  refuse(error) {
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }
}
