// The event stream format (WHATWG HTML, "Server-sent events"), read from bytes as they come.
//
// EventSource can't send an Authorization header and doesn't show comments, which are the
// heartbeats here; so the stream is read with fetch.

/**
 * @typedef {object} ServerEvent
 * @property {string} type  'message' where the stream names none
 * @property {string} data
 * @property {string} id  the last id that the stream gave, '' before the first
 */

/** Turns a stream's bytes into events, however they are cut. */
export class EventStreamParser {
  /** UTF-8, a byte order mark at the start taken off; a character may be cut in two. */
  #decoder = new TextDecoder()
  /** A line whose end has not come. */
  #line = ''
  /** The last piece ended with CR: a LF that comes next belongs to it. */
  #afterCR = false
  #id = ''
  #type = ''
  /** @type {string[]} */
  #data = []
  #onEvent
  #onRetry

  /**
   * @param {(event: ServerEvent) => void} onEvent
   * @param {(milliseconds: number) => void} [onRetry]
   */
  constructor(onEvent, onRetry = () => {}) {
    this.#onEvent = onEvent
    this.#onRetry = onRetry
  }

  /** @param {Uint8Array} bytes */
  feed(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true })
    if (text === '') return
    if (this.#afterCR && text.startsWith('\n')) text = text.slice(1)
    this.#afterCR = text.endsWith('\r')
    const lines = text.split(/\r\n|\r|\n/)
    lines[0] = this.#line + lines[0]
    this.#line = /** @type {string} */ (lines.pop())
    for (const line of lines) this.#take(line)
  }

  /** @param {string} line */
  #take(line) {
    if (line === '') return this.#dispatch()
    const colon = line.indexOf(':')
    if (colon === 0) return
    const field = colon < 0 ? line : line.slice(0, colon)
    let value = colon < 0 ? '' : line.slice(colon + 1)
    if (value.startsWith(' ')) value = value.slice(1)
    if (field === 'data') this.#data.push(value)
    else if (field === 'event') this.#type = value
    else if (field === 'id' && !value.includes('\0')) this.#id = value
    else if (field === 'retry' && /^[0-9]+$/.test(value)) this.#onRetry(Number(value))
  }

  #dispatch() {
    const event = { type: this.#type || 'message', data: this.#data.join('\n'), id: this.#id }
    const isEmpty = this.#data.length === 0
    this.#type = ''
    this.#data = []
    if (!isEmpty) this.#onEvent(event)
  }
}
