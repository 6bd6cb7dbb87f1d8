import assert from 'node:assert/strict'
import { test } from 'node:test'

import { settled } from './options.js'

Object.assign(globalThis, { location: new URL('https://app.example/inbox?x#y') })
const getToken = async () => 'x'

test('defaults', () => {
  assert.deepEqual(settled({}), {
    url: 'https://app.example',
    user: 'me',
    isMe: true,
    auth: 'cookie',
    hasToken: false,
    topics: [],
    pageSize: 30,
    heartbeat: 15_000,
  })
  assert.equal(settled({ getToken }).auth, 'header')
})

test('addresses', () => {
  for (const [url, expected] of [
    ['https://api.example', 'https://api.example'],
    ['https://api.example:8443/', 'https://api.example:8443'],
    ['https://api.example/mercurio//?a=b', 'https://api.example/mercurio'],
    ['/notify/', 'https://app.example/notify'],
  ]) {
    assert.equal(settled({ url: String(url) }).url, expected)
  }
})

test('what is wrong is said: what, which value, what is allowed', () => {
  for (const [options, message] of /** @type {[any, RegExp][]} */ ([
    [{ url: 'ftp://x' }, /url is "ftp:\/\/x"; allowed: an http or https address/],
    [{ url: 'http://[' }, /url is/],
    [{ auth: 'header' }, /getToken is undefined; allowed: a function/],
    [{ auth: 'query' }, /getToken/],
    [{ auth: 'basic', getToken }, /auth is "basic"; allowed: header, cookie or query/],
    [{ getToken: 'x' }, /getToken is "x"/],
    [{ topics: 'a.*' }, /topics is "a.\*"; allowed: a list/],
    [{ topics: [''] }, /topics/],
    [{ pageSize: 0 }, /pageSize is 0; allowed: 1 to 500/],
    [{ pageSize: 1.5 }, /pageSize/],
    [{ sharing: 'tab' }, /sharing is "tab"; allowed: auto, worker, leader, none/],
    [{ user: '' }, /user/],
    [{ heartbeat: NaN }, /heartbeat/],
    [{ workerUrl: '' }, /workerUrl/],
    [{ tokens: 1 }, /there is no option tokens/],
  ])) {
    assert.throws(() => settled(options), { name: 'TypeError', message })
  }
})
