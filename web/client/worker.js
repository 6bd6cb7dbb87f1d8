// The SharedWorker: for each gateway, user and set of topics one session, shared by all tabs.

import { Hub } from './hub.js'
import { hold, newId, whenGone } from './tabs.js'

/** @typedef {import('./hub.js').ToHub} ToHub */

// Held as long as this worker lives.
const lock = newId()
void hold(lock)

/** @type {Map<string, Hub>} */
const hubs = new Map()

const scope = /** @type {{ onconnect: ((event: MessageEvent) => void) | null }} */ (
  /** @type {unknown} */ (globalThis)
)

/** @param {MessageEvent} event */
scope.onconnect = ({ ports }) => {
  const port = /** @type {MessagePort} */ (ports[0])
  /** The hub and the tab, once the tab has said who it is. @type {{ hub: Hub, id: string } | null} */
  let joined = null
  port.onmessage = ({ data }) => {
    /** @type {{ key: string, from: string, message: ToHub }} */
    const { key, from, message } = data
    const tab = { id: from, post: (/** @type {unknown} */ told) => port.postMessage(told) }
    if (message.type === 'hello') {
      const hub = hubs.get(key) ?? opened(key, message)
      hubs.set(key, hub)
      if (joined === null) void whenGone(from).then(() => joined?.hub.leave(from))
      joined = { hub, id: from }
      port.postMessage({ type: 'here', lock })
    }
    void joined?.hub.receive(tab, message)
  }
}

/**
 * @param {string} key
 * @param {ToHub & { type: 'hello' }} hello
 */
function opened(key, { config, token, model }) {
  const onEmpty = () => {
    hub.close()
    hubs.delete(key)
  }
  const hub = new Hub(config, { token, model, onEmpty })
  return hub
}
