// Who is still there: tabs and workers hold a Web Lock of their own, and whoever needs to know waits
// for it. It is released however a tab ends, a crash included.

/** Secure contexts only; elsewhere a tab says itself that it goes. */
const locks = globalThis.navigator?.locks

export const hasLocks = locks !== undefined

/** An id that no other tab has. */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join('-')
}

/**
 * Holds a lock; gives what releases it.
 * @param {string} name
 * @param {{ steal?: boolean, onLost?: () => void }} [how]  `steal`: from whoever holds it now
 * @returns {Promise<() => void>}
 */
export function hold(name, { steal = false, onLost = () => {} } = {}) {
  if (!hasLocks) return Promise.resolve(() => {})
  return new Promise((resolve, reject) => {
    let isHeld = false
    const held = () => {
      isHeld = true
      return new Promise((release) => resolve(() => release(undefined)))
    }
    const failed = (/** @type {unknown} */ error) => (isHeld ? onLost() : reject(error))
    locks.request(`mercurio ${name}`, { steal }, held).catch(failed)
  })
}

/**
 * Waits until a lock that is held is released.
 * @param {string} name
 */
export async function whenGone(name) {
  if (!hasLocks) return new Promise(() => {})
  await locks.request(`mercurio ${name}`, () => {})
}
