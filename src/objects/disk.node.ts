import { randomUUID } from 'node:crypto'
import { readdirSync, rmSync, statSync } from 'node:fs'
import { link, mkdir, open, readdir, rename, rm, stat, unlink } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import type { ByteRange, ObjectStore, PutOptions } from '../deps.ts'
import { makeFolder } from '../runtime/node/folder.node.ts'

const TEMP = '.tmp'

/**
 * Far longer than a write takes: another process may be writing into the same folder as we start.
 */
const STALE_MS = 60 * 60 * 1000

/**
 * Objects as files under `directory`, which is made if it is not there. Throws at once where it
 * cannot be written. Keys are relative paths: one that leaves the folder is refused, and none can
 * be a folder of other keys too. Content types are not kept. The file system must know hard links
 * and be one from `directory` down.
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
    try {
      await writeDurably(temp, bytes)
      await mkdir(dirname(path), { recursive: true })
      await (ifAbsent ? linkUnlessThere(temp, path) : rename(temp, path))
    } finally {
      await rm(temp, { force: true })
    }
    await this.syncFolders(dirname(path))
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

async function refuseOtherBytes(bytes: Uint8Array, sha256: string) {
  const digest = await crypto.subtle.digest('SHA-256', bytes)
  const actual = Buffer.from(digest).toString('hex')
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

async function linkUnlessThere(temp: string, path: string) {
  try {
    await link(temp, path)
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
  }
}

async function syncFolder(folder: string) {
  const handle = await open(folder)
  try {
    await handle.sync()
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
