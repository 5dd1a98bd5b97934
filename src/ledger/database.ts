import type { BaseSQLiteDatabase } from 'drizzle-orm/sqlite-core'
import type * as schema from './schema.ts'
import { LedgerUnavailable } from '../errors.ts'
import type { Atomically, Bound } from './statement.ts'

/** drizzle's own type over both drivers; what it returns is always awaited. */
export type LedgerDatabase = BaseSQLiteDatabase<'sync' | 'async', unknown, typeof schema>

/** What a driver provides. */
export interface LedgerDriver {
  db: LedgerDatabase
  atomically: Atomically
}

/** The same driver; `saw` hears of each list whether the ledger took it. */
export const telling = (
  { db, atomically }: LedgerDriver,
  saw: (ok: boolean, reason?: unknown) => void,
): LedgerDriver => ({
  db,
  atomically: async <const List extends readonly Bound[]>(list: List) => {
    try {
      const rows = await atomically(list)
      saw(true)
      return rows
    } catch (error) {
      if (error instanceof LedgerUnavailable) saw(false, error.cause)
      throw error
    }
  },
})
