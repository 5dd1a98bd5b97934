import { existsSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { ObjectStore } from '../../src/deps.ts'
import { diskStore } from '../../src/objects/disk.node.ts'
import { bytes, put, read, sha256 } from '../conformance/object-store.ts'

const refusal = vi.hoisted(() => ({ code: 'EPERM' }))
vi.mock('node:fs/promises', async (original) => ({
  ...(await original<typeof import('node:fs/promises')>()),
  link: () => Promise.reject(Object.assign(new Error(refusal.code), refusal)),
}))

describe('a folder without hard links', () => {
  let parent: string
  let folder: string
  let store: ObjectStore
  beforeEach(() => {
    refusal.code = 'EPERM'
    parent = mkdtempSync(join(tmpdir(), 'afterimage-disk-'))
    folder = join(parent, 'objects')
    store = diskStore(folder)
  })
  afterEach(() => rmSync(parent, { recursive: true }))

  const leftovers = () => readdirSync(join(folder, '.tmp'))
  /** What a process makes while it names the object of that key, and leaves when it is killed. */
  const claimOf = (key: string) => join(folder, '.tmp', `${sha256(bytes(join(folder, key)))}.claim`)

  it.each(['EPERM', 'ENOTSUP', 'ENOSYS', 'EMLINK', 'EXDEV', 'EINVAL'])(
    'keeps what it is given, and what was there, where a link is refused with %s',
    async (code) => {
      refusal.code = code
      expect(await put(store, 'a/b.png', bytes('first'), { ifAbsent: true })).toBeNull()
      const there = await put(store, 'a/b.png', bytes('second'), { ifAbsent: true })
      expect(there).toEqual({ bytes: 5, sha256: sha256(bytes('first')) })
      expect(await read(await store.get('a/b.png'))).toEqual(bytes('first'))
      expect(leftovers()).toEqual([])
    },
  )

  it('lets one of many be the first, also of two that share the folder', async () => {
    const stores = [store, diskStore(folder)]
    const texts = Array.from({ length: 20 }, (_, n) => bytes(`version ${n}`))
    const put20 = texts.map((text, n) =>
      put(stores[n % 2] ?? store, 'contested.png', text, { ifAbsent: true }),
    )
    const there = (await Promise.all(put20)).filter((one) => one !== null)
    const kept = await read(await store.get('contested.png'))
    expect(there).toHaveLength(19)
    expect(new Set(there.map(({ sha256 }) => sha256))).toEqual(new Set([sha256(kept)]))
    expect(leftovers()).toEqual([])
  })

  it('waits for whoever is at it, and goes on once they are through', async () => {
    const claim = claimOf('a.png')
    writeFileSync(claim, '')
    const waiting = put(store, 'a.png', bytes('a'), { ifAbsent: true })
    expect(await Promise.race([waiting, delay(100, 'waits')])).toBe('waits')
    rmSync(claim)
    expect(await waiting).toBeNull()
  })

  it('goes on at once where they were killed', async () => {
    const claim = claimOf('a.png')
    writeFileSync(claim, '')
    const before = new Date(Date.now() - 11_000)
    utimesSync(claim, before, before)
    expect(await put(store, 'a.png', bytes('a'), { ifAbsent: true })).toBeNull()
    expect(existsSync(claim)).toBe(false)
  })

  it('says what failed where nothing can be put', async () => {
    await put(store, 'a', bytes('an object, and so no folder'))
    await expect(put(store, 'a/b', bytes('below it'), { ifAbsent: true })).rejects.toThrow('EEXIST')
    expect(leftovers()).toEqual([])
  })
})
