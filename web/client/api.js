// Requests to the gateway: the token on them, and what is refused.

/** @typedef {import('./tokens.js').Tokens} Tokens */

/** How long an answer's head may take. */
const PATIENCE = 15_000

/** What the gateway, the network or `getToken` refused. */
export class MercurioError extends Error {
  /**
   * @param {string} code  stable; the gateway's own, or 'unreachable', 'token-failed', 'closed',
   *   'other-user'
   * @param {string} message
   * @param {{ status?: number, retryAfter?: number }} [answer]  HTTP status; milliseconds
   */
  constructor(code, message, { status = 0, retryAfter = 0 } = {}) {
    super(message)
    this.name = 'MercurioError'
    this.code = code
    this.status = status
    this.retryAfter = retryAfter
  }

  /** Asking again changes nothing: the request, the user or the address is wrong. */
  get isFinal() {
    // The next token of this user's may be one of a later second.
    if (this.code === 'token-revoked') return false
    return this.status >= 400 && this.status < 500 && this.status !== 408 && this.status !== 429
  }
}

/**
 * @typedef {object} Config
 * @property {string} url  the gateway's address, without a slash at the end
 * @property {string} user  whose; 'me' where it is not known yet who that is
 * @property {boolean} isMe  whoever the token's user is, and becomes
 * @property {'header' | 'cookie' | 'query'} auth
 * @property {boolean} hasToken  some page can be asked for a token
 * @property {readonly string[]} topics
 * @property {number} pageSize
 * @property {number} heartbeat  milliseconds
 */

export class Api {
  /** Whose notifications: with the id, nothing is done to another user's by mistake. */
  user
  #config
  #tokens
  #onOtherUser

  /**
   * @param {Config} config
   * @param {Tokens} tokens
   * @param {() => void} [onOtherUser]  the token or the cookie of `me` has become another user's
   */
  constructor(config, tokens, onOtherUser = () => {}) {
    this.user = config.user
    this.#config = config
    this.#tokens = tokens
    this.#onOtherUser = onOtherUser
  }

  get #base() {
    // These two can't be a part of a path.
    const user = this.user === '.' || this.user === '..' ? 'me' : this.user
    return `${this.#config.url}/api/clients/${encodeURIComponent(user)}/notifications`
  }

  /**
   * A page of history.
   * @param {number} limit
   * @param {string} pageToken
   * @returns {Promise<import('./model.js').Page>}
   */
  async page(limit, pageToken) {
    const query = new URLSearchParams({ limit: String(limit) })
    if (pageToken !== '') query.set('pageToken', pageToken)
    for (const topic of this.#config.topics) query.append('topic', topic)
    const ending = new AbortController()
    const answer = await this.#send('', query, {}, ending)
    const timer = setTimeout(() => ending.abort(), PATIENCE)
    try {
      return await answer.json()
    } catch {
      throw unreachable()
    } finally {
      clearTimeout(timer)
    }
  }

  /**
   * Marks one notification.
   * @param {number} id
   * @param {'read' | 'unread'} status
   */
  async mark(id, status) {
    await this.#send(`/${id}/${status}`, new URLSearchParams(), { method: 'PUT' })
  }

  /**
   * Marks all up to this one as read.
   * @param {number} upTo
   */
  async markAll(upTo) {
    await this.#send('/read', new URLSearchParams({ upTo: String(upTo) }), { method: 'PUT' })
  }

  /**
   * The stream after a cursor, its body still to be read. All topics: those that are not wanted are
   * counted too. What its head says, if it does: its id; milliseconds between heartbeats, and until it
   * ends where it is not renewed.
   * @param {number} cursor
   * @param {AbortController} ending  ends it
   */
  async stream(cursor, ending) {
    // In the query no header is needed, so that another origin is asked without a preflight.
    const inQuery = this.#config.auth === 'query'
    const query = new URLSearchParams(inQuery ? { lastEventID: String(cursor) } : {})
    const headers = { ...(inQuery ? {} : { 'last-event-id': String(cursor) }) }
    const answer = await this.#send('/stream', query, { headers }, ending)
    const type = answer.headers.get('content-type') ?? 'nothing'
    if (answer.body !== null && type.startsWith('text/event-stream')) {
      return {
        body: answer.body,
        id: answer.headers.get('mercurio-stream'),
        heartbeat: Number(answer.headers.get('mercurio-heartbeat')) || null,
        left: Number(answer.headers.get('mercurio-expires')) || null,
      }
    }
    ending.abort()
    throw new MercurioError('unreachable', `the stream is ${type}, not text/event-stream`)
  }

  /**
   * Keeps a stream open with the token in use, and says how many milliseconds it has now; null: for ever.
   * @param {string} id
   * @returns {Promise<number | null>}
   */
  async renew(id) {
    const query = new URLSearchParams({ stream: id })
    const answer = await this.#send('/stream/token', query, { method: 'PUT' })
    const { expiresIn } = await answer.json()
    return typeof expiresIn === 'number' ? expiresIn : null
  }

  /**
   * @param {string} path
   * @param {URLSearchParams} query
   * @param {{ method?: string, headers?: Record<string, string> }} options
   * @param {AbortController} [ending]
   */
  async #send(path, query, options, ending = new AbortController()) {
    const { auth, hasToken } = this.#config
    let token = auth === 'cookie' ? '' : await this.#tokens.get()
    let answer = await this.#try(path, query, options, ending, token)
    if (answer.status === 401 && hasToken) {
      const fresh = await this.#tokens.instead(token)
      // The same one again would be refused again; a cookie can't be compared.
      if (auth === 'cookie' || fresh !== token) {
        token = auth === 'cookie' ? '' : fresh
        answer = await this.#try(path, query, options, ending, token)
      }
    }
    if (answer.ok) return answer
    const refused = await refusal(answer)
    if (refused.code === 'not-your-feed' && this.#config.isMe) this.#onOtherUser()
    throw refused
  }

  /**
   * @param {string} path
   * @param {URLSearchParams} query
   * @param {{ method?: string, headers?: Record<string, string> }} options
   * @param {AbortController} ending
   * @param {string} token
   */
  async #try(path, query, { method = 'GET', headers = {} }, ending, token) {
    const { auth } = this.#config
    const asked = new URLSearchParams(query)
    if (auth === 'query') asked.set('access_token', token)
    if (auth === 'header') headers = { ...headers, authorization: `Bearer ${token}` }
    const search = String(asked) === '' ? '' : `?${asked}`
    const timer = setTimeout(() => ending.abort(), PATIENCE)
    try {
      return await fetch(`${this.#base}${path}${search}`, {
        method,
        headers,
        cache: 'no-store',
        credentials: auth === 'cookie' ? 'include' : 'same-origin',
        signal: ending.signal,
      })
    } catch {
      throw unreachable()
    } finally {
      clearTimeout(timer)
    }
  }
}

/** @param {unknown} error */
export function asError(error) {
  if (error instanceof MercurioError) return error
  return new MercurioError('internal', error instanceof Error ? error.message : String(error))
}

// What exactly went wrong, browsers don't tell.
function unreachable() {
  return new MercurioError('unreachable', 'the notification service can’t be reached')
}

/** @param {Response} answer */
async function refusal(answer) {
  const { status } = answer
  /** @type {{ code?: unknown, error?: unknown }} */
  const said = await answer.json().catch(() => ({}))
  const code = typeof said?.code === 'string' ? said.code : `http-${status}`
  const message = typeof said?.error === 'string' ? said.error : `the answer is ${status}`
  const seconds = Number(answer.headers.get('retry-after') ?? 0)
  const retryAfter = Number.isFinite(seconds) ? seconds * 1000 : 0
  return new MercurioError(code, message, { status, retryAfter })
}
