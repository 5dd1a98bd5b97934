import { sql } from 'drizzle-orm'
import type { LedgerDriver } from './ledger.ts'
import { generations } from './schema.ts'
import { bind, statement, value } from './statement.ts'

const claimFetches = statement<Record<string, unknown>, { id: string; provider_id: string }>(sql`
  update generations set fetch_leased_until = ${value('leasedUntil')}, version = version + 1
  where id in (
    select id from generations where fetch_due_at <= ${value('now')} and provider_id is not null
      and (fetch_leased_until is null or fetch_leased_until <= ${value('now')})
    order by fetch_due_at limit ${value('limit')})
  returning id, provider_id`)

/** Results that the provider is to be asked for. */
export function reconciling({ db, atomically }: LedgerDriver) {
  const dueFetch = db
    .select({ id: generations.id })
    .from(generations)
    .where(sql`fetch_due_at <= ${value('now')}`)
    .limit(1)
    .prepare()

  return {
    /** Takes up to `limit` due fetches, for which nobody else asks until `leasedUntil`. */
    fetchesClaimed: async (claim: { now: number; leasedUntil: number; limit: number }) => {
      if (!(await dueFetch.get({ now: claim.now }))) return []
      const [rows] = await atomically([bind(claimFetches, claim)])
      return rows.map((row) => ({ id: row.id, providerId: row.provider_id }))
    },
  }
}
