import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'

interface Lock {
  packages: Record<string, { gypfile?: boolean }>
}

const lock = JSON.parse(
  readFileSync(join(import.meta.dirname, '../package-lock.json'), 'utf8'),
) as Lock

/**
 * The driver's package.json says so, but npm 10 asks the lock file, and `npm install` leaves it out
 * of what it writes: put `"gypfile": false` back there.
 */
it('has a lock file by which npm 10 compiles no SQLite driver, which comes prebuilt', () => {
  expect(lock.packages['node_modules/better-sqlite3']?.gypfile).toBe(false)
})
