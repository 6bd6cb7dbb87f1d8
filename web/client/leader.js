// The hub in one of the tabs: in the one that holds the lock of this name. The others reach it over
// a BroadcastChannel.
//
// Who leads and is gone has let go of the lock, so that the next one has it. Who leads and does not
// answer (a page that the browser has frozen keeps its locks) is robbed of it.

import { Hub } from './hub.js'
import { hasLocks, hold, whenGone } from './tabs.js'

/**
 * @typedef {import('./hub.js').ToHub} ToHub
 * @typedef {import('./hub.js').ToTab} ToTab
 */

/** How often those who follow ask whether somebody leads. */
const BEAT = 5_000
/** After so many that were not answered, nobody does. */
const MISSED = 2

/**
 * @param {import('./links.js').Line} line
 * @param {(error: unknown) => void} onFailure  there are no locks to be had
 * @returns {import('./links.js').Link}
 */
export function leaderLink(line, onFailure) {
  if (!hasLocks) throw new Error('there are no Web Locks here')
  const name = `leader 1 ${line.key}`
  const channel = new BroadcastChannel(`mercurio ${name}`)
  let isClosed = false
  /** @type {Hub | null} */
  let hub = null
  /** Its tab: what one that is gone has said last may come after what the next says first. */
  let leader = ''
  let release = () => {}
  let unanswered = 0
  /** @type {Set<string>} */
  const followers = new Set()

  /**
   * @param {string} to  a tab, 'leader', or 'all', which says that there is a new one
   * @param {ToHub | ToTab | null} [message]  null: only to be heard
   */
  const say = (to, message = null) => {
    if (!isClosed) channel.postMessage({ to, from: line.id, message })
  }

  channel.onmessage = ({ data: { to, from, message } }) => {
    if (to === line.id) {
      leader ||= from
      if (from !== leader) return
      unanswered = 0
      if (message !== null) line.receive(message)
    } else if (to === 'all' && hub === null) {
      leader = from
      unanswered = 0
      line.onHub()
    } else if (to === 'leader' && hub !== null) {
      if (message === null) return say(from)
      if (!followers.has(from)) {
        followers.add(from)
        void whenGone(from).then(() => hub?.leave(from))
      }
      void hub.receive({ id: from, post: (told) => say(from, told) }, message)
    }
  }

  /** Leads as soon as nobody else does; at once, where the one who does is to be robbed. */
  const stand = (steal = false) => {
    const onLost = () => {
      if (stepDown()) line.onHub()
    }
    hold(name, { steal, onLost }).then(
      (released) => {
        release = released
        if (isClosed) return release()
        const { config, token } = line.hello()
        hub = new Hub(config, { token, model: line.model() })
        leader = line.id
        say('all')
        line.onHub()
      },
      (error) => isClosed || onFailure(error),
    )
  }

  /**
   * Another one leads: it robbed this one. Only the lock says so: what somebody who led for a moment
   * has said may come late. Says whether it was so.
   */
  const stepDown = () => {
    if (hub === null || isClosed) return false
    hub.close()
    hub = null
    leader = ''
    followers.clear()
    stand()
    return true
  }

  const beat = setInterval(() => {
    if (hub !== null) return
    unanswered += 1
    if (unanswered <= MISSED) return say('leader')
    unanswered = 0
    // What it stands for already stays in the queue, for when it is robbed itself.
    stand(true)
  }, BEAT)

  stand()
  queueMicrotask(line.onHub)

  const own = { id: line.id, post: line.receive }
  const post = (/** @type {ToHub} */ message) => {
    if (hub !== null) void hub.receive(own, message)
    // Every page of the origin could read the token along; who leads asks when it needs one.
    else say('leader', message.type === 'hello' ? { ...message, token: '' } : message)
  }
  return {
    post,
    close: () => {
      post({ type: 'bye' })
      isClosed = true
      clearInterval(beat)
      hub?.close()
      channel.close()
      release()
    },
  }
}
