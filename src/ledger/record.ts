import { asc, eq } from 'drizzle-orm'
import type { LedgerDriver } from './database.ts'
import { callbacks, events, generations, offers } from './schema.ts'
import { bind, json, number, sql, statement, text } from './statement.ts'

const written = statement(sql`
  update generations
  set record_due_at = null, record_sha256 = ${text('sha256')}, version = version + 1
  where id = ${text('id')} and version = ${number('version')}`)

const noteWritten = statement(sql`
  insert into events (generation_id, at, event, detail)
  select ${text('id')}, ${number('now')}, 'record_written', ${json('detail')} where changes() > 0`)

/**
 * Somebody wrote another record meanwhile, and this one may have been put over it. The same one
 * does not matter; two of one version differ where one of them knows that the other was written.
 */
const overtook = statement(sql`
  update generations set record_due_at = ${number('now')}, version = version + 1
  where id = ${text('id')} and version > ${number('version')} and record_due_at is null
    and record_sha256 is not ${text('sha256')}`)

const postponed = statement(sql`
  update generations set record_due_at = ${number('until')}, version = version + 1
  where id = ${text('id')} and record_due_at is not null`)

/** Records that the bucket is owed. */
export function record({ db, atomically }: LedgerDriver) {
  const due = db
    .select({ id: generations.id })
    .from(generations)
    .where(
      sql`id in (
        select id from (
          select id from generations where record_due_at <= ${number('before')}
          order by record_due_at limit ${number('limit')})
        union all
        select id from (
          select id from generations where record_due_at > ${number('latestDue')}
          limit ${number('limit')})
        limit ${number('limit')})`,
    )
    .orderBy(asc(generations.recordDueAt))
    .prepare()
  const offersOf = db
    .select()
    .from(offers)
    .where(eq(offers.generationId, text('id')))
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
    .where(eq(callbacks.generationId, text('id')))
    .orderBy(asc(callbacks.id))
    .prepare()
  const eventsOf = db
    .select({ at: events.at, event: events.event, detail: events.detail })
    .from(events)
    .where(eq(events.generationId, text('id')))
    .orderBy(asc(events.id))
    .prepare()

  return {
    /**
     * Due before `before`, or later than `latestDue`, which nothing can be: by a clock that ran
     * ahead.
     */
    readDue: async (want: { before: number; latestDue: number; limit: number }) =>
      (await due.all(want)).map(({ id }) => id),

    /** What a record has beside the generation itself. */
    readDetails: async (id: string) => ({
      offers: await offersOf.all({ id }),
      callbacks: await callbacksOf.all({ id }),
      events: await eventsOf.all({ id }),
    }),

    /**
     * A record of this version is in the bucket. If the generation changed meanwhile, another is
     * owed.
     */
    writeRecorded: async (
      id: string,
      version: number,
      { key, sha256 }: { key: string; sha256: string },
      now: number,
    ) => {
      const values = { id, version, sha256, now }
      await atomically([
        bind(written, values),
        bind(noteWritten, { ...values, detail: { key } }),
        bind(overtook, values),
      ])
    },

    writePostponed: async (id: string, until: number) => {
      await atomically([bind(postponed, { id, until })])
    },
  }
}

export type RecordDetails = Awaited<ReturnType<ReturnType<typeof record>['readDetails']>>
