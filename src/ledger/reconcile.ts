import type { LedgerDriver } from './database.ts'
import { generations } from './schema.ts'
import { bind, number, sql, statement } from './statement.ts'

/** A lease that ends later than one given now would is by a clock that ran ahead. */
const mayBeAsked = sql`provider_id is not null
  and (fetch_leased_until is null or fetch_leased_until <= ${number('now')}
    or fetch_leased_until > ${number('leasedUntil')})`

/**
 * Due now, or later than anything can be: by a clock that ran ahead. Two searches of the index:
 * joined by `or`, they would be a scan of it.
 */
const isDue = sql`fetch_due_at <= ${number('now')}`
const isBeyond = sql`fetch_due_at > ${number('latestDue')}`

const claim = statement(sql`
  update generations set fetch_leased_until = ${number('leasedUntil')}, version = version + 1
  where id in (
    select id from (
      select id from generations where ${isDue} and ${mayBeAsked}
      order by fetch_due_at limit ${number('limit')})
    union all
    select id from (
      select id from generations where ${isBeyond} and ${mayBeAsked} limit ${number('limit')})
    limit ${number('limit')})
  returning id, provider_id`).yields<{ id: string; provider_id: string }>()

interface Want {
  now: number
  leasedUntil: number
  /** Nothing waits longer. */
  latestDue: number
  limit: number
}

/** Results that the provider is to be asked for. */
export function reconcile({ db, atomically }: LedgerDriver) {
  const someDue = db
    .select({ id: generations.id })
    .from(generations)
    .where(
      sql`id = (
        select id from generations where ${isDue}
        union all select id from generations where ${isBeyond} limit 1)`,
    )
    .prepare()

  return {
    /** Takes up to `limit` due fetches, for which nobody else asks until `leasedUntil`. */
    claim: async (want: Want) => {
      if (!(await someDue.get({ ...want }))) return []
      const [rows] = await atomically([bind(claim, want)])
      return rows.map((row) => ({ id: row.id, providerId: row.provider_id }))
    },
  }
}
