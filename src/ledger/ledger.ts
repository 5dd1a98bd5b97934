import { DrizzleQueryError } from 'drizzle-orm'
import type { BaseSQLiteDatabase } from 'drizzle-orm/sqlite-core'
import { archiving } from './archive.ts'
import { reconciling } from './reconcile.ts'
import { recording } from './record.ts'
import { reading } from './generations.ts'
import { retrying } from './retry.ts'
import type * as schema from './schema.ts'
import { settling } from './settle.ts'
import type { Atomically } from './statement.ts'
import { submitting } from './submit.ts'
import { waiting } from './due.ts'

/** drizzle's own type over both drivers; what it returns is always awaited. */
export type LedgerDatabase = BaseSQLiteDatabase<'sync' | 'async', unknown, typeof schema>

/** What a driver provides. */
export interface LedgerDriver {
  db: LedgerDatabase
  atomically: Atomically
}

/** Everything known, and everything still owed: every statement that we run, over any driver. */
export const createLedger = (driver: LedgerDriver) =>
  throwingAsDriver({
    ...submitting(driver),
    ...settling(driver),
    ...archiving(driver),
    ...retrying(driver),
    ...reconciling(driver),
    ...recording(driver),
    ...reading(driver),
    ...waiting(driver),
  })

export type Ledger = ReturnType<typeof createLedger>

/**
 * drizzle hides what an async driver throws as the cause of an error whose message shows every
 * value.
 */
function throwingAsDriver<Methods extends object>(methods: Methods) {
  const own = Object.entries(
    methods as Record<string, (...values: unknown[]) => Promise<unknown>>,
  ).map(([name, method]) => [name, (...values: unknown[]) => method(...values).catch(throwCause)])
  return Object.fromEntries(own) as Methods
}

function throwCause(error: unknown): never {
  throw error instanceof DrizzleQueryError ? error.cause : error
}
