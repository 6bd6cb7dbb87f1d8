// The panel with the raw events. It reads along with the phones' own streams, byte for byte: every
// answer to this page's `fetch` that is a stream is split in two. Nothing more is connected.

import { make } from '../inbox/dom.js'

const LINES_MAX = 200
const SHOWN_MAX = 600

const log = /** @type {HTMLElement} */ (document.querySelector('#wire'))
const unheard = globalThis.fetch

globalThis.fetch = async (
  /** @type {RequestInfo | URL} */ input,
  /** @type {RequestInit | undefined} */ init,
) => {
  const answer = await unheard(input, init)
  const isStream = answer.headers.get('content-type')?.startsWith('text/event-stream')
  if (!isStream || !answer.body) return answer
  const [theirs, ours] = answer.body.tee()
  void listen(ours, userOf(new Headers(init?.headers)))
  return new Response(theirs, answer)
}

let isFollowing = true
log.addEventListener('scroll', () => {
  isFollowing = log.scrollHeight - log.scrollTop - log.clientHeight < 40
})
new ResizeObserver(follow).observe(log)

document.querySelector('#clear')?.addEventListener('click', () => showNothing())
showNothing()

/** @param {string} [why] */
export function showNothing(why = 'Events appear here as they arrive.') {
  log.replaceChildren(make('p', { class: 'nothing' }, why))
}

/**
 * @param {ReadableStream<Uint8Array>} bytes
 * @param {string} user
 */
async function listen(bytes, user) {
  const decoder = new TextDecoder()
  const reader = bytes.getReader()
  let rest = ''
  try {
    for (let read = await reader.read(); !read.done; read = await reader.read()) {
      const blocks = (rest + decoder.decode(read.value, { stream: true })).split('\n\n')
      rest = blocks.pop() ?? ''
      for (const block of blocks) show(user, block.trim())
    }
    show(user, '(the stream ended)')
  } catch {
    show(user, '(the stream broke off)')
  }
}

/**
 * @param {string} user
 * @param {string} block
 */
function show(user, block) {
  if (!block) return
  log.querySelector('.nothing')?.remove()
  const entry = make('div', { class: 'event', 'data-user': user, 'data-kind': kind(block) })
  const time = new Date().toLocaleTimeString('en-GB')
  entry.append(make('div', { class: 'about' }, make('b', {}, user), ' ', make('time', {}, time)))
  for (const line of block.split('\n')) {
    const [, name = '', value = ''] = /^(\w*:)?([^]*)$/.exec(line) ?? []
    const visible = value.replace(/[\u202a-\u202e\u2066-\u2069]/g, escaped)
    const text = visible.length > SHOWN_MAX ? `${visible.slice(0, SHOWN_MAX)}…` : visible
    entry.append(make('div', { class: 'line' }, make('i', {}, name), text))
  }
  log.append(entry)
  while (log.childElementCount > LINES_MAX) log.firstElementChild?.remove()
  follow()
}

/** Stays at the end, unless somebody is reading further up. */
function follow() {
  if (isFollowing) log.scrollTop = log.scrollHeight
}

/**
 * What would turn the rest of the line around.
 *
 * @param {string} control
 */
function escaped(control) {
  return `\\u${control.charCodeAt(0).toString(16)}`
}

/** @param {string} block */
function kind(block) {
  if (block.startsWith(':') || block.startsWith('(')) return 'comment'
  return (
    /^event: *(.+)$/m.exec(block)?.[1] ?? (block.includes('data:') ? 'notification' : 'comment')
  )
}

/**
 * Whose token it is.
 *
 * @param {Headers} headers
 */
function userOf(headers) {
  const claims = headers.get('authorization')?.split('.')[1] ?? ''
  try {
    return String(JSON.parse(atob(claims.replaceAll('-', '+').replaceAll('_', '/'))).sub)
  } catch {
    return ''
  }
}
