import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { dirname, resolve } from 'node:path'

/**
 * Makes every folder that is missing on the way to `path`, and `path` itself, so that a power cut
 * takes none of them away again: each is fsynced, and the one above it, in which it is an entry.
 * One by one, as Node's recursive mkdir never ends where the first one is answered ENOENT, as it is
 * below /proc.
 * @throws what mkdir throws, such as ENOENT, EACCES, EROFS
 */
export function makeFolder(path: string) {
  const folder = resolve(path)
  if (existsSync(folder)) return
  makeFolder(dirname(folder))
  try {
    mkdirSync(folder)
  } catch (error) {
    // Another process that starts just now was first.
    if (codeOf(error) !== 'EEXIST') throw error
  }
  syncFolder(folder)
  syncFolder(dirname(folder))
}

/** fsync(2): an entry is durable once its folder is. */
export function syncFolder(folder: string) {
  let handle: number | undefined
  try {
    handle = openSync(folder, 'r')
    fsyncSync(handle)
  } catch (error) {
    if (!isUnableToSync(error)) throw error
  } finally {
    if (handle !== undefined) closeSync(handle)
  }
}

const UNABLE = ['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EISDIR', 'EPERM', 'EACCES']

/**
 * Whether a folder could not be synced because nobody can: some file systems do not know it, and a
 * folder may be ours to write in and not to read. Its entries are as durable there as they get.
 */
export const isUnableToSync = (error: unknown) => UNABLE.includes(codeOf(error) ?? '')

/**
 * Gives a finished file its name, durably, where nothing has that name yet. Without hard links it
 * is looked for first: of two that do this at once, the second is to be kept away by a lock.
 * @throws EEXIST, and then the draft is still there
 */
export function nameFile(draft: string, path: string) {
  try {
    linkSync(draft, path)
  } catch (error) {
    if (codeOf(error) === 'EEXIST') throw error
    if (existsSync(path))
      throw Object.assign(new Error(`EEXIST: ${path} is there already`), { code: 'EEXIST' })
    renameSync(draft, path)
  }
  rmSync(draft, { force: true })
  syncFolder(dirname(path))
}

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code
