import assert from 'node:assert/strict'
import { test } from 'node:test'

import { EventStreamParser } from './sse.js'

/**
 * What a stream gives when it comes in these pieces.
 * @param {Uint8Array[]} pieces
 */
function parsed(pieces) {
  /** @type {unknown[]} */
  const found = []
  const parser = new EventStreamParser(
    (event) => found.push(event),
    (retry) => found.push({ retry }),
  )
  for (const piece of pieces) parser.feed(piece)
  return found
}

/** @param {string} text */
const whole = (text) => parsed([new TextEncoder().encode(text)])
/** @param {string} data */
const message = (data, id = '') => ({ type: 'message', data, id })

test('the examples of the specification', () => {
  assert.deepEqual(whole('data: YHOO\ndata: +2\ndata: 10\n\n'), [message('YHOO\n+2\n10')])
  assert.deepEqual(
    whole(
      ': test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n',
    ),
    [message('first event', '1'), message('second event'), message(' third event')],
  )
  // The last one is not ended.
  assert.deepEqual(whole('data\n\ndata\ndata\n\ndata:'), [message(''), message('\n')])
  assert.deepEqual(whole('data:test\n\ndata: test\n\n'), [message('test'), message('test')])
})

test('fields', () => {
  assert.deepEqual(whole('event: opened\nid: 7\ndata: {}\n\ndata: x\n\n'), [
    { type: 'opened', data: '{}', id: '7' },
    message('x', '7'),
  ])
  // An event without data is none, but its id counts.
  assert.deepEqual(whole('id: 7\nevent: x\n\ndata: y\n\n'), [message('y', '7')])
  assert.deepEqual(whole('id: 1\nid: a\0b\ndata: x\n\n'), [message('x', '1')])
  assert.deepEqual(whole('retry: 10\nretry: 1x\nretry: -1\nretry:\nretry: 20\n\n'), [
    { retry: 10 },
    { retry: 20 },
  ])
  assert.deepEqual(whole(': heartbeat\n\n:\n\nunknown: x\nDATA: x\n data: x\n\n'), [])
  assert.deepEqual(whole('data: a:b: c\n\n'), [message('a:b: c')])
})

test('line ends of all sorts, and a byte order mark', () => {
  assert.deepEqual(whole('\ufeffdata: a\r\ndata: b\rdata: c\n\r\n'), [message('a\nb\nc')])
  assert.deepEqual(whole('data: a\r\rdata: b\r\n\r\n'), [message('a'), message('b')])
  // Only at the start.
  assert.deepEqual(whole('data: a\n\n\ufeffdata: b\n\n'), [message('a')])
})

test('however it is cut', () => {
  const text =
    '\ufeffretry: 3000\r\n\r\nevent: opened\nid: 5\ndata: {"a":1}\n\n: heartbeat\n\n' +
    'id: 6\rdata: größer 🎉 \u2028 שלום\rdata: zwei\r\rid: 7\r\ndata: \ndata: x\r\n\r\n'
  const bytes = new TextEncoder().encode(text)
  const expected = parsed([bytes])
  assert.equal(expected.length, 4)
  for (let size = 1; size < 20; size += 1) {
    const pieces = []
    for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size))
    assert.deepEqual(parsed(pieces), expected, `in pieces of ${size}`)
  }
  for (let at = 0; at <= bytes.length; at += 1) {
    const pieces = [bytes.subarray(0, at), new Uint8Array(), bytes.subarray(at)]
    assert.deepEqual(parsed(pieces), expected, `cut at ${at}`)
  }
})

test('a large event in many pieces does not take long', () => {
  const data = 'x'.repeat(1 << 20)
  const bytes = new TextEncoder().encode(`data: ${data}\n\n`)
  const pieces = []
  for (let at = 0; at < bytes.length; at += 1000) pieces.push(bytes.subarray(at, at + 1000))
  const start = performance.now()
  assert.deepEqual(parsed(pieces), [message(data)])
  assert.ok(performance.now() - start < 2000)
})
