import type { BaseSQLiteDatabase } from 'drizzle-orm/sqlite-core'
import type * as schema from './schema.ts'
import type { Atomically } from './statement.ts'

/** drizzle's own type over both drivers; what it returns is always awaited. */
export type LedgerDatabase = BaseSQLiteDatabase<'sync' | 'async', unknown, typeof schema>

/** What a driver provides. */
export interface LedgerDriver {
  db: LedgerDatabase
  atomically: Atomically
}
