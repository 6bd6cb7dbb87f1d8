// A user with two devices: a laptop, with the bell in an application's bar, and a phone with the
// list. What is read on one is read on the other.

import { connect } from '../client.js'
import { make, write } from '../inbox/dom.js'
import { showNothing } from './wire.js'
import { tokenOf } from './tokens.js'

/** @type {Record<string, string>} */
const STATES = {
  connecting: 'Connecting',
  open: 'Live',
  waiting: 'Reconnecting',
  offline: 'Offline',
  closed: 'Closed',
}

/**
 * @param {HTMLElement} section
 * @param {boolean} isFirst whether this tab may open connections of its own
 */
export function showUser(section, isFirst) {
  const user = section.dataset.user ?? ''
  const name = user.charAt(0).toUpperCase() + user.slice(1)
  const getToken = () => tokenOf(user)
  const laptop = connect({ getToken, sharing: 'auto' })
  const phone = connect({ getToken, sharing: isFirst ? 'none' : 'auto' })
  if (!isFirst) {
    showNothing(
      'Another tab is showing the demo: this one shares its connections, and the events are there.',
    )
  }

  const bell = document.createElement('mercurio-inbox')
  const list = document.createElement('mercurio-inbox')
  Object.assign(bell, { inbox: laptop })
  Object.assign(list, { inbox: phone })
  list.setAttribute('layout', 'inline')
  for (const inbox of [bell, list]) inbox.setAttribute('theme', 'page')

  section.append(
    make(
      'div',
      { class: 'who' },
      make('span', { class: 'face', 'aria-hidden': 'true' }, name.charAt(0)),
      make('h2', { id: `${user}-title` }, name),
      status(phone),
    ),
    make(
      'div',
      { class: 'laptop', role: 'group', 'aria-label': `${name}’s laptop` },
      make(
        'div',
        { class: 'chrome', 'aria-hidden': 'true' },
        make('i'),
        make('i'),
        make('i'),
        make('span', {}, 'app.acme.example'),
      ),
      make(
        'div',
        { class: 'bar' },
        make('b', {}, 'Acme'),
        make('span', { class: 'tabs', 'aria-hidden': 'true' }, make('i'), make('i'), make('i')),
        bell,
      ),
      make('div', { class: 'work', 'aria-hidden': 'true' }, make('i'), make('i'), make('i')),
    ),
    make(
      'div',
      { class: 'phone', role: 'group', 'aria-label': `${name}’s phone` },
      make('div', { class: 'island', 'aria-hidden': 'true' }),
      list,
    ),
  )
}

/** @param {import('../client.js').Inbox} inbox */
function status(inbox) {
  const words = make('span')
  const shown = make('p', { class: 'status' }, make('i'), words)
  const show = () => {
    const { connection } = inbox.state
    shown.dataset.state = connection
    write(words, STATES[connection] ?? connection)
  }
  inbox.addEventListener('change', show)
  show()
  return shown
}
