import { once } from 'node:events'
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setImmediate } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { diskStore } from '../../src/objects/disk.node.ts'
import type { ObjectStore } from '../../src/deps.ts'
import { bytes, put, read, sha256 } from '../conformance/object-store.ts'
import { spawnTypeScript } from '../support/typescript-child.ts'

const LENGTH = 6 * 1024 * 1024
const KEEP_WRITING = new URL('../support/objects/keep-writing.ts', import.meta.url)

describe('a folder of objects', () => {
  let parent: string
  let folder: string
  let store: ObjectStore
  beforeEach(() => {
    parent = mkdtempSync(join(tmpdir(), 'afterimage-disk-'))
    folder = join(parent, 'data', 'objects')
    store = diskStore(folder)
  })
  afterEach(() => rmSync(parent, { recursive: true }))

  it.each([
    '../outside',
    'a/../../outside',
    'a/..',
    '..',
    '.',
    'a/./b',
    '/etc/passwd',
    '',
    'a//b',
    'a/',
    'a\\..\\b',
    'a\0b',
    '.tmp/a',
    '.TMP/a',
  ])('refuses the key %j at every door', async (key) => {
    const refusal = 'not a key of this store'
    await expect(put(store, key, bytes('x'))).rejects.toThrow(refusal)
    await expect(store.get(key)).rejects.toThrow(refusal)
    await expect(store.head(key)).rejects.toThrow(refusal)
    await expect(store.delete(key)).rejects.toThrow(refusal)
    expect(readdirSync(parent)).toEqual(['data'])
    expect(readdirSync(join(parent, 'data'))).toEqual(['objects'])
  })

  it.each(['../', '/', '/etc/', 'a/../../', '.tmp/', 'a//'])(
    'refuses to list the prefix %j',
    async (prefix) => {
      await expect(keysOf(store, prefix)).rejects.toThrow('not a key of this store')
    },
  )

  it('lists no file that is still being written', async () => {
    writeFileSync(join(folder, '.tmp', 'half-written'), 'half')
    expect(await keysOf(store, '')).toEqual([])
    expect(await keysOf(store, '.tmp')).toEqual([])
  })

  it('leaves no partial object when it is killed in the middle of writing', async () => {
    for (let round = 0; round < 2; round++) {
      const promised = await killWhileWriting(folder)
      const kept = await keysOf(store, 'sha256/')
      for (const key of kept) expect(sha256(await read(await store.get(key)))).toBe(basename(key))
      expect(kept).toEqual(expect.arrayContaining(promised))
    }
    expect(readdirSync(join(folder, '.tmp'))).not.toEqual([])
  }, 60_000)

  it('removes what a killed process left behind, and nothing that is being written now', async () => {
    await put(store, 'kept.png', bytes('kept'))
    const [stale, fresh] = ['stale', 'fresh'].map((name) => join(folder, '.tmp', name)) as [
      string,
      string,
    ]
    for (const path of [stale, fresh]) writeFileSync(path, 'half')
    const twoHoursAgo = new Date(Date.now() - 2 * 60 * 60 * 1000)
    for (const path of [stale, join(folder, 'kept.png')]) utimesSync(path, twoHoursAgo, twoHoursAgo)
    const again = diskStore(folder)
    expect([existsSync(stale), existsSync(fresh)]).toEqual([false, true])
    expect(await read(await again.get('kept.png'))).toEqual(bytes('kept'))
  })

  it('leaves nothing behind of a put that failed', async () => {
    await put(store, 'a', bytes('an object, and so no folder'))
    await expect(put(store, 'a/b', bytes('below it'))).rejects.toThrow('EEXIST')
    await expect(put(store, 'c', bytes('c'), { sha256: sha256(bytes('d')) })).rejects.toThrow(
      'refused bytes',
    )
    expect(readdirSync(join(folder, '.tmp'))).toEqual([])
  })

  it('throws at start where the folder cannot be made', () => {
    writeFileSync(join(parent, 'a-file'), '')
    expect(() => diskStore(join(parent, 'a-file', 'objects'))).toThrow('ENOTDIR')
  })

  it.runIf(process.platform === 'linux')(
    'closes its file at the end, on cancel, and where it is a folder',
    async () => {
      await put(store, 'folder/object', new Uint8Array(1024 * 1024))
      await read(await store.get('folder/object'))
      await (await store.get('folder/object'))?.body.cancel()
      await store.get('folder')
      await expect.poll(() => openFilesBelow(folder)).toEqual([])
    },
  )
})

/**
 * Kills it as soon as a file is seen half written. Resolves to what it had said was durable by
 * then.
 */
async function killWhileWriting(folder: string) {
  const child = spawnTypeScript(KEEP_WRITING, [folder, String(LENGTH)])
  const said = text(child.stdout)
  const failure = text(child.stderr)
  await Promise.race([once(child.stdout, 'data'), once(child, 'exit')])
  while (child.exitCode === null && !seesHalfWritten(folder)) await setImmediate()
  child.kill('SIGKILL')
  expect(await failure).toBe('')
  return (await said).split('\n').slice(0, -1)
}

function seesHalfWritten(folder: string) {
  const entries = readdirSync(folder, { withFileTypes: true, recursive: true })
  return entries.some((entry) => {
    const stats =
      entry.isFile() && statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })
    return stats && Date.now() - stats.mtimeMs < 1000 && stats.size > 0 && stats.size < LENGTH
  })
}

function openFilesBelow(folder: string) {
  const links = readdirSync('/proc/self/fd').map((fd) => {
    const path = join('/proc/self/fd', fd)
    return existsSync(path) ? readlinkSync(path) : ''
  })
  return links.filter((path) => path.startsWith(dirname(folder)))
}

async function keysOf(store: ObjectStore, prefix: string) {
  const keys = []
  for await (const { key } of store.list(prefix)) keys.push(key)
  return keys
}
