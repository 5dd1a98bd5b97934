import type { ServerResponse } from 'node:http'
import { describe, expect, it } from 'vitest'
import { read } from '../conformance/object-store.ts'
import { refuse, storeOver } from '../support/objects/scripted-s3.ts'

const WHOLE = Uint8Array.from({ length: 300_000 }, (_, n) => n % 251)
const ASKED = { start: 1000, end: 200_999 }
const part = (start: number, end: number) => WHOLE.slice(start, end + 1)

type Answer = (response: ServerResponse) => void

const sends =
  (status: number, headers: Record<string, string | number>, body: Uint8Array): Answer =>
  (response) =>
    response.writeHead(status, headers).end(body)

const whole = sends(200, { 'content-length': WHOLE.byteLength }, WHOLE)
/** With chunks, which say no length. */
const wholeOfUnknownLength = sends(200, {}, WHOLE)

/** Without a length, so that more may come than it says. */
const rangedAndMore =
  (start: number, end: number, total: number | '*'): Answer =>
  (response) => {
    response.writeHead(206, { 'content-range': `bytes ${start}-${end}/${total}` })
    response.write(part(start, end))
    response.end('and what nobody asked for')
  }

const ranged = (start: number, end: number, total: number | '*') =>
  sends(206, { 'content-range': `bytes ${start}-${end}/${total}` }, part(start, end))

/** To a range the one answer, to all else the other. */
async function answering(toRange: Answer, toAll: Answer = whole) {
  const { store, server } = await storeOver(({ headers }, response) =>
    (headers.range === undefined ? toAll : toRange)(response),
  )
  return { store, ranges: () => server.seen.map(({ headers }) => headers.range !== undefined) }
}

describe('a part of an object', () => {
  it.each<[string, Answer, number | null, boolean[]]>([
    ['as it was asked for', ranged(1000, 200_999, 300_000), 300_000, [true]],
    ['without the length of the whole', ranged(1000, 200_999, '*'), null, [true]],
    ['inside a larger part', ranged(0, 299_999, 300_000), 300_000, [true]],
    ['inside a larger part of nobody knows what', ranged(500, 250_000, '*'), null, [true]],
    ['in the whole', whole, 300_000, [true]],
    ['in a whole of unknown length', wholeOfUnknownLength, null, [true]],
    ['only in its beginning', ranged(1000, 50_000, 300_000), 300_000, [true, false]],
    [
      'only in its beginning, of nobody knows what',
      ranged(1000, 5000, '*'),
      300_000,
      [true, false],
    ],
    ['not at all', ranged(5000, 299_999, 300_000), 300_000, [true, false]],
    [
      'in units that nobody knows',
      sends(206, { 'content-range': 'lines 1-2/3' }, WHOLE),
      300_000,
      [true, false],
    ],
    ['with more behind it', rangedAndMore(1000, 200_999, 300_000), 300_000, [true]],
    [
      'with its unit in capitals',
      sends(206, { 'content-range': 'Bytes 1000-200999/300000' }, part(1000, 200_999)),
      300_000,
      [true],
    ],
    [
      'with an equals sign, as requests have it',
      sends(206, { 'content-range': 'bytes=1000-200999/300000' }, part(1000, 200_999)),
      300_000,
      [true],
    ],
    ['as a whole of the first bytes', ranged(0, 300, '*'), 300_000, [true, false]],
    [
      'without saying which part it is',
      sends(206, { 'content-length': 200_000 }, part(1000, 200_999)),
      300_000,
      [true, false],
    ],
    [
      'in several pieces',
      sends(206, { 'content-type': 'multipart/byteranges; boundary=a' }, part(0, 999)),
      300_000,
      [true, false],
    ],
    [
      'in the whole, which it calls a part',
      sends(200, { 'content-range': 'bytes 1000-200999/300000', 'content-length': 300_000 }, WHOLE),
      300_000,
      [true, false],
    ],
    [
      'under another status',
      sends(200, { 'content-range': 'bytes 1000-200999/300000' }, part(1000, 200_999)),
      300_000,
      [true],
    ],
    [
      'of a whole that it would be longer than',
      sends(206, { 'content-range': 'bytes 1000-200999/0' }, part(1000, 200_999)),
      300_000,
      [true, false],
    ],
    ['by saying that there is nothing', sends(204, {}, new Uint8Array()), 300_000, [true, false]],
    ['by 304', sends(304, {}, new Uint8Array()), 300_000, [true, false]],
    ['by 403', (response) => refuse(response, 403, 'AccessDenied'), 300_000, [true, false]],
    ['by 500', (response) => refuse(response, 500, 'InternalError'), 300_000, [true, true, false]],
    ['by an error', (response) => refuse(response, 501, 'NotImplemented'), 300_000, [true, false]],
    ['by 416', (response) => refuse(response, 416, 'InvalidRange'), 300_000, [true, false]],
  ])('is what was wanted where the store gives it %s', async (_how, answer, total, asked) => {
    const { store, ranges } = await answering(answer)
    const found = await store.get('a.png', ASKED)
    expect(found?.bytes).toBe(total)
    expect(Buffer.compare(await read(found), part(ASKED.start, ASKED.end))).toBe(0)
    expect(ranges()).toEqual(asked)
  })

  it.each([
    ['by 416', (response: ServerResponse) => refuse(response, 416, 'InvalidRange')],
    ['as all that there is', ranged(1000, 4999, 5000)],
    ['in the whole', sends(200, { 'content-length': 5000 }, part(0, 4999))],
  ])('tells that the object is shorter, where the store says so %s', async (_how, answer) => {
    const { store } = await answering(answer, sends(200, { 'content-length': 5000 }, part(0, 4999)))
    const found = await store.get('a.png', ASKED)
    expect(found?.bytes).toBe(5000)
    expect(Buffer.compare(await read(found), part(1000, 4999))).toBe(0)
  })

  it('tells so also of an object that ends before it', async () => {
    const short = sends(200, { 'content-length': 10 }, part(0, 9))
    const { store } = await answering((response) => refuse(response, 416, 'InvalidRange'), short)
    const found = await store.get('a.png', ASKED)
    expect(found?.bytes).toBe(10)
    expect(await read(found)).toEqual(new Uint8Array())
  })

  it('fails where its body ends early', async () => {
    const { store } = await answering(sends(200, {}, part(0, 99_999)))
    const found = await store.get('a.png', ASKED)
    await expect(read(found)).rejects.toThrow('101000 bytes early')
  })

  it('holds no connection once it was read, though more came', async () => {
    const { store } = await answering(whole)
    for (let n = 0; n < 300; n++) await read(await store.get('a.png', { start: 0, end: 9 }))
    expect((await store.get('a.png', { start: 0, end: 0 }))?.bytes).toBe(300_000)
  })

  it('is null of what is not there', async () => {
    const { store } = await answering((response) => refuse(response, 404, 'NoSuchKey'))
    expect(await store.get('a.png', ASKED)).toBeNull()
  })
})

describe('a whole object', () => {
  it.each<[string, Answer, number | null]>([
    ['as it should', whole, 300_000],
    ['without its length', wholeOfUnknownLength, null],
    ['as a part that is all of it', ranged(0, 299_999, 300_000), 300_000],
    ['as a part of nobody knows what', ranged(0, 299_999, '*'), null],
    ['as a part that says nothing', sends(206, { 'content-length': 300_000 }, WHOLE), 300_000],
    [
      'as a part that is all of it, with more behind it',
      rangedAndMore(0, 299_999, 300_000),
      300_000,
    ],
  ])('is what it is where the store gives it %s', async (_how, answer, total) => {
    const { store } = await answering(answer, answer)
    const found = await store.get('a.png')
    expect(found?.bytes).toBe(total)
    expect(Buffer.compare(await read(found), WHOLE)).toBe(0)
  })

  it.each([ranged(0, 9999, 300_000), ranged(1, 299_999, 300_000)])(
    'is not taken for one where it is a part',
    async (answer) => {
      const { store } = await answering(answer, answer)
      await expect(store.get('a.png')).rejects.toThrow('only a part of the object')
    },
  )
})

it('says of a HEAD without a length that it does not know it', async () => {
  const { store } = await storeOver((_, response) => response.end())
  expect(await store.head('a.png')).toEqual({ bytes: null })
})
