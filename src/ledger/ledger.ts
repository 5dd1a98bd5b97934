import { DrizzleQueryError } from 'drizzle-orm'
import { archive } from './archive.ts'
import type { LedgerDriver } from './database.ts'
import { due } from './due.ts'
import { expire } from './expire.ts'
import { generations, type ListGenerations } from './generations.ts'
import { heartbeat } from './heartbeat.ts'
import { held } from './held.ts'
import { images } from './images.ts'
import { promise } from './promise.ts'
import { reconcile } from './reconcile.ts'
import { record } from './record.ts'
import { retry } from './retry.ts'
import { settle } from './settle.ts'
import { submit } from './submit.ts'
import { timeline } from './timeline.ts'

/**
 * Everything known, and everything still owed: every statement that we run, over any driver, by
 * subject. A name says whether it reads, claims or writes. `list` runs elsewhere where the driver
 * has a thread for it.
 */
export const createLedger = (driver: LedgerDriver, list?: ListGenerations) => ({
  submit: throwingAsDriver(submit(driver)),
  held: throwingAsDriver(held(driver)),
  settle: throwingAsDriver(settle(driver)),
  archive: throwingAsDriver(archive(driver)),
  retry: throwingAsDriver(retry(driver)),
  reconcile: throwingAsDriver(reconcile(driver)),
  expire: throwingAsDriver(expire(driver)),
  promise: throwingAsDriver(promise(driver)),
  record: throwingAsDriver(record(driver)),
  due: throwingAsDriver(due(driver)),
  generations: throwingAsDriver(generations(driver, list)),
  images: throwingAsDriver(images(driver)),
  timeline: throwingAsDriver(timeline(driver)),
  heartbeat: throwingAsDriver(heartbeat(driver)),
})

export type Ledger = ReturnType<typeof createLedger>

/** drizzle hides what an async driver throws as the cause of an error that shows every value. */
function throwingAsDriver<Methods extends object>(methods: Methods) {
  const own = Object.entries(
    methods as Record<string, (...values: unknown[]) => Promise<unknown>>,
  ).map(([name, method]) => [name, (...values: unknown[]) => method(...values).catch(throwCause)])
  return Object.fromEntries(own) as Methods
}

function throwCause(error: unknown): never {
  throw error instanceof DrizzleQueryError ? error.cause : error
}
