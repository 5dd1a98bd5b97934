import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  realpathSync,
  rmSync,
  statSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { migrate } from 'drizzle-orm/better-sqlite3/migrator'
import { LedgerUnavailable } from '../errors.ts'
import * as schema from './schema.ts'
import type { Atomically, Bound, RowsOf } from './statement.ts'

const MIGRATIONS = fileURLToPath(new URL('../../migrations', import.meta.url))

/** How long a start waits for somebody else's write to end: a backup, a shell. Nobody waits for us yet. */
const START_BUSY_MS = 5000
/** How long a list waits for somebody else's write to end. A callback has 2 s to be answered. */
const BUSY_MS = 1000
const BUSY_RETRY_MS = 20
/** Lists that share one transaction at most: it bounds how long the event loop stands still. */
const MOST_LISTS = 256

/** Another process holds this database. */
export class LedgerInUse extends Error {
  override readonly name = 'LedgerInUse'
}

/**
 * Opens, locks and migrates the ledger at `path`. One process at a time: the lock is a transaction held on
 * `<path>.lock`, which the kernel frees when the process dies.
 * @throws LedgerInUse
 */
export function openSqlite(path: string) {
  mkdirSync(dirname(path), { recursive: true })
  // The same file by another name is the same database.
  const lock = holdLock(existsSync(path) ? realpathSync(path) : path)
  const client = new Database(path, { timeout: START_BUSY_MS })
  client.pragma('journal_mode = WAL')
  client.pragma('synchronous = FULL')
  // Else what a row forgets, the secrets of a link, stays readable in the free space of the file.
  client.pragma('secure_delete = ON')
  const db = drizzle(client, { schema })
  migrate(db, { migrationsFolder: MIGRATIONS })
  // A busy timeout would block the event loop; from here on the group commit waits by timer instead.
  client.pragma('busy_timeout = 0')
  return {
    db,
    atomically: groupCommit(client),
    close: () => {
      client.close()
      lock.close()
    },
  }
}

/** There is no ledger where one was to be read. */
export class LedgerMissing extends Error {
  override readonly name = 'LedgerMissing'
}

/**
 * Opens the ledger at `path` for reading, while a service may be writing it: no lock, and no write but into temporary tables.
 * @throws LedgerMissing
 */
export function readSqlite(path: string) {
  if (!existsSync(path)) throw new LedgerMissing(`there is no ledger at ${path}`)
  const client = new Database(path, { readonly: true, timeout: START_BUSY_MS })
  const atomically: Atomically = () => Promise.reject(new Error('this ledger is open for reading only'))
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
 * A new ledger, made in a draft beside `path` and under the lock of `path`. Nothing is at `path` before `finish`; then all of
 * it is, durably. After a crash the draft is made anew.
 * @throws LedgerExists, LedgerInUse
 */
export function buildSqlite(path: string) {
  mkdirSync(dirname(path), { recursive: true })
  const lock = holdLock(path)
  const draft = `${path}.draft`
  const remove = () => COMPANIONS.forEach((suffix) => rmSync(draft + suffix, { force: true }))
  try {
    refuseLeftovers(path)
    remove()
    const client = new Database(draft)
    // Nobody reads a draft, and one that a crash left is thrown away: it need not be durable before it is whole.
    client.pragma('journal_mode = MEMORY')
    client.pragma('synchronous = OFF')
    const db = drizzle(client, { schema })
    migrate(db, { migrationsFolder: MIGRATIONS })
    return {
      db,
      atomically: groupCommit(client),
      finish: () => {
        client.pragma('journal_mode = WAL')
        client.close()
        sync(draft)
        linkSync(draft, path)
        remove()
        sync(dirname(path))
        lock.close()
      },
      abandon: () => {
        client.close()
        remove()
        lock.close()
      },
    }
  } catch (error) {
    lock.close()
    throw error
  }
}

/** What SQLite keeps beside a database. */
const COMPANIONS = ['', '-wal', '-shm', '-journal']

/** A log that is left of a lost database would be played into whatever stands in its place. An empty one would not. */
function refuseLeftovers(path: string) {
  const size = (suffix: string) => statSync(path + suffix, { throwIfNoEntry: false })?.size ?? 0
  const leftover = existsSync(path) ? '' : ['-wal', '-journal'].find((suffix) => size(suffix) > 0)
  if (leftover !== undefined) throw new LedgerExists(`${path}${leftover} exists already, and is left as it is`)
}

function sync(path: string) {
  const file = openSync(path, 'r')
  fsyncSync(file)
  closeSync(file)
}

function holdLock(path: string) {
  const lock = new Database(`${path}.lock`, { timeout: 0 })
  try {
    lock.exec('begin exclusive')
    return lock
  } catch (cause) {
    lock.close()
    throw isBusy(cause) ? new LedgerInUse(`${path} is in use by another process`, { cause }) : cause
  }
}

interface Waiting {
  list: readonly Bound[]
  /** By the clock that nobody sets. */
  since: number
  resolve: (rows: never) => void
  reject: (error: unknown) => void
}

/**
 * Lists that arrive in the same turn of the event loop share one BEGIN IMMEDIATE and one fsync; none is answered before
 * COMMIT returned. If anything throws, all is rolled back and each list runs again in a transaction of its own: no
 * savepoints, because SQLITE_FULL inside one rolls back the whole transaction.
 */
function groupCommit(client: Database.Database): Atomically {
  const run = runner(client)
  let waiting: Waiting[] = []
  let scheduled = false

  const schedule = (delayMs: number) => {
    if (scheduled || waiting.length === 0) return
    scheduled = true
    if (delayMs === 0) setImmediate(flush)
    else setTimeout(flush, delayMs)
  }
  const flush = () => {
    scheduled = false
    const group = waiting.slice(0, MOST_LISTS)
    waiting = waiting.slice(MOST_LISTS)
    const busy = settleGroup(run, group)
    waiting = [...busy, ...waiting]
    schedule(busy.length > 0 ? BUSY_RETRY_MS : 0)
  }
  return <const List extends readonly Bound[]>(list: List) =>
    new Promise<RowsOf<List>>((resolve, reject) => {
      waiting.push({ list, since: performance.now(), resolve: resolve, reject })
      schedule(0)
    })
}

type Run = (lists: readonly (readonly Bound[])[]) => unknown[][][]

/** Runs the group, answers what can be answered, and returns what still waits for the lock. */
function settleGroup(run: Run, group: Waiting[]): Waiting[] {
  try {
    const rows = run(group.map(({ list }) => list))
    group.forEach((one, n) => one.resolve(rows[n] as never))
    return []
  } catch (error) {
    if (isBusy(error)) return group.filter((one) => !givenUp(one, error))
    const [only, ...others] = group
    if (only && others.length === 0) only.reject(isUnavailable(error) ? new LedgerUnavailable(error) : error)
    return others.length === 0 ? [] : group.flatMap((one) => settleGroup(run, [one]))
  }
}

function givenUp(one: Waiting, error: unknown) {
  if (performance.now() - one.since < BUSY_MS) return false
  one.reject(new LedgerUnavailable(error))
  return true
}

function runner(client: Database.Database): Run {
  const prepared = new Map<string, Database.Statement>()
  const begin = client.prepare('begin immediate')
  const commit = client.prepare('commit')
  const rollback = client.prepare('rollback')
  const runOne = ({ statement, params }: Bound) => {
    const known = prepared.get(statement.sql) ?? client.prepare(statement.sql)
    prepared.set(statement.sql, known)
    if (known.reader) return known.all(params)
    known.run(params)
    return []
  }
  return (lists) => {
    begin.run()
    try {
      const rows = lists.map((list) => list.map(runOne))
      commit.run()
      return rows
    } catch (error) {
      if (client.inTransaction) rollback.run()
      throw error
    }
  }
}

const codeOf = (error: unknown) => (error instanceof Database.SqliteError ? error.code : '')
const isBusy = (error: unknown) => /^SQLITE_(?:BUSY|LOCKED)/u.test(codeOf(error))
const isUnavailable = (error: unknown) => /^SQLITE_(?:FULL|IOERR|READONLY|CANTOPEN|NOMEM|PERM)/u.test(codeOf(error))
