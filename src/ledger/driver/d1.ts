import { drizzle } from 'drizzle-orm/d1'
import { LedgerUnavailable } from '../../errors.ts'
import type { LedgerDriver } from '../ledger.ts'
import * as schema from '../schema.ts'
import type { Bound, RowsOf } from '../statement.ts'

/** As much of Cloudflare's D1 binding as we and drizzle use. */
export interface D1Database {
  prepare(sql: string): D1Statement
  batch(statements: D1Statement[]): Promise<{ results: unknown[] }[]>
}

interface D1Statement {
  bind(...values: unknown[]): D1Statement
  all(): Promise<unknown>
  raw(): Promise<unknown>
  run(): Promise<unknown>
}

/** The ledger over D1. A batch is one transaction, and one request to the database. */
export function d1Driver(d1: D1Database): LedgerDriver {
  return {
    db: drizzle({ prepare: (sql: string) => translating(d1.prepare(sql)) }, { schema }),
    atomically: async <const List extends readonly Bound[]>(list: List) => {
      const statements = list.map(({ statement, params }) =>
        d1.prepare(statement.sql).bind(...params),
      )
      const answers = await d1.batch(statements).catch(refuse)
      return answers.map(({ results }) => results) as RowsOf<List>
    },
  }
}

/** The same statement, whose failures are ours. */
const translating = (statement: D1Statement): D1Statement => ({
  bind: (...values) => translating(statement.bind(...values)),
  all: () => statement.all().catch(refuse),
  raw: () => statement.raw().catch(refuse),
  run: () => statement.run().catch(refuse),
})

function refuse(error: unknown): never {
  throw isOurFault(error) ? error : new LedgerUnavailable(error)
}

/**
 * D1's other failures are of the day: overloaded, reset, full, out of reach, and whatever is added
 * to developers.cloudflare.com/d1/observability/debug-d1/#error-list
 */
const isOurFault = (error: unknown) =>
  /D1_TYPE_ERROR|SQLITE_(?:ERROR|CONSTRAINT|MISMATCH|RANGE|TOOBIG|AUTH)/u.test(String(error))
