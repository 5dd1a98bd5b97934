import { LedgerUnavailable } from '../../errors.ts'
import type { Atomically, Bound, RowsOf } from '../statement.ts'

/**
 * Runs lists in one transaction, all or none, and resolves with the rows of each once they are
 * durable.
 */
export type Run = (lists: readonly (readonly Bound[])[]) => Promise<unknown[][][]>

/** How long a list waits for somebody else's write to end. A callback has 2 s to be answered. */
const BUSY_MS = 1000
const BUSY_RETRY_MS = 20
/** Lists that share one transaction at most: it bounds how long those of the next one wait. */
const MOST_LISTS = 256

interface Waiting {
  list: readonly Bound[]
  /** By the clock that nobody sets. */
  since: number
  resolve: (rows: never) => void
  reject: (error: unknown) => void
}

/**
 * Lists that arrive in the same turn of the event loop, or while others are written, share one
 * BEGIN IMMEDIATE and one fsync; none is answered before COMMIT returned. If anything throws, all
 * is rolled back and each list runs again in a transaction of its own: no savepoints, because
 * SQLITE_FULL inside one rolls back the whole transaction.
 */
export function groupCommit(run: Run): Atomically {
  let waiting: Waiting[] = []
  let scheduled = false

  const schedule = (delayMs: number) => {
    if (scheduled || waiting.length === 0) return
    scheduled = true
    if (delayMs === 0) setImmediate(() => void flush())
    else setTimeout(() => void flush(), delayMs)
  }
  const flush = async () => {
    const group = waiting.slice(0, MOST_LISTS)
    waiting = waiting.slice(MOST_LISTS)
    const busy = await settleGroup(run, group)
    waiting = [...busy, ...waiting]
    scheduled = false
    schedule(busy.length > 0 ? BUSY_RETRY_MS : 0)
  }
  return <const List extends readonly Bound[]>(list: List) =>
    new Promise<RowsOf<List>>((resolve, reject) => {
      waiting.push({ list, since: performance.now(), resolve: resolve, reject })
      schedule(0)
    })
}

/**
 * Runs the group, answers what can be answered, and resolves with what still waits for the lock.
 * Never rejects.
 */
async function settleGroup(run: Run, group: Waiting[]): Promise<Waiting[]> {
  try {
    const rows = await run(group.map(({ list }) => list))
    group.forEach((one, n) => one.resolve(rows[n] as never))
    return []
  } catch (error) {
    if (isBusy(error)) return group.filter((one) => !givenUp(one, error))
    const [only, ...others] = group
    if (only && others.length === 0)
      only.reject(isUnavailable(error) ? new LedgerUnavailable(error) : error)
    return others.length === 0 ? [] : oneByOne(run, group)
  }
}

async function oneByOne(run: Run, group: Waiting[]) {
  const busy: Waiting[] = []
  for (const one of group) busy.push(...(await settleGroup(run, [one])))
  return busy
}

function givenUp(one: Waiting, error: unknown) {
  if (performance.now() - one.since < BUSY_MS) return false
  one.reject(new LedgerUnavailable(error))
  return true
}

/** SQLite's own codes: https://www.sqlite.org/rescode.html */
const codeOf = (error: unknown) =>
  error instanceof Error && 'code' in error ? String(error.code) : ''
export const isBusy = (error: unknown) => /^SQLITE_(?:BUSY|LOCKED)/u.test(codeOf(error))
const isUnavailable = (error: unknown) =>
  /^SQLITE_(?:FULL|IOERR|READONLY|CANTOPEN|NOMEM|PERM|CORRUPT|NOTADB)/u.test(codeOf(error))
