// The demo's tokens. `mercurio dev` hands them to this page on this machine only; anywhere else they
// come in the address, as it was printed: #alice=TOKEN&bob=TOKEN&publisher=TOKEN

const given = new URLSearchParams(location.hash.slice(1))
// Not in the address bar, nor in a picture of it, longer than needed.
if (location.hash) history.replaceState(null, '', location.pathname)

/**
 * @param {string} user
 * @returns {Promise<string>}
 */
export async function tokenOf(user) {
  const known = given.get(user)
  if (known) return known
  const answer = await fetch(`/demo/tokens/${user}`, { method: 'POST' })
  const said = await answer.json()
  if (answer.ok) return said.token
  throw new Error(`${said.error}. Elsewhere, open the address with the tokens that it prints.`)
}

/** @type {string | undefined} */
let publisher

/** The publisher's token; `anew`: the last one was refused. */
export async function publishers(anew = false) {
  if (!publisher || anew) publisher = await tokenOf('publisher')
  return publisher
}
