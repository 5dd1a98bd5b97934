import { sql } from 'drizzle-orm'
import type { LedgerDriver } from './ledger.ts'
import { value } from './statement.ts'

/** One search of an index for each kind of work. */
const soonest = sql<number | null>`(
  select min(at) from (
    select min(due_at) as at from images where status = 'pending' and waiting = 1
    union all
    select min(fetch_due_at) from generations
    where fetch_due_at is not null and provider_id is not null
      and (fetch_leased_until is null or fetch_leased_until <= ${value('now')})
    union all
    select min(record_due_at) from generations where record_due_at is not null
    union all
    select closed_until from gate where closed_until > ${value('now')} and exists (
      select 1 from generations where status = 'requested' and submission_started_at is null)))`

/** Work whose time has not come. */
export function waiting({ db }: LedgerDriver) {
  const next = db
    .select({ at: soonest })
    .from(sql`(select 1)`)
    .prepare()

  return {
    /**
     * When the next work comes due, as far as its time is known; null where none is. What is leased
     * does not count.
     */
    nextDueAt: async (now: number) => (await next.get({ now }))?.at ?? null,
  }
}
