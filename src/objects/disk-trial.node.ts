import { randomUUID } from 'node:crypto'
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { TEMP } from './disk.node.ts'

/** A disk that is full or fails may be better by the time that something is put. */
const MAY_PASS = ['ENOSPC', 'EDQUOT', 'EIO', 'EMFILE', 'ENFILE']

/**
 * Does in the store under `directory` what no put can do without, so that what its file system
 * lacks is known before anything is accepted. Hard links are done without.
 * @throws what the file system says, such as EROFS, EACCES, ENOSYS
 */
export function tryDisk(directory: string) {
  const path = join(resolve(directory), TEMP, randomUUID())
  try {
    const file = openSync(path, 'wx')
    try {
      writeSync(file, 'tried')
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    renameSync(path, `${path}.renamed`)
    rmSync(`${path}.renamed`)
  } catch (error) {
    if (!MAY_PASS.includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  } finally {
    rmSync(path, { force: true })
  }
}
