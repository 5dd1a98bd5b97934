import Database from 'better-sqlite3'
import type { Run } from './group-commit.ts'

/** Who writes a ledger. */
export interface Writer {
  run: Run
  close: () => Promise<void>
}

/** How long a start waits for somebody else's write to end. Nobody waits for us yet. */
export const START_BUSY_MS = 5000
/** Each fsyncs twice: at SQLite's 1,000 pages, every few dozen callbacks would wait for one. */
const PAGES_BETWEEN_CHECKPOINTS = 4000
const CACHE_KIB = 32 * 1024

/**
 * Opens the ledger at `path` for writing, as it must be written. `look` sees it before anything is
 * changed, and may refuse it by an error.
 */
export function openForWriting(path: string, look: (client: Database.Database) => void = () => {}) {
  const client = new Database(path, { timeout: START_BUSY_MS })
  try {
    look(client)
  } catch (error) {
    client.close()
    throw error
  }
  client.pragma('journal_mode = WAL')
  client.pragma('synchronous = FULL')
  // Else what a row forgets, the secrets of a link, stays readable in the free space of the file.
  client.pragma('secure_delete = ON')
  client.pragma(`wal_autocheckpoint = ${PAGES_BETWEEN_CHECKPOINTS}`)
  client.pragma(`cache_size = -${CACHE_KIB}`)
  // What undoes a single statement of a long transaction would be written to a file.
  client.pragma('temp_store = MEMORY')
  return client
}

/** A statement as it can be handed to another thread. */
export type Step = readonly [sql: string, params: unknown[]]

/** Lists of statements in one transaction; statements are prepared once. */
export function transactions(client: Database.Database) {
  const prepared = new Map<string, Database.Statement>()
  const begin = client.prepare('begin immediate')
  const commit = client.prepare('commit')
  const rollback = client.prepare('rollback')
  const runOne = ([sql, params]: Step): unknown[] => {
    const known = prepared.get(sql) ?? client.prepare(sql)
    prepared.set(sql, known)
    if (known.reader) return known.all(params)
    known.run(params)
    return []
  }
  return (lists: readonly (readonly Step[])[]) => {
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

/** Writes on a connection of this thread: nothing else happens here meanwhile. */
export function writerHere(client: Database.Database): Writer {
  const run = transactions(client)
  return {
    run: async (lists) =>
      Promise.resolve(
        run(
          lists.map((list) => list.map(({ statement, params }): Step => [statement.sql, params])),
        ),
      ),
    close: () => Promise.resolve(),
  }
}
