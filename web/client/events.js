// The events of an inbox, with the types of their details.

/**
 * @typedef {object} Events
 * @property {import('./view.js').View} change  the state
 * @property {import('./model.js').Notification} notification  one that arrived
 * @property {import('./model.js').Marks} read-state  marks, made here or elsewhere
 * @property {import('./model.js').Gone} deleted  notifications that are gone
 * @property {{ oldest: number }} loss  retention took what was not seen; the history was loaded anew
 * @property {{ code: string, message: string }} error
 * @property {import('./view.js').Connection} connection
 */

/**
 * @typedef {<Name extends keyof Events>(
 *   type: Name,
 *   listener: (event: CustomEvent<Events[Name]>) => void,
 *   options?: boolean | AddEventListenerOptions,
 * ) => void} Listen
 */

/**
 * @typedef {object} Listening
 * @property {Listen & EventTarget['addEventListener']} addEventListener
 * @property {Listen & EventTarget['removeEventListener']} removeEventListener
 */

/** EventTarget, whose listeners know what they are given. */
export const InboxEvents = /** @type {new () => Omit<EventTarget, keyof Listening> & Listening} */ (
  /** @type {unknown} */ (EventTarget)
)
