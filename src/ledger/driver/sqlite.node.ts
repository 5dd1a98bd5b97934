import { closeSync, existsSync, fsyncSync, openSync, realpathSync, rmSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import Database from 'better-sqlite3'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { migrate } from 'drizzle-orm/better-sqlite3/migrator'
import { LedgerForeign, MIGRATIONS, refuseFolder, refuseForeign } from './foreign.node.ts'
import { groupCommit, isBusy } from './group-commit.ts'
import { makeFolder, nameFile } from '../../runtime/node/folder.node.ts'
import { onlyInPlace, placesOf } from './in-place.node.ts'
import * as schema from '../schema.ts'
import type { Atomically } from '../statement.ts'
import { openForWriting, START_BUSY_MS, type Writer, writerHere } from './connection.node.ts'

/** Another process holds this database. */
export class LedgerInUse extends Error {
  override readonly name = 'LedgerInUse'
}

/**
 * Opens, locks and migrates the ledger at `path`. One process at a time: the lock is a transaction
 * held on `<path>.lock`, which the kernel frees when the process dies. `writer` says who writes it
 * from then on: by default the connection that reads it, too.
 * @throws LedgerInUse, LedgerForeign
 */
export function openSqlite(
  path: string,
  writer: (path: string, client: Database.Database) => Writer = (_path, client) =>
    writerHere(client),
) {
  makeFolder(dirname(path))
  refuseFolder(path)
  // The same file by another name is the same database.
  const real = existsSync(path) ? realpathSync(path) : path
  const lock = holdLock(real)
  const client = openOurs(path, lock)
  const db = drizzle(client, { schema })
  migrate(db, { migrationsFolder: MIGRATIONS })
  // A busy timeout would block the event loop; from here on the group commit waits by timer
  // instead.
  client.pragma('busy_timeout = 0')
  const { run, close } = writer(path, client)
  // Each of these is needed by whoever opens the ledger next, beside us or after us.
  const places = placesOf([path, `${real}-wal`, `${real}-shm`, `${real}.lock`])
  return {
    db,
    atomically: groupCommit(onlyInPlace(run, places)),
    ...places,
    /** Leaves one file behind, unless somebody else reads it just then. Safe to call again. */
    close: async () => {
      if (!client.open) return
      await close()
      emptyLog(client)
      client.close()
      lock.release()
    },
  }
}

function openOurs(path: string, lock: { release: () => void }) {
  try {
    return openForWriting(path, (client) => refuseForeign(client, path))
  } catch (error) {
    lock.release()
    throw error
  }
}

/** Whoever reads just then keeps the log: secrets would stay in it that the ledger forgot. */
function emptyLog(client: Database.Database) {
  try {
    client.pragma('wal_checkpoint(TRUNCATE)')
  } catch (error) {
    // Where the disk does not take what is in the log, the next start has it from there.
    if (!(error instanceof Database.SqliteError)) throw error
  }
}

/** There is no ledger where one was to be read. */
export class LedgerMissing extends Error {
  override readonly name = 'LedgerMissing'
}

/**
 * Opens the ledger at `path` for reading, while a service may be writing it: no lock, and no write
 * but into temporary tables.
 * @throws LedgerMissing, LedgerForeign
 */
export function readSqlite(path: string) {
  const missing = new LedgerMissing(`there is no ledger at ${resolve(path)} (DATABASE_PATH)`)
  if (!existsSync(path)) throw missing
  refuseFolder(path)
  const client = new Database(path, { readonly: true, timeout: START_BUSY_MS })
  const state = refuseForeign(client, path)
  if (state === 'empty') throw missing
  if (state === 'older')
    throw new LedgerForeign(`${path} was made by an older version: let the service change it first`)
  const atomically: Atomically = () =>
    Promise.reject(new Error('this ledger is open for reading only'))
  return {
    db: drizzle(client, { schema }),
    atomically,
    close: () => {
      client.close()
    },
  }
}

/** Something is where a new ledger was to be made. */
export class LedgerExists extends Error {
  override readonly name = 'LedgerExists'
}

/**
 * A new ledger, made in a draft beside `path` and under the lock of `path`. Nothing is at `path`
 * before `finish`; then all of it is, durably. After a crash the draft is made anew.
 * @throws LedgerExists, LedgerInUse
 */
export function buildSqlite(path: string) {
  makeFolder(dirname(path))
  const lock = holdLock(path)
  const draft = `${path}.draft`
  const remove = () => COMPANIONS.forEach((suffix) => rmSync(draft + suffix, { force: true }))
  try {
    refuseLeftovers(path)
    remove()
    const client = new Database(draft)
    // Nobody reads a draft, and one that a crash left is thrown away: it need not be durable before
    // it is whole.
    client.pragma('journal_mode = MEMORY')
    client.pragma('synchronous = OFF')
    const db = drizzle(client, { schema })
    migrate(db, { migrationsFolder: MIGRATIONS })
    return {
      db,
      atomically: groupCommit(writerHere(client).run),
      finish: () => {
        client.pragma('journal_mode = WAL')
        client.close()
        sync(draft)
        nameFile(draft, path)
        remove()
        lock.release()
      },
      abandon: () => {
        client.close()
        remove()
        lock.release()
      },
    }
  } catch (error) {
    lock.release()
    throw error
  }
}

/** What SQLite keeps beside a database. */
const COMPANIONS = ['', '-wal', '-shm', '-journal']

/**
 * A log that is left of a lost database would be played into whatever stands in its place. An empty
 * one would not.
 */
function refuseLeftovers(path: string) {
  const size = (suffix: string) => statSync(path + suffix, { throwIfNoEntry: false })?.size ?? 0
  const leftover = existsSync(path) ? '' : ['-wal', '-journal'].find((suffix) => size(suffix) > 0)
  if (leftover !== undefined)
    throw new LedgerExists(`${path}${leftover} exists already, and is left as it is`)
}

function sync(path: string) {
  const file = openSync(path, 'r')
  fsyncSync(file)
  closeSync(file)
}

/**
 * Holds `<path>.lock`, and removes it in the end. Whoever had opened it before could then lock a
 * file that nobody else finds any more, beside one who makes it anew: a lock counts only where its
 * file is still in its place.
 * @throws LedgerInUse
 */
export function holdLock(path: string) {
  const file = `${path}.lock`
  for (;;) {
    const found = fileAt(file)
    const lock = lockOn(file, path)
    const isInPlace = () => found !== null && fileAt(file) === found
    if (isInPlace())
      return {
        release: () => {
          if (isInPlace()) rmSync(file)
          lock.close()
        },
      }
    lock.close()
  }
}

/** Tells files of one name apart: the number of a removed one is given again, its birth is not. */
function fileAt(path: string) {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false })
  return found ? [found.dev, found.ino, found.birthtimeNs].join(' ') : null
}

function lockOn(file: string, path: string) {
  const lock = new Database(file, { timeout: 0 })
  try {
    lock.exec('begin exclusive')
    return lock
  } catch (cause) {
    lock.close()
    if (cause instanceof Database.SqliteError && cause.code === 'SQLITE_NOTADB')
      throw new LedgerForeign(`${file} is no lock of ours: remove it`, { cause })
    throw isBusy(cause) ? new LedgerInUse(`${path} is in use by another process`, { cause }) : cause
  }
}
