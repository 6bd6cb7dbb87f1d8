// What is shown of a notification. Its data is an opaque string of whoever published it: it is only
// ever text, and a link only where it leads to a page.

const TITLE_MAX = 300
const BODY_MAX = 4000
const JSON_MAX = 1 << 20

const TITLE_KEYS = ['title', 'subject', 'headline']
const BODY_KEYS = ['body', 'text', 'message', 'description']
const LINK_KEYS = ['url', 'link', 'href']

/**
 * @typedef {object} Content
 * @property {string} title the first thing to read; never empty unless there is nothing to say
 * @property {string} body
 * @property {URL | null} link
 */

/**
 * The title, text and link that JSON data names; otherwise the data itself, clipped.
 *
 * @param {string} data
 * @param {string} base what relative links are relative to
 * @returns {Content}
 */
export function contentOf(data, base) {
  const fields = parsed(data)
  const title = first(fields, TITLE_KEYS)
  const body = first(fields, BODY_KEYS)
  const link = safeLink(first(fields, LINK_KEYS), base)
  if (title) return { title: clip(title, TITLE_MAX), body: clip(body, BODY_MAX), link }
  return { ...split(body || data.trim()), link }
}

/** @param {string} data */
function parsed(data) {
  if (data.length > JSON_MAX || !data.trimStart().startsWith('{')) return {}
  try {
    return /** @type {Record<string, unknown>} */ (JSON.parse(data))
  } catch {
    return {}
  }
}

/**
 * @param {Record<string, unknown>} fields
 * @param {string[]} keys
 */
function first(fields, keys) {
  for (const key of keys) {
    const value = Object.hasOwn(fields, key) ? fields[key] : undefined
    if (typeof value === 'string' && value.trim()) return value.trim()
  }
  return ''
}

/**
 * The first line is the title.
 *
 * @param {string} text
 */
function split(text) {
  const [, title = '', body = ''] = /^([^\r\n]*)([^]*)$/.exec(text) ?? []
  return { title: clip(title, TITLE_MAX), body: clip(body.trim(), BODY_MAX) }
}

/**
 * @param {string} text
 * @param {number} max
 */
function clip(text, max) {
  if (text.length <= max) return text
  // Never half of a pair of surrogates.
  return text.slice(0, max).replace(/[\uD800-\uDBFF]$/, '') + '…'
}

/**
 * A link to a page, on this site or another; none that runs a script, or that shows a name and
 * password before the host to look like another site.
 *
 * @param {string} text
 * @param {string} base
 */
function safeLink(text, base) {
  if (!text || !URL.canParse(text, base)) return null
  const url = new URL(text, base)
  const leads = url.protocol === 'https:' || url.protocol === 'http:'
  return leads && !url.username && !url.password ? url : null
}
