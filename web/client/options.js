// What `connect` takes, checked.

/**
 * @typedef {object} Options
 * @property {string} [url]  the gateway's address; '' (the default): the page's own origin
 * @property {string} [user]  whose notifications; 'me' (the default): the token's user
 * @property {(() => Promise<string>) | (() => Promise<void>)} [getToken]  gives a token; asked again before it expires and
 *   when it was refused. By cookie: renews the cookie
 * @property {'header' | 'cookie' | 'query'} [auth]  how the token is sent; by default 'header' with
 *   `getToken`, else 'cookie'
 * @property {readonly string[]} [topics]  only these: `*` is one token, a trailing `>` the rest
 * @property {number} [pageSize]  1 to 500, 30 by default
 * @property {'auto' | 'worker' | 'leader' | 'none'} [sharing]  how tabs share one connection
 * @property {string} [workerUrl]  the worker's script, by default beside this module. It has to be of
 *   the page's origin
 * @property {number} [heartbeat]  the gateway's `--heartbeat` in milliseconds, 15,000 by default
 */

/**
 * @param {Options} options
 * @returns {import('./api.js').Config}
 */
export function settled(options) {
  const { getToken, user = 'me', topics = [], pageSize = 30, heartbeat = 15_000 } = options
  const auth = options.auth ?? (getToken ? 'header' : 'cookie')
  const { sharing = 'auto', url = '', workerUrl, ...rest } = options
  const known = ['getToken', 'user', 'topics', 'pageSize', 'heartbeat', 'auth']
  const unknown = Object.keys(rest).find((name) => !known.includes(name))
  if (unknown) throw new TypeError(`connect: there is no option ${unknown}`)
  allow('auth', auth, ['header', 'cookie', 'query'].includes(auth), 'header, cookie or query')
  allow(
    'getToken',
    getToken,
    typeof getToken === 'function' || (!getToken && auth === 'cookie'),
    'a function that gives a token',
  )
  const manners = ['auto', 'worker', 'leader', 'none']
  allow('sharing', sharing, manners.includes(sharing), manners.join(', '))
  allow('user', user, typeof user === 'string' && user !== '', 'a user’s id, or me')
  const isText = (/** @type {unknown} */ one) => typeof one === 'string' && one !== ''
  allow('topics', topics, Array.isArray(topics) && topics.every(isText), 'a list of filters')
  const isSize = Number.isInteger(pageSize) && pageSize >= 1 && pageSize <= 500
  allow('pageSize', pageSize, isSize, '1 to 500')
  allow('heartbeat', heartbeat, heartbeat >= 100, 'milliseconds, at least 100')
  allow('workerUrl', workerUrl, workerUrl === undefined || isText(workerUrl), 'an address')
  return {
    url: address(url),
    user,
    isMe: user === 'me',
    auth,
    hasToken: getToken !== undefined,
    topics: [...topics],
    pageSize,
    heartbeat,
  }
}

/** @param {string} url */
function address(url) {
  let found
  try {
    found = new URL(url === '' ? location.origin : url, location.href)
  } catch {
    found = null
  }
  allow('url', url, found !== null && /^https?:$/.test(found.protocol), 'an http or https address')
  return `${found?.origin}${found?.pathname}`.replace(/\/+$/, '')
}

/**
 * @param {string} name
 * @param {unknown} value
 * @param {boolean} isAllowed
 * @param {string} allowed
 */
function allow(name, value, isAllowed, allowed) {
  if (isAllowed) return
  throw new TypeError(`connect: ${name} is ${JSON.stringify(value) ?? value}; allowed: ${allowed}`)
}
