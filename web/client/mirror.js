// A tab's picture of what its hub has, put together from the hub's updates.

import { blank } from './view.js'

/**
 * @typedef {import('./model.js').Model} Model
 * @typedef {import('./model.js').Notification} Notification
 * @typedef {import('./view.js').View} View
 */

export class Mirror {
  /** Frozen; replaced at each change. */
  state = blank
  /** @type {Map<number, Notification>} */
  #known = new Map()
  /** @type {Omit<Model, 'items'> | undefined} */
  #model

  /** What is known, for a hub that takes over. @returns {Model | undefined} */
  get model() {
    return this.#model && { ...this.#model, items: this.state.notifications }
  }

  /** Forgets all. */
  clear() {
    this.state = blank
    this.#known.clear()
    this.#model = undefined
  }

  /** @param {Partial<View>} change */
  set(change) {
    this.state = Object.freeze({ ...this.state, ...change })
  }

  /** @param {import('./hub.js').Update} update */
  take({ isFirst, view, ids, changed, model }) {
    if (isFirst) this.#known.clear()
    for (const one of changed) this.#known.set(one.notificationID, Object.freeze(one))
    let { notifications } = this.state
    if (ids) {
      const found = ids.map((id) => this.#known.get(id))
      notifications = /** @type {Notification[]} */ (Object.freeze(found))
      this.#known = new Map(notifications.map((one) => [one.notificationID, one]))
    }
    this.#model = model.clientID === null ? undefined : model
    this.set({ ...view, notifications })
  }
}
