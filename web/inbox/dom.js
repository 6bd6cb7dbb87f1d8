// Elements made without markup: a strict Content-Security-Policy and Trusted Types have nothing to
// refuse, and text can't become anything else.

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string | number | boolean | null | undefined>} [attributes] true: present; false, null: absent
 * @param {...(Node | string)} children strings become text
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) set(element, name, value)
  element.append(...children)
  return element
}

/**
 * @param {Element} element
 * @param {string} name
 * @param {string | number | boolean | null | undefined} value
 */
export function set(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name)
  else if (element.getAttribute(name) !== String(value === true ? '' : value))
    element.setAttribute(name, value === true ? '' : String(value))
}

/**
 * Writes a text only where it is another: an untouched node is not announced, selected or laid out
 * again.
 *
 * @param {Element} element
 * @param {string} text
 */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text
}

/** Paths in a box of 24 by 24. */
const ICONS = {
  bell: [
    'M6 9a6 6 0 0 1 12 0c0 5 1.6 6.6 2.4 7.4.3.3.1.6-.3.6H3.9c-.4 0-.6-.3-.3-.6C4.4 15.6 6 14 6 9Z',
    'M9.7 20a2.5 2.5 0 0 0 4.6 0',
  ],
  checks: ['m2.5 12.5 4.5 4.5L16 7.5', 'm12.5 16.5.5.5 8.5-9.5'],
  check: ['m5 12.5 4.5 4.5L19 7.5'],
  up: ['M12 19V5', 'm6 11 6-6 6 6'],
  cloud: [
    'M7 18.5h10a4 4 0 0 0 .6-7.9A5.8 5.8 0 0 0 6.5 9.8 4.4 4.4 0 0 0 7 18.5Z',
    'M12 11v2.5',
    'M12 15.9v.1',
  ],
}

/** @param {keyof typeof ICONS} name */
export function icon(name) {
  const namespace = 'http://www.w3.org/2000/svg'
  const svg = document.createElementNS(namespace, 'svg')
  for (const [key, value] of [
    ['viewBox', '0 0 24 24'],
    ['class', 'icon'],
    ['aria-hidden', 'true'],
  ])
    svg.setAttribute(/** @type {string} */ (key), /** @type {string} */ (value))
  for (const d of ICONS[name]) {
    const path = document.createElementNS(namespace, 'path')
    path.setAttribute('d', d)
    svg.append(path)
  }
  return svg
}
