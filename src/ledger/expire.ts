import type { SQL } from 'drizzle-orm'
import type { LedgerDriver } from './database.ts'
import { owed } from './ends.ts'
import { HELD, UNANSWERED } from './held.ts'
import { generations } from './schema.ts'
import { bind, json, number, raw, sql, statement, text } from './statement.ts'

const abandon = statement(sql`
  update generations set status = 'unconfirmed', version = version + 1
  where ${UNANSWERED} and submission_started_at <= ${number('before')} returning id`).yields<{
  id: string
}>()

const noteAbandoned = statement(sql`
  insert into events (generation_id, at, event, detail)
  select value, ${number('now')}, 'replied',
    '{"status":"unreadable","reason":"the service stopped before the reply"}'
  from json_each(${json('ids')})`)

/** What is still open when its time is up. */
export const isOverdue = sql`id < ${text('before')}
  and ((${HELD}) or status = 'unconfirmed' or status = 'processing')`
/** And has nothing that could be tried. */
const isHopeless = sql`${isOverdue} and promised is null and archive_status = 'none'`
/** Some at a time. */
const overdue = sql`select id from generations where ${isHopeless} order by id limit 500`

/** All that was promised was tried, and nothing of it is left to be tried again. */
const wasTriedInVain = sql`${isOverdue} and archive_status <> 'none' and not exists (
  select 1 from images where generation_id = generations.id
    and (status = 'archived' or (status = 'pending' and due_at is not null)))`
const forgetTried = statement(sql`
  update generations set version = version + 1, promised = null, archive_status = 'none',
    archived_at = null
  where ${wasTriedInVain}`)
const forgetImages = statement(sql`
  delete from images where changes() > 0 and generation_id in (
    select id from generations where ${isHopeless})`)
const forgetOffers = statement(sql`
  delete from offers where changes() > 0 and generation_id in (
    select id from generations where ${isHopeless})`)

/** How it fails, by what it was waiting for. */
const code = raw(`case status
  when 'requested' then 'rate_limited'
  when 'unconfirmed' then 'submission_unconfirmed'
  else 'no_result' end`)
const message = raw(`case status
  when 'requested' then 'The provider did not take the request before the deadline.'
  when 'unconfirmed' then 'The request was sent, and nothing was heard of it before the deadline.'
  else 'The provider had no result before the deadline.' end`)

const note = statement(sql`
  insert into events (generation_id, at, event, detail)
  select id, ${number('at')}, 'failed', json_object('code', ${code}, 'message', ${message})
  from generations where id in (${overdue})`)

const owedByFailure = owed({
  status: raw(`'failed'`),
  archiveStatus: raw('archive_status'),
  isNews: raw('true'),
})

const end = statement(sql`
  update generations set version = version + 1, status = 'failed', finished_at = ${number('at')},
    failure_code = ${code}, failure_message = ${message},
    fetch_due_at = null, fetch_leased_until = null, fetch_owed = 0, ${owedByFailure}
  where id in (${overdue}) returning id`).yields<{ id: string }>()

/** What time alone ends. */
export function expire({ db, atomically }: LedgerDriver) {
  const some = (which: SQL) =>
    db.select({ id: generations.id }).from(generations).where(which).limit(1).prepare()
  const someOverdue = some(isOverdue)
  const someToEnd = some(sql`(${isHopeless}) or (${wasTriedInVain})`)

  return {
    /** Requests that were sent before `before` and whose reply nobody is waiting for any more. */
    writeAbandoned: async (before: number, now: number) => {
      const [rows] = await atomically([bind(abandon, { before })])
      const ids = rows.map(({ id }) => id)
      if (ids.length > 0) await atomically([bind(noteAbandoned, { ids, now })])
      return ids
    },

    /** Whether anything of what was requested before the id `before` is still open. */
    readIsOverdue: async (before: string) => (await someOverdue.get({ before })) !== undefined,

    /**
     * Ends what was requested before the id `before` and is still open. Some at a time: repeat
     * until none is left.
     */
    writeExpired: async (before: string, at: number) => {
      if (!(await someToEnd.get({ before }))) return []
      const [, , , , rows] = await atomically([
        bind(forgetTried, { before }),
        bind(forgetImages, { before }),
        bind(forgetOffers, { before }),
        bind(note, { before, at }),
        bind(end, { before, at }),
      ])
      return rows.map(({ id }) => id)
    },
  }
}
