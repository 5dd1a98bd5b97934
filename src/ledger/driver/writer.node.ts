import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import Database from 'better-sqlite3'
import type { Run } from './group-commit.ts'
import { answerTasks, askedThread } from './asked-thread.node.ts'

/** Who writes a ledger. */
export interface Writer {
  run: Run
  close: () => Promise<void>
}

/**
 * How long a start waits for somebody else's write to end: a backup, a shell. Nobody waits for us
 * yet.
 */
export const START_BUSY_MS = 5000
/**
 * Each fsyncs twice: at SQLite's 1,000 pages, every few dozen callbacks of a busy service would
 * wait for one.
 */
const PAGES_BETWEEN_CHECKPOINTS = 4000
const CACHE_KIB = 32 * 1024

/** Opens the ledger at `path` for writing, as it must be written. */
export function openForWriting(path: string) {
  const client = new Database(path, { timeout: START_BUSY_MS })
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
type Step = readonly [sql: string, params: unknown[]]

/** Lists of statements in one transaction; statements are prepared once. */
function transactions(client: Database.Database) {
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

interface Task {
  /** Statements that were not named before: from now on they go by their number, in this order. */
  added: string[]
  lists: [statement: number, params: unknown[]][][]
}

/** Writes on a thread of its own, so that no fsync holds up the event loop. */
export function writerThread(path: string): Writer {
  const numbers = new Map<string, number>()
  const { ask, close } = askedThread<Task, unknown[][][]>(new URL(import.meta.url), {
    writes: path,
  } satisfies Job)
  const numberOf = (sql: string) => {
    const number = numbers.get(sql) ?? numbers.size
    numbers.set(sql, number)
    return number
  }
  let named = 0
  return {
    run: async (groups) => {
      const lists = groups.map((list) =>
        list.map(({ statement, params }): [number, unknown[]] => [numberOf(statement.sql), params]),
      )
      const rows = ask({ added: [...numbers.keys()].slice(named), lists })
      named = numbers.size
      return rows
    },
    close,
  }
}

interface Job {
  writes: string
}

const isJob = (data: unknown): data is Job =>
  typeof data === 'object' && data !== null && 'writes' in data

function serve(port: MessagePort, path: string) {
  const client = openForWriting(path)
  // Whoever asks waits by timer instead.
  client.pragma('busy_timeout = 0')
  const run = transactions(client)
  const statements: string[] = []
  const write = ({ added, lists }: Task) => {
    statements.push(...added)
    return run(lists.map((list) => list.map(([n, params]): Step => [statements[n] ?? '', params])))
  }
  answerTasks(port, write, () => client.close())
}

// This file is what the thread runs, too.
if (parentPort && isJob(workerData)) serve(parentPort, workerData.writes)
