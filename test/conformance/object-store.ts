import { createHash, randomBytes } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { beforeAll, expect, it } from 'vitest'
import type { ObjectStore, PutOptions, StoredObject } from '../../src/deps.ts'

const MIB = 1024 * 1024
/** Miniflare's R2 takes seconds for what others do in one. */
const SLOW_MS = 120_000

/**
 * What every store keeps of the `ObjectStore` port. To be called inside a `describe`; `open` gives
 * a store with nothing in it.
 */
export function behavesAsObjectStore(open: () => ObjectStore) {
  let store: ObjectStore
  beforeAll(() => {
    store = open()
  })

  it('gives back the bytes that it was given', async () => {
    const key = 'sha256/ab/cd/abcd.png'
    await put(store, key, bytes('an image'))
    expect(await store.head(key)).toMatchObject({ bytes: 8 })
    const found = await store.get(key)
    expect(found?.bytes).toBe(8)
    expect(await read(found)).toEqual(bytes('an image'))
  })

  it('keeps the first object where the second may only fill a gap, and tells of it', async () => {
    expect(await put(store, 'first.png', bytes('first'), { ifAbsent: true })).toBeNull()
    const there = await put(store, 'first.png', bytes('second'), { ifAbsent: true })
    expect(await read(await store.get('first.png'))).toEqual(bytes('first'))
    expect(there?.bytes).toBe(5)
    // Not every store knows the hash; one that does knows that of what is there.
    expect([undefined, sha256(bytes('first'))]).toContain(there?.sha256)
  })

  it('says nothing of what it replaced', async () => {
    await put(store, 'replaced.png', bytes('first'))
    expect(await put(store, 'replaced.png', bytes('second'))).toBeNull()
    expect(await read(await store.get('replaced.png'))).toEqual(bytes('second'))
  })

  it('puts a record over the one before it', async () => {
    const key = 'generations/2026/11/22/0197.json'
    await put(store, key, bytes('a first record'))
    await put(store, key, bytes('a second'))
    expect(await read(await store.get(key))).toEqual(bytes('a second'))
  })

  it.each([true, false])(
    'refuses bytes that have another hash, and keeps nothing (ifAbsent: %s)',
    async (ifAbsent) => {
      const key = `lies/${ifAbsent}.png`
      await expect(
        put(store, key, bytes('bytes'), { ifAbsent, sha256: sha256(bytes('other')) }),
      ).rejects.toThrow()
      expect(await store.head(key)).toBeNull()
      expect(await keys(store.list('lies/'))).toEqual([])
    },
  )

  it('lets refused bytes change nothing of what is there', async () => {
    await put(store, 'kept.json', bytes('kept'))
    await expect(
      put(store, 'kept.json', bytes('bytes'), { sha256: sha256(bytes('other')) }),
    ).rejects.toThrow()
    expect(await read(await store.get('kept.json'))).toEqual(bytes('kept'))
  })

  it('keeps an object of no bytes', async () => {
    await put(store, 'empty', new Uint8Array())
    expect(await store.head('empty')).toMatchObject({ bytes: 0 })
    expect(await read(await store.get('empty'))).toEqual(new Uint8Array())
  })

  it(
    'keeps an object of 25 MiB, whether or not it was there before',
    async () => {
      const large = noise(25 * MIB)
      for (const ifAbsent of [true, true, false]) await put(store, 'large.png', large, { ifAbsent })
      const found = await store.get('large.png')
      expect(found?.bytes).toBe(25 * MIB)
      expect(sha256(await read(found))).toBe(sha256(large))
    },
    SLOW_MS,
  )

  it.each([true, false])(
    'ends with one whole object when a key is put many times at once (ifAbsent: %s)',
    async (ifAbsent) => {
      const versions = Array.from({ length: 20 }, () => noise(300_000))
      const key = `contested/${ifAbsent}.png`
      await Promise.all(versions.map((version) => put(store, key, version, { ifAbsent })))
      const winner = sha256(await read(await store.get(key)))
      expect(versions.map(sha256)).toContain(winner)
      expect(await keys(store.list('contested/'))).toContain(key)
    },
  )

  it.each([
    ['the first byte', 0, 0],
    ['a part in the middle', 100_000, 199_999],
    ['the last byte', 299_999, 299_999],
    ['everything', 0, 299_999],
  ])('reads %s', async (_, start, end) => {
    const whole = noise(300_000)
    await put(store, 'ranged.png', whole)
    const found = await store.get('ranged.png', { start, end })
    expect(found?.bytes).toBe(300_000)
    expect(sha256(await read(found))).toBe(sha256(whole.subarray(start, end + 1)))
  })

  it.each([
    ['a part of', 5, [5, 6, 7]],
    ['nothing of', 8, []],
    ['nothing of', 300, []],
  ])(
    'gives %s what is shorter than was thought, and tells how long it is',
    async (_, start, is) => {
      await put(
        store,
        'short.png',
        Uint8Array.from({ length: 8 }, (_, n) => n),
      )
      const found = await store.get('short.png', { start, end: 399 })
      expect(found?.bytes).toBe(8)
      expect([...(await read(found))]).toEqual(is)
    },
  )

  it('answers null for what is not there, also where it is a folder of other keys', async () => {
    await put(store, 'nothing/here/but.png', bytes('this'))
    for (const key of [
      'nothing',
      'nothing/here',
      'nothing/at/all.png',
      'nothing/here/but.png/below',
    ]) {
      expect(await store.get(key)).toBeNull()
      expect(await store.get(key, { start: 0, end: 0 })).toBeNull()
      expect(await store.head(key)).toBeNull()
    }
  })

  it('deletes once and finds nothing to do the second time', async () => {
    await put(store, 'doomed/one.png', bytes('one'))
    for (let i = 0; i < 2; i++) await store.delete('doomed/one.png')
    await store.delete('doomed')
    await store.delete('doomed/one.png/below')
    expect(await store.head('doomed/one.png')).toBeNull()
    expect(await keys(store.list('doomed/'))).toEqual([])
  })

  it(
    'lists every key under a prefix, more than a thousand of them, and no other',
    async () => {
      const expected = Array.from({ length: 1_100 }, (_, i) => `many/${i % 16}/${i}.png`)
      await inGroupsOf(50, expected, (key) => put(store, key, bytes(key)))
      await put(store, 'many-others/1.png', bytes('no'))
      expect((await keys(store.list('many/'))).sort()).toEqual([...expected].sort())
    },
    SLOW_MS,
  )

  it('lists by any beginning of a key, with sizes', async () => {
    for (const key of ['by/2026/01.json', 'by/2026/02.json', 'by/2027/01.json'])
      await put(store, key, bytes(key))
    for await (const found of store.list('by/2026/02.json'))
      expect(found).toEqual({ key: 'by/2026/02.json', bytes: 15 })
    expect(await keys(store.list('by/2026/02'))).toEqual(['by/2026/02.json'])
    expect(await keys(store.list('by/2026/0'))).toHaveLength(2)
    expect(await keys(store.list('by/20'))).toHaveLength(3)
    expect(await keys(store.list('by'))).toHaveLength(3)
    expect(await keys(store.list('by/2028/'))).toEqual([])
    expect(await keys(store.list(''))).toEqual(
      expect.arrayContaining(['by/2026/01.json', 'by/2027/01.json']),
    )
  })

  it('survives a hundred bodies that nobody read', async () => {
    await put(store, 'unread.png', noise(4 * MIB))
    for (let i = 0; i < 100; i++) await (await store.get('unread.png'))?.body.cancel()
    expect((await store.get('unread.png', { start: 0, end: 0 }))?.bytes).toBe(4 * MIB)
  })

  it('survives a hundred bodies that were given up half read', async () => {
    await put(store, 'half-read.png', noise(4 * MIB))
    for (let i = 0; i < 100; i++) {
      const found = await store.get('half-read.png')
      for await (const chunk of found?.body ?? []) if (chunk.byteLength > 0) break
    }
    expect(await store.head('half-read.png')).toMatchObject({ bytes: 4 * MIB })
  })

  it.each([
    'a b',
    'a+b',
    'a%20b',
    'a%2Fb',
    'ä/ü/日本',
    '😀',
    '?x=1&y',
    '#f',
    `(it's)`,
    '<&>"',
    'a=b;c,d@e:f!g$h*i~j',
    '...',
    '.a',
  ])('keeps the key odd/%s/x as it is', async (name) => {
    const key = `odd/${name}/x`
    await put(store, key, bytes(key), { ifAbsent: true })
    expect(await read(await store.get(key))).toEqual(bytes(key))
    expect(await keys(store.list(`odd/${name}/`))).toEqual([key])
    await store.delete(key)
    expect(await store.head(key)).toBeNull()
  })
}

/** A put that tells the truth about its bytes unless `options` say otherwise. */
export function put(
  store: ObjectStore,
  key: string,
  content: Uint8Array,
  options: Partial<PutOptions> = {},
) {
  return store.put(key, content, {
    sha256: sha256(content),
    contentType: 'image/png',
    ifAbsent: false,
    ...options,
  })
}

export async function read(found: StoredObject | null) {
  if (!found) throw new Error('there is no such object')
  return new Uint8Array(await buffer(found.body))
}

export function sha256(content: Uint8Array) {
  return createHash('sha256').update(content).digest('hex')
}

export function bytes(text: string) {
  return new TextEncoder().encode(text)
}

function noise(length: number) {
  return new Uint8Array(randomBytes(length))
}

async function keys(listed: AsyncIterable<{ key: string }>) {
  const found = []
  for await (const { key } of listed) found.push(key)
  return found
}

async function inGroupsOf<T>(size: number, items: T[], work: (item: T) => Promise<unknown>) {
  for (let i = 0; i < items.length; i += size) await Promise.all(items.slice(i, i + size).map(work))
}
