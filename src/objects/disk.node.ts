import { randomUUID } from 'node:crypto'
import { readdirSync, rmSync, statSync } from 'node:fs'
import { link, mkdir, open, readdir, readFile, rename, rm, stat, unlink } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { ByteRange, ObjectFacts, ObjectStore, PutOptions } from '../deps.ts'
import { isUnableToSync, makeFolder } from '../runtime/node/folder.node.ts'

/** The folder, below that of the store, of what has no name yet. */
export const TEMP = '.tmp'

/**
 * Far longer than a write takes: another process may be writing into the same folder as we start.
 */
const STALE_MS = 60 * 60 * 1000

/**
 * Objects as files under `directory`, which is made if it is not there. Throws at once where it
 * cannot be written. Keys are relative paths: one that leaves the folder is refused, and none can
 * be a folder of other keys too. Content types are not kept. The file system must be one from
 * `directory` down.
 */
export function diskStore(directory: string): ObjectStore {
  const root = resolve(directory)
  makeFolder(join(root, TEMP))
  removeStale(join(root, TEMP))
  return new DiskStore(root)
}

class DiskStore implements ObjectStore {
  private readonly root: string

  constructor(root: string) {
    this.root = root
  }

  async put(key: string, bytes: Uint8Array, { sha256, ifAbsent }: PutOptions) {
    const path = this.pathOf(key)
    await refuseOtherBytes(bytes, sha256)
    const temp = join(this.root, TEMP, randomUUID())
    let there: ObjectFacts | null = null
    try {
      await writeDurably(temp, bytes)
      await mkdir(dirname(path), { recursive: true })
      if (!ifAbsent) await rename(temp, path)
      else if (!(await this.named(temp, path))) there = await factsOf(path)
    } finally {
      await rm(temp, { force: true })
    }
    await this.syncFolders(dirname(path))
    return there
  }

  /** False where something has that name already. */
  private async named(temp: string, path: string) {
    try {
      await link(temp, path)
      return true
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return false
    }
    // Where the file system knows no hard links, whoever has the claim may look and then rename.
    const claim = join(this.root, TEMP, `${await sha256Of(Buffer.from(path))}.claim`)
    return claimed(claim, async () => {
      if (await orNull(stat(path))) return false
      await rename(temp, path)
      return true
    })
  }

  async get(key: string, range?: ByteRange) {
    const handle = await orNull(open(this.pathOf(key)))
    const stats = await handle?.stat()
    if (!handle || !stats?.isFile()) {
      await handle?.close()
      return null
    }
    return { bytes: stats.size, body: Readable.toWeb(handle.createReadStream(range)) }
  }

  async head(key: string) {
    const stats = await orNull(stat(this.pathOf(key)))
    return stats?.isFile() ? { bytes: stats.size } : null
  }

  async delete(key: string) {
    const path = this.pathOf(key)
    if (await this.head(key)) {
      await orNull(unlink(path))
      await this.syncFolders(dirname(path))
    }
  }

  async *list(prefix: string) {
    const folder = prefix.slice(0, prefix.lastIndexOf('/') + 1)
    if (folder !== '') this.pathOf(folder.slice(0, -1))
    yield* this.walk(folder, prefix)
  }

  private async *walk(
    folder: string,
    prefix: string,
  ): AsyncGenerator<{ key: string; bytes: number }> {
    const entries = await orNull(readdir(join(this.root, folder), { withFileTypes: true }))
    for (const entry of entries ?? []) {
      const key = folder + entry.name
      if (entry.isDirectory()) {
        if (key !== TEMP && `${key}/`.startsWith(prefix)) yield* this.walk(`${key}/`, prefix)
      } else if (key.startsWith(prefix)) {
        const found = await this.head(key)
        if (found) yield { key, ...found }
      }
    }
  }

  private pathOf(key: string) {
    if (!isKey(key)) throw new Error(`not a key of this store: ${JSON.stringify(key)}`)
    return join(this.root, key)
  }

  /**
   * fsync(2): an entry is durable once its folder is, and each folder is an entry in the one above
   * it.
   */
  private async syncFolders(folder: string) {
    for (let at = folder; at.length >= this.root.length; at = dirname(at)) await syncFolder(at)
  }
}

function isKey(key: string) {
  const segments = key.split('/')
  const strays =
    segments.some((segment) => ['', '.', '..'].includes(segment)) ||
    key.includes('\\') ||
    key.includes('\0')
  return !strays && segments[0]?.toLowerCase() !== TEMP
}

async function sha256Of(bytes: Uint8Array) {
  return Buffer.from(await crypto.subtle.digest('SHA-256', bytes)).toString('hex')
}

/** Read again: a disk can be asked what it really has. A folder is no object. */
async function factsOf(path: string): Promise<ObjectFacts> {
  const bytes = await readFile(path)
  return { bytes: bytes.byteLength, sha256: await sha256Of(bytes) }
}

async function refuseOtherBytes(bytes: Uint8Array, sha256: string) {
  const actual = await sha256Of(bytes)
  if (actual !== sha256) throw new Error(`refused bytes whose SHA-256 is ${actual}, not ${sha256}`)
}

async function writeDurably(path: string, bytes: Uint8Array) {
  const handle = await open(path, 'wx')
  try {
    await handle.writeFile(bytes)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Far longer than a look and a rename take: whoever made the claim is dead. */
const CLAIM_MS = 10_000
const CLAIM_RETRY_MS = 10

/** One at a time does `work`, in this process and in others: who makes the file has the claim. */
async function claimed<T>(claim: string, work: () => Promise<T>): Promise<T> {
  while (!(await isMade(claim))) {
    const stats = await orNull(stat(claim))
    const isStale = stats && Math.abs(Date.now() - stats.mtimeMs) > CLAIM_MS
    await (isStale ? rm(claim, { force: true }) : delay(CLAIM_RETRY_MS))
  }
  try {
    return await work()
  } finally {
    await rm(claim, { force: true })
  }
}

async function isMade(claim: string) {
  try {
    await (await open(claim, 'wx')).close()
    return true
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    throw error
  }
}

async function syncFolder(folder: string) {
  const handle = await open(folder)
  try {
    await handle.sync()
  } catch (error) {
    if (!isUnableToSync(error)) throw error
  } finally {
    await handle.close()
  }
}

function removeStale(temp: string) {
  for (const name of readdirSync(temp)) {
    const path = join(temp, name)
    const stats = statSync(path, { throwIfNoEntry: false })
    if (stats && stats.mtimeMs < Date.now() - STALE_MS) rmSync(path, { force: true })
  }
}

/** ENOTDIR: a segment of the path is an object itself. */
async function orNull<T>(asked: Promise<T>) {
  try {
    return await asked
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(codeOf(error) ?? '')) return null
    throw error
  }
}

function codeOf(error: unknown) {
  return (error as NodeJS.ErrnoException).code
}
