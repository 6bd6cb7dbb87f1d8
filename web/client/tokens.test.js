import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Tokens, ask, renewIn } from './tokens.js'

/** @param {object} claims */
const token = (claims) => `h.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.s`

test('a token is replaced before it expires', () => {
  const now = 1_000_000_000_000
  const expiring = (/** @type {number} */ seconds) =>
    token({ sub: 'ä-?>', exp: now / 1000 + seconds })
  assert.equal(renewIn(expiring(3600), now), 3_570_000)
  assert.equal(renewIn(expiring(10), now), 8000)
  assert.equal(renewIn(expiring(0), now), null)
  assert.equal(renewIn(expiring(-10), now), null)
  assert.equal(renewIn(expiring(1e9), now), 2 ** 31 - 1)
  for (const other of [token({}), token({ exp: 'x' }), 'opaque', 'a.b.c', '', 'h.bnVsbA.s']) {
    assert.equal(renewIn(other, now), null, other)
  }
})

test('those who ask at the same time get the same', async () => {
  let asked = 0
  const tokens = new Tokens(async () => `t${(asked += 1)}`, '')
  assert.deepEqual(await Promise.all([tokens.get(), tokens.get(), tokens.renew()]), [
    't1',
    't1',
    't1',
  ])
  assert.equal(await tokens.instead('t1'), 't2')
  // Another has replaced it already.
  assert.equal(await tokens.instead('t1'), 't2')
  assert.equal(asked, 2)
})

test('what getToken gives is checked', async () => {
  assert.equal(await ask(async () => 'x', 'header'), 'x')
  assert.equal(await ask(async () => undefined, 'cookie'), '')
  const wrong = /** @type {any[]} */ ([async () => '', async () => null, () => 7, undefined])
  for (const getToken of wrong)
    await assert.rejects(ask(getToken, 'query'), { code: 'token-failed' })
  const failing = ask(() => Promise.reject(new Error('signed out')), 'cookie')
  await assert.rejects(failing, { code: 'token-failed', message: 'getToken failed: signed out' })
})

test('an error page is no token', async () => {
  for (const given of ['<html>\n  Not found</html>', '', ' ', 'two words', 'ü', undefined, 7]) {
    await assert.rejects(
      ask(async () => given, 'header'),
      { code: 'token-failed' },
    )
  }
  assert.equal(await ask(async () => 'a.b.c\n', 'header'), 'a.b.c')
})
