import { asc, eq, sql } from 'drizzle-orm'
import type { LedgerDriver } from './ledger.ts'
import { callbacks, events, generations, offers } from './schema.ts'
import { bind, statement, value } from './statement.ts'

interface Written {
  id: string
  version: number
  now: number
}

const written = statement<Written>(sql`
  update generations set record_due_at = null, version = version + 1
  where id = ${value('id')} and version = ${value('version')}`)

const noteWritten = statement<Written & { detail: string }>(sql`
  insert into events (generation_id, at, event, detail)
  select ${value('id')}, ${value('now')}, 'record_written', ${value('detail')} where changes() > 0`)

const postponed = statement<{ id: string; until: number }>(sql`
  update generations set record_due_at = ${value('until')}, version = version + 1
  where id = ${value('id')} and record_due_at is not null`)

/** Records that the bucket is owed. */
export function recording({ db, atomically }: LedgerDriver) {
  const due = db
    .select({ id: generations.id })
    .from(generations)
    .where(sql`record_due_at <= ${value('now')}`)
    .orderBy(asc(generations.recordDueAt))
    .limit(value('limit'))
    .prepare()
  const offersOf = db
    .select()
    .from(offers)
    .where(eq(offers.generationId, value('id')))
    .orderBy(asc(offers.offeredAt), asc(offers.source), asc(offers.position))
    .prepare()
  const callbacksOf = db
    .select({
      id: callbacks.id,
      receivedAt: callbacks.receivedAt,
      decision: callbacks.decision,
      bodySha256: callbacks.bodySha256,
      count: callbacks.count,
      lastReceivedAt: callbacks.lastReceivedAt,
    })
    .from(callbacks)
    .where(eq(callbacks.generationId, value('id')))
    .orderBy(asc(callbacks.id))
    .prepare()
  const eventsOf = db
    .select({ at: events.at, event: events.event, detail: events.detail })
    .from(events)
    .where(eq(events.generationId, value('id')))
    .orderBy(asc(events.id))
    .prepare()

  return {
    recordsDue: async (now: number, limit: number) =>
      (await due.all({ now, limit })).map(({ id }) => id),

    /** What a record has beside the generation itself. */
    recordDetails: async (id: string) => ({
      offers: await offersOf.all({ id }),
      callbacks: await callbacksOf.all({ id }),
      events: await eventsOf.all({ id }),
    }),

    /**
     * A record of this version is in the bucket. If the generation changed meanwhile, another is
     * owed.
     */
    recordWritten: async (id: string, version: number, key: string, now: number) => {
      const values = { id, version, now }
      await atomically([
        bind(written, values),
        bind(noteWritten, { ...values, detail: JSON.stringify({ key }) }),
      ])
    },

    recordPostponed: async (id: string, until: number) => {
      await atomically([bind(postponed, { id, until })])
    },
  }
}

export type RecordDetails = Awaited<ReturnType<ReturnType<typeof recording>['recordDetails']>>
