import type { LedgerDriver } from './database.ts'
import { generations } from './schema.ts'
import { bind, number, sql, statement } from './statement.ts'

const claim = statement(sql`
  update generations set fetch_leased_until = ${number('leasedUntil')}, version = version + 1
  where id in (
    select id from generations
    where fetch_due_at <= ${number('now')} and provider_id is not null
      and (fetch_leased_until is null or fetch_leased_until <= ${number('now')})
    order by fetch_due_at limit ${number('limit')})
  returning id, provider_id`).yields<{ id: string; provider_id: string }>()

/** Results that the provider is to be asked for. */
export function reconcile({ db, atomically }: LedgerDriver) {
  const someDue = db
    .select({ id: generations.id })
    .from(generations)
    .where(sql`fetch_due_at <= ${number('now')}`)
    .limit(1)
    .prepare()

  return {
    /** Takes up to `limit` due fetches, for which nobody else asks until `leasedUntil`. */
    claim: async (want: { now: number; leasedUntil: number; limit: number }) => {
      if (!(await someDue.get({ now: want.now }))) return []
      const [rows] = await atomically([bind(claim, want)])
      return rows.map((row) => ({ id: row.id, providerId: row.provider_id }))
    },
  }
}
