import { closeSync, existsSync, fsyncSync, openSync, realpathSync, rmSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { migrate } from 'drizzle-orm/better-sqlite3/migrator'
import { groupCommit, isBusy } from './group-commit.ts'
import { makeFolder, nameFile } from '../../runtime/node/folder.node.ts'
import * as schema from '../schema.ts'
import type { Atomically } from '../statement.ts'
import { openForWriting, START_BUSY_MS, type Writer, writerHere } from './connection.node.ts'

const MIGRATIONS = fileURLToPath(new URL('../../../migrations', import.meta.url))

/** Another process holds this database. */
export class LedgerInUse extends Error {
  override readonly name = 'LedgerInUse'
}

/**
 * Opens, locks and migrates the ledger at `path`. One process at a time: the lock is a transaction
 * held on `<path>.lock`, which the kernel frees when the process dies. `writer` says who writes it
 * from then on: by default the connection that reads it, too.
 * @throws LedgerInUse
 */
export function openSqlite(
  path: string,
  writer: (path: string, client: Database.Database) => Writer = (_path, client) =>
    writerHere(client),
) {
  makeFolder(dirname(path))
  // The same file by another name is the same database.
  const lock = holdLock(existsSync(path) ? realpathSync(path) : path)
  const client = openForWriting(path)
  const db = drizzle(client, { schema })
  migrate(db, { migrationsFolder: MIGRATIONS })
  // A busy timeout would block the event loop; from here on the group commit waits by timer
  // instead.
  client.pragma('busy_timeout = 0')
  const { run, close } = writer(path, client)
  return {
    db,
    atomically: groupCommit(run),
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
 * @throws LedgerMissing
 */
export function readSqlite(path: string) {
  if (!existsSync(path))
    throw new LedgerMissing(`there is no ledger at ${resolve(path)} (DATABASE_PATH)`)
  const client = new Database(path, { readonly: true, timeout: START_BUSY_MS })
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
    throw isBusy(cause) ? new LedgerInUse(`${path} is in use by another process`, { cause }) : cause
  }
}
