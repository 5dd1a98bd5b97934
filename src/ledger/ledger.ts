import type { BaseSQLiteDatabase } from 'drizzle-orm/sqlite-core'
import { archiving } from './archiving.ts'
import { reconciling } from './reconciling.ts'
import { recording } from './recording.ts'
import { reading } from './reading.ts'
import { retrying } from './retrying.ts'
import type * as schema from './schema.ts'
import { settling } from './settling.ts'
import type { Atomically } from './statement.ts'
import { submitting } from './submitting.ts'

/** drizzle's own type over both drivers; what it returns is always awaited. */
export type LedgerDatabase = BaseSQLiteDatabase<'sync' | 'async', unknown, typeof schema>

/** What a driver provides. */
export interface LedgerDriver {
  db: LedgerDatabase
  atomically: Atomically
}

/** Everything known, and everything still owed: every statement that we run, over any driver. */
export const createLedger = (driver: LedgerDriver) => ({
  ...submitting(driver),
  ...settling(driver),
  ...archiving(driver),
  ...retrying(driver),
  ...reconciling(driver),
  ...recording(driver),
  ...reading(driver),
})

export type Ledger = ReturnType<typeof createLedger>
