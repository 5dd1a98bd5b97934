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

/** What is still open when its time is up, some at a time. */
const isOverdue = sql`id < ${text('before')}
  and ((${HELD}) or status = 'unconfirmed' or status = 'processing')`
const overdue = sql`select id from generations where ${isOverdue} order by id limit 500`

/** How it fails, by what it was waiting for. */
const code = raw(`case status
  when 'requested' then 'rate_limited'
  when 'unconfirmed' then 'submission_unconfirmed'
  else 'no_result' end`)
const message = raw(`case status
  when 'requested' then 'The provider had no room for the request before the deadline.'
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
  const someOverdue = db
    .select({ id: generations.id })
    .from(generations)
    .where(isOverdue)
    .limit(1)
    .prepare()

  return {
    /** Requests that were sent before `before` and whose reply nobody is waiting for any more. */
    writeAbandoned: async (before: number, now: number) => {
      const [rows] = await atomically([bind(abandon, { before })])
      const ids = rows.map(({ id }) => id)
      if (ids.length > 0) await atomically([bind(noteAbandoned, { ids, now })])
      return ids
    },

    /**
     * Ends what was requested before the id `before` and is still open. Some at a time: repeat
     * until none is left.
     */
    writeExpired: async (before: string, at: number) => {
      if (!(await someOverdue.get({ before }))) return []
      const [, rows] = await atomically([bind(note, { before, at }), bind(end, { before, at })])
      return rows.map(({ id }) => id)
    },
  }
}
