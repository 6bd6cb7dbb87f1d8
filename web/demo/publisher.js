// The publisher's panel: what a service would send, over the gateway's HTTP API.

import { make } from '../inbox/dom.js'

/**
 * @typedef {object} Example
 * @property {string} name
 * @property {string} source
 * @property {string} topic
 * @property {string} title
 * @property {string} text
 */

/** @type {Example[]} */
const EXAMPLES = [
  {
    name: 'Invoice',
    source: 'billing',
    topic: 'invoice.paid',
    title: 'Invoice 2041 was paid',
    text: 'Northwind Traders paid €1,280.00 by bank transfer.',
  },
  {
    name: 'Mention',
    source: 'comments',
    topic: 'comment.mention',
    title: 'Mara mentioned you in “Launch plan”',
    text: '“Can you check the pricing table before Thursday? I moved the enterprise tier.”',
  },
  {
    name: 'Deploy',
    source: 'deploy',
    topic: 'deploy.failed',
    title: 'Deploy of web-frontend failed',
    text: 'Step “migrate” ended with exit code 1 after 42 s.',
  },
  {
    name: 'Sign-in',
    source: 'security',
    topic: 'account.sign-in',
    title: 'New sign-in from Firefox on Linux',
    text: '',
  },
  {
    name: 'Maintenance',
    source: 'operations',
    topic: 'system.maintenance',
    title: 'Maintenance on Sunday, 02:00 to 04:00 UTC',
    text: 'Everything stays readable; changes are paused.',
  },
  {
    name: 'Review',
    source: 'reviews',
    topic: 'review.requested',
    title: 'Jonas asks for your review of “Rate limits per tenant”',
    text: '14 files, 3 of them tests.',
  },
  {
    name: 'Order',
    source: 'shop',
    topic: 'order.shipped',
    title: 'Order 7718 has left the warehouse',
    text: 'Expected on Thursday between 9 and 12.',
  },
  {
    name: 'Markup',
    source: 'mallory',
    topic: 'hostile',
    title: '<img src=x onerror="alert(1)"> is only text',
    text: '<script>alert(document.cookie)</script> ‮and so is this',
  },
]

const form = /** @type {HTMLFormElement} */ (document.querySelector('#publish'))
const outcome = /** @type {HTMLElement} */ (document.querySelector('#outcome'))
const request = /** @type {HTMLElement} */ (document.querySelector('#request'))

/** @param {(anew?: boolean) => Promise<string>} token */
export function startPublisher(token) {
  const topics = /** @type {HTMLElement} */ (document.querySelector('#topics'))
  const examples = /** @type {HTMLElement} */ (document.querySelector('.examples'))
  for (const example of EXAMPLES) {
    topics.append(make('option', { value: example.topic }))
    const button = make('button', { type: 'button', class: 'chip' }, example.name)
    button.addEventListener('click', () => fill(example))
    examples.append(button)
  }
  fill(/** @type {Example} */ (EXAMPLES[0]))
  form.addEventListener('input', () => preview())
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    void tell(async () => {
      const started = performance.now()
      const [published] = await send(toBeSent(), token)
      const took = Math.max(1, Math.round(performance.now() - started))
      return `Stored and sent as number ${published?.notificationID}, in ${took} ms`
    })
  })
  document.querySelector('#several')?.addEventListener('click', () => {
    void tell(async () => {
      for (const example of EXAMPLES) await send(toBeSent(example), token)
      return `Stored and sent ${EXAMPLES.length}`
    })
  })
}

/** @param {Example} example */
function fill(example) {
  for (const key of /** @type {const} */ (['source', 'topic', 'title', 'text']))
    field(key).value = example[key]
  preview()
}

/** @param {string} name */
function field(name) {
  return /** @type {HTMLInputElement} */ (form.elements.namedItem(name))
}

/** What the form says, or these values of it. */
function toBeSent({
  source = field('source').value,
  topic = field('topic').value,
  title = field('title').value,
  text = field('text').value,
} = {}) {
  const to = field('to').value
  // For the service it is an opaque string. The inbox shows a title and a text where there are some.
  const data = JSON.stringify({ ...(title && { title }), ...(text && { body: text }) })
  const what = { sourceID: source, ...(topic && { topic }), data }
  if (to === 'everyone') return { path: '/api/events/broadcast', body: { everyone: true, ...what } }
  if (to === 'both')
    return { path: '/api/events/broadcast', body: { destinations: ['alice', 'bob'], ...what } }
  return { path: '/api/events/unicast', body: { destinationID: to, ...what } }
}

function preview() {
  const { path, body } = toBeSent()
  request.textContent = `POST ${path}\nAuthorization: Bearer …\n\n${JSON.stringify(body, null, 2)}`
}

/**
 * @param {{ path: string, body: object }} what
 * @param {(anew?: boolean) => Promise<string>} token
 * @returns {Promise<{ notificationID: number }[]>}
 */
async function send({ path, body }, token) {
  const post = async (/** @type {string} */ bearer) =>
    fetch(path, {
      method: 'POST',
      headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  let answer = await post(await token())
  if (answer.status === 401) answer = await post(await token(true))
  const said = await answer.json()
  if (!answer.ok) throw new Error(said.error)
  return [said].flat()
}

/** @param {() => Promise<string>} work */
async function tell(work) {
  const buttons = form.querySelectorAll('.actions button')
  for (const button of buttons) button.setAttribute('aria-disabled', 'true')
  try {
    outcome.textContent = await work()
    outcome.dataset.kind = 'done'
  } catch (error) {
    // What exactly went wrong with a request that has no answer, browsers don't tell.
    const isUnreachable = error instanceof TypeError
    const { message } = /** @type {Error} */ (error)
    outcome.textContent = isUnreachable ? 'The service can’t be reached' : message
    outcome.dataset.kind = 'failed'
  }
  for (const button of buttons) button.removeAttribute('aria-disabled')
}
