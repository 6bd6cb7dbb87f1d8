// What somebody who installed the package writes; tests/tests/web/package.rs checks its types,
// builds it with Vite and loads it.

import { connect, type Notification, type State } from 'mercurio-client'
import { MercurioInbox } from 'mercurio-client/inbox'

const token = new URLSearchParams(location.hash.slice(1)).get('token')
if (token === null) throw new Error('the address has no token')

const inbox = connect({ getToken: async () => token, topics: ['invoice.*'] })
inbox.addEventListener('change', (event) => {
  const state: State = event.detail
  document.querySelector('#badge')!.textContent = String(state.unreadCount)
  const items = state.notifications.map((one: Notification) => {
    const item = document.createElement('li')
    item.textContent = one.data
    return item
  })
  document.querySelector('#list')!.replaceChildren(...items)
})
inbox.addEventListener('notification', (event) => {
  const arrived: Notification = event.detail
  document.title = arrived.data
})
const bell = new MercurioInbox()
bell.inbox = inbox
bell.texts = { title: 'Notices', bell: { one: '{count} notice', other: '{count} notices' } }
bell.render = ({ data }) => data.toUpperCase()
document.body.append(bell)
await inbox.ready
document.title = 'loaded'
// @ts-expect-error: there is no such state
inbox.state.connection === 'opened'
// @ts-expect-error: there is no such text
bell.texts = { titel: '' }
// @ts-expect-error: the snapshot is not to be changed
inbox.state.notifications.push
