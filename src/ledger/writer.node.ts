import { type MessagePort, parentPort, Worker, workerData } from 'node:worker_threads'
import Database from 'better-sqlite3'
import type { Run } from './group-commit.ts'

/** Who writes a ledger. */
export interface Writer {
  run: Run
  close: () => Promise<void>
}

/** How long a start waits for somebody else's write to end: a backup, a shell. Nobody waits for us yet. */
export const START_BUSY_MS = 5000
/** Each fsyncs twice: at SQLite's 1,000 pages, every few dozen callbacks of a busy service would wait for one. */
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
      Promise.resolve(run(lists.map((list) => list.map(({ statement, params }): Step => [statement.sql, params])))),
    close: () => Promise.resolve(),
  }
}

/** What is asked of the writing thread; null: to close. */
type Task = {
  /** Statements that were not named before: from now on they go by their number, in this order. */
  added: string[]
  lists: [statement: number, params: unknown[]][][]
} | null

type Answer = { rows: unknown[][][] } | { error: { message: string; code: string } }

/**
 * Writes on a thread of its own, so that no fsync holds up the event loop. A thread that ends unasked ends the process with
 * it: nothing could be kept any more, and the next start finds all that was answered.
 */
export function writerThread(path: string): Writer {
  const numbers = new Map<string, number>()
  const thread = new Worker(new URL(import.meta.url), { workerData: { writes: path } satisfies Job })
  const ended = new Promise<void>((resolve) => thread.once('exit', () => resolve()))
  let waiting: { resolve: (rows: unknown[][][]) => void; reject: (error: Error) => void } | null = null
  let closing = false
  thread
    .on('message', (answer: Answer) => {
      const { resolve, reject } = waiting ?? neverAsked()
      waiting = null
      if ('rows' in answer) resolve(answer.rows)
      else reject(new Database.SqliteError(answer.error.message, answer.error.code))
    })
    .on('error', (error) => {
      throw error
    })
    .on('exit', () => {
      if (!closing) throw new Error('the thread that writes the ledger has ended')
    })

  return {
    run: (lists) =>
      new Promise((resolve, reject) => {
        if (closing) throw new Error('the ledger is closed')
        waiting = { resolve, reject }
        const known = numbers.size
        const numbered = lists.map((list) =>
          list.map(({ statement, params }): [number, unknown[]] => [numberOf(statement.sql), params]),
        )
        thread.postMessage({ added: [...numbers.keys()].slice(known), lists: numbered } satisfies Task)
      }),
    close: async () => {
      closing = true
      thread.postMessage(null satisfies Task)
      await ended
    },
  }

  function numberOf(sql: string) {
    const number = numbers.get(sql) ?? numbers.size
    numbers.set(sql, number)
    return number
  }
}

function neverAsked(): never {
  throw new Error('the thread that writes the ledger answered what it was not asked')
}

interface Job {
  writes: string
}

const isJob = (data: unknown): data is Job => typeof data === 'object' && data !== null && 'writes' in data

function serve(port: MessagePort, path: string) {
  const client = openForWriting(path)
  // Whoever asks waits by timer instead.
  client.pragma('busy_timeout = 0')
  const run = transactions(client)
  const statements: string[] = []
  port.on('message', (task: Task) => {
    if (task === null) {
      client.close()
      port.close()
      return
    }
    statements.push(...task.added)
    port.postMessage(answer(task.lists))
  })

  function answer(lists: NonNullable<Task>['lists']): Answer {
    try {
      return { rows: run(lists.map((list) => list.map(([n, params]): Step => [statements[n] ?? '', params]))) }
    } catch (error) {
      // Anything else is a fault of ours, and ends the thread.
      if (!(error instanceof Database.SqliteError)) throw error
      return { error: { message: error.message, code: error.code } }
    }
  }
}

// This file is what the thread runs, too.
if (parentPort && isJob(workerData)) serve(parentPort, workerData.writes)
