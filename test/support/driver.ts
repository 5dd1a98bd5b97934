import Database from 'better-sqlite3'
import { inject } from 'vitest'
import { d1Driver } from '../../src/ledger/driver/d1.ts'
import type { LedgerDriver } from '../../src/ledger/ledger.ts'
import { openSqlite } from '../../src/ledger/driver/sqlite.node.ts'
import { type D1Call, d1Over } from './d1.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Where the D1 databases of the tests are; nothing outside of the project `d1`. */
    d1Url?: string
  }
}

/** Where a test keeps its ledger. */
export interface LedgerPlace {
  open: () => LedgerDriver & { close: () => Promise<void> }
  /** The file, opened last: no other driver has one. */
  readonly sqlite: ReturnType<typeof openSqlite>
  /** Every request to D1 so far; none where the ledger is a file. */
  readonly requests: D1Call[]
  /** What others read: what is not committed is not there. */
  committed: (query: string) => Promise<unknown[]>
  /** From now on the ledger takes no writes, until the returned function is called. */
  refuseWrites: () => () => void
  /** To be called when the ledger is closed for good. */
  release: () => void
}

const d1Url = inject('d1Url')

/** Whether this run keeps its ledgers in D1. */
export const onD1 = d1Url !== undefined

export const ledgerPlace = (path: string): LedgerPlace =>
  d1Url === undefined ? filePlace(path) : d1Place(d1Url)

function filePlace(path: string): LedgerPlace {
  let opened: ReturnType<typeof openSqlite> | undefined
  const sqlite = () => {
    if (!opened) throw new Error('the ledger was not opened')
    return opened
  }
  return {
    open: () => (opened = openSqlite(path)),
    get sqlite() {
      return sqlite()
    },
    requests: [],
    committed: (query) => {
      const reader = new Database(path, { readonly: true })
      const rows = reader.prepare(query).all()
      reader.close()
      return Promise.resolve(rows)
    },
    refuseWrites: () => {
      const client = sqlite().db.$client
      client.pragma('query_only = on')
      return () => void client.pragma('query_only = off')
    },
    release: () => undefined,
  }
}

const TABLES = [
  'callbacks',
  'events',
  'gate',
  'generations',
  'heartbeat',
  'images',
  'nsfw_reports',
  'offers',
]

/** Databases in use by this process, by number. */
const taken = new Set<number>()

function d1Place(url: string): LedgerPlace {
  const number = [0, 1].find((one) => !taken.has(one))
  if (number === undefined) throw new Error('a test has more worlds than there are databases')
  taken.add(number)
  const database = `${url}d1_${process.env['VITEST_POOL_ID'] ?? ''}_${number}`
  const requests: D1Call[] = []
  let emptied: Promise<unknown> | undefined
  let state: 'open' | 'read-only' | 'released' = 'open'
  const bare = d1Over(database, () => undefined)
  const d1 = d1Over(database, async (call) => {
    requests.push(call)
    if (state === 'released') throw new Error('a test goes on after its end')
    if (call.kind === 'batch' && state === 'read-only')
      throw new Error('D1_ERROR: Network connection lost.')
    await (emptied ??= bare.batch(TABLES.map((table) => bare.prepare(`delete from ${table}`))))
  })
  return {
    open: () => ({ ...d1Driver(d1), close: () => Promise.resolve() }),
    get sqlite(): never {
      throw new Error('this ledger is no file')
    },
    requests,
    committed: async (query) =>
      ((await bare.prepare(query).all()) as { results: unknown[] }).results,
    refuseWrites: () => {
      state = 'read-only'
      return () => void (state = 'open')
    },
    release: () => {
      state = 'released'
      taken.delete(number)
    },
  }
}
