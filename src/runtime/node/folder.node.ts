import { existsSync, mkdirSync } from 'node:fs'
import { dirname, resolve } from 'node:path'

/**
 * Makes the first missing folder on the way to `path`, so that the rest can be made with
 * `recursive`. Node's recursive mkdir never ends where the first one is answered ENOENT, as it is
 * below /proc.
 * @throws what mkdir throws, such as ENOENT, EACCES, EROFS
 */
export function assureWayTo(path: string) {
  const missing = firstMissing(resolve(path))
  if (missing === null) return
  try {
    mkdirSync(missing)
  } catch (error) {
    // Another process that starts just now was first.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

function firstMissing(path: string): string | null {
  if (existsSync(path)) return null
  return firstMissing(dirname(path)) ?? path
}
