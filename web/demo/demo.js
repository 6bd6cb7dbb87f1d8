// The demo at `/` of `mercurio dev`: two users with two devices each, a publisher, and the wire.

import './wire.js' // First: it listens to what `fetch` brings.
import '../inbox.js'
import { showUser } from './devices.js'
import { startPublisher } from './publisher.js'
import { publishers, tokenOf } from './tokens.js'

for (const radio of document.querySelectorAll('[name=theme]')) {
  radio.addEventListener('change', () => {
    document.documentElement.dataset.theme = /** @type {HTMLInputElement} */ (radio).value
  })
}

const trouble = /** @type {HTMLElement} */ (document.querySelector('#trouble'))
try {
  await tokenOf('alice')
  startPublisher(publishers)
  const isFirst = await isFirstTab()
  for (const section of document.querySelectorAll('.user'))
    showUser(/** @type {HTMLElement} */ (section), isFirst)
} catch (error) {
  trouble.textContent = /** @type {Error} */ (error).message
  trouble.hidden = false
}

/**
 * Browsers allow six connections to a host. The laptops' inboxes share one for each user between
 * all tabs; the phones have one of their own, as phones do, but only in the first tab.
 *
 * @returns {Promise<boolean>}
 */
function isFirstTab() {
  return new Promise((resolve) => {
    if (!navigator.locks) return resolve(true)
    void navigator.locks.request('mercurio-demo', { ifAvailable: true }, (lock) => {
      resolve(lock !== null)
      // Held as long as the tab is there.
      return lock && new Promise(() => {})
    })
  })
}
