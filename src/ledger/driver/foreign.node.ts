import { statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import { readMigrationFiles } from 'drizzle-orm/migrator'

export const MIGRATIONS = fileURLToPath(new URL('../../../migrations', import.meta.url))

/** What stands where the ledger is to be is none, or none that this version may open. */
export class LedgerForeign extends Error {
  override readonly name = 'LedgerForeign'
}

/** @throws LedgerForeign */
export function refuseFolder(path: string) {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory())
    throw new LedgerForeign(`${path} is a folder`)
}

/**
 * Looks at a database before anything is written to it. Migrating knows only when the last
 * migration was made: it would put our tables beside those of somebody else, make them a second
 * time, or leave a newer ledger to an older program. Returns how far it is made.
 * @throws LedgerForeign
 */
export function refuseForeign(client: Database.Database, path: string) {
  const done = migrationsDone(client, path)
  const ours = readMigrationFiles({ migrationsFolder: MIGRATIONS })
  const isOurs = done.every(({ hash }, n) => n >= ours.length || hash === ours[n]?.hash)
  if (!isOurs)
    throw new LedgerForeign(
      `${path} was made by migrations other than those of this version: ` +
        'start the version that made it, or make the ledger again by afterimage rebuild',
    )
  if (done.length > ours.length)
    throw new LedgerForeign(`${path} was made by a newer version of Afterimage: start that one`)
  return done.length === 0 ? 'empty' : done.length < ours.length ? 'older' : 'ours'
}

const TABLE = '__drizzle_migrations'

/** In their order; none in a database that is empty. */
function migrationsDone(client: Database.Database, path: string) {
  const tables = reading(path, () =>
    client.prepare("select name from sqlite_master where type = 'table'").pluck().all(),
  )
  if (tables.includes(TABLE))
    return reading(path, () =>
      client.prepare(`select hash from ${TABLE} order by created_at, rowid`).all(),
    ) as { hash: string }[]
  if (tables.length === 0) return []
  throw new LedgerForeign(`${path} is a database, and no ledger of Afterimage`)
}

function reading(path: string, read: () => unknown[]) {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof Database.SqliteError)) throw error
    if (error.code === 'SQLITE_NOTADB')
      throw new LedgerForeign(`${path} is no SQLite database, or an encrypted one`)
    if (error.code.startsWith('SQLITE_CORRUPT'))
      throw new LedgerForeign(
        `${path} is damaged: restore a backup, or make it again by afterimage rebuild`,
      )
    if (error.code === 'SQLITE_ERROR')
      throw new LedgerForeign(`${path} is a database, and no ledger of Afterimage`)
    throw error
  }
}
