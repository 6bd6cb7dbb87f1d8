// How a tab reaches the hub: in a SharedWorker, in the tab that leads (leader.js), or in its own page.

import { Hub } from './hub.js'
import { leaderLink } from './leader.js'
import { whenGone } from './tabs.js'

/**
 * @typedef {import('./hub.js').ToHub} ToHub
 * @typedef {import('./hub.js').ToTab} ToTab
 * @typedef {import('./model.js').Model} Model
 */

/**
 * @typedef {object} Line  a tab's end
 * @property {string} id  the tab's
 * @property {string} key  which hub
 * @property {() => ToHub & { type: 'hello' }} hello
 * @property {(message: ToTab) => void} receive
 * @property {() => void} onHub  there is a (new) hub, to which everything has to be said again
 * @property {() => Model | undefined} model  what the tab knows, for a hub that takes over
 */

/** @typedef {{ post: (message: ToHub) => void, close: () => void }} Link */

/** How tabs share a connection, the best first. @typedef {'worker' | 'leader' | 'none'} Manner */

/** @type {Manner[]} */
export const MANNERS = ['worker', 'leader', 'none']

/** How long the worker may take to answer. */
const PATIENCE = 5_000

/**
 * The first of these that works here.
 * @param {Manner[]} manners
 * @param {Line} line
 * @param {string | undefined} workerUrl
 * @param {(error: unknown) => void} onFailure  none does
 * @returns {Link}
 */
export function bestLink([manner, ...others], line, workerUrl, onFailure) {
  /** @type {Link} */
  let link = { post: () => {}, close: () => {} }
  const fail = (/** @type {unknown} */ error) => {
    link.close()
    if (others.length > 0) link = bestLink(others, line, workerUrl, onFailure)
    else onFailure(error)
  }
  try {
    if (manner === 'worker') link = workerLink(line, workerUrl, fail)
    else if (manner === 'leader') link = leaderLink(line, fail)
    else link = ownLink(line)
  } catch (error) {
    fail(error)
  }
  return { post: (message) => link.post(message), close: () => link.close() }
}

/**
 * The hub in this page.
 * @param {Line} line
 * @returns {Link}
 */
function ownLink(line) {
  const { config, token } = line.hello()
  const hub = new Hub(config, { token })
  const tab = { id: line.id, post: line.receive }
  queueMicrotask(line.onHub)
  return { post: (message) => void hub.receive(tab, message), close: () => hub.close() }
}

/**
 * The hub in a SharedWorker.
 * @param {Line} line
 * @param {string | undefined} url  of the worker's script; undefined: beside this module
 * @param {(error: unknown) => void} onFailure  there is none to be had
 * @returns {Link}
 */
function workerLink(line, url, onFailure) {
  if (!('SharedWorker' in globalThis)) throw new Error('there is no SharedWorker here')
  let isClosed = false
  /** @type {MessagePort} */
  let port
  const open = () => {
    // The number is the messages' version: tabs with another one have a worker of their own.
    // Bundlers know this form, and only this one.
    const worker =
      url === undefined
        ? new SharedWorker(new URL('./worker.js', import.meta.url), {
            type: 'module',
            name: 'mercurio 1',
          })
        : new SharedWorker(url, { type: 'module', name: 'mercurio 1' })
    const fail = () => {
      clearTimeout(timer)
      if (!isClosed) onFailure(new Error('the SharedWorker can’t be started'))
    }
    const timer = setTimeout(fail, PATIENCE)
    worker.onerror = fail
    port = worker.port
    port.onmessage = ({ data }) => {
      if (data.type !== 'here') return line.receive(data)
      clearTimeout(timer)
      void whenGone(data.lock).then(reopen)
    }
  }
  const reopen = () => {
    if (isClosed) return
    port.close()
    open()
    line.onHub()
  }
  /** @param {ToHub} message */
  const post = (message) => {
    // A worker that starts again in the place of one that died begins with what a tab knows.
    const said = message.type === 'hello' ? { ...message, model: line.model() } : message
    port.postMessage({ key: line.key, from: line.id, message: said })
  }
  open()
  queueMicrotask(line.onHub)
  return {
    post,
    close: () => {
      isClosed = true
      post({ type: 'bye' })
      port.close()
    },
  }
}
