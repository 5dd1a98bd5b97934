import { sql } from 'drizzle-orm'
import { deriveArchive } from './ends.ts'
import type { LedgerDriver } from './ledger.ts'
import { bind, statement, value } from './statement.ts'

interface Retry {
  id: string
  now: number
}

const hasNoResult = sql`(status = 'failed' and failure_code = 'no_result' and provider_id is not null)`

/** Lost, or waiting for fresh links in vain. */
const needsRetry = sql`(status = 'lost' or (status = 'pending' and due_at is null))`

const noteRetried = statement<Retry, { id: number }>(sql`
  insert into events (generation_id, at, event, detail)
  select id, ${value('now')}, 'retried', json_object('images', json(lost), 'fetch', json(iif(${hasNoResult}, 'true', 'false')))
  from generations, (
    select json_group_array(json_object('source', source, 'position', position)) as lost
    from images where generation_id = ${value('id')} and ${needsRetry})
  where id = ${value('id')} and (lost <> '[]' or ${hasNoResult}) returning id`)

const retryImages = statement<Retry>(sql`
  update images set status = 'pending', due_at = ${value('now')}, waiting = 0, leased_until = null, fresh_links_asked = 0
  where generation_id = ${value('id')} and ${needsRetry}`)

const retryPlaces = statement<Retry>(sql`
  update offers set exhausted = 0 where generation_id = ${value('id')} and exhausted
    and exists (select 1 from images i where i.generation_id = offers.generation_id and i.source = offers.source
      and i.position = offers.position and i.status = 'pending')`)

const retryFetch = statement<Retry>(sql`
  update generations set version = version + 1, fetch_owed = 1, fetches = 0, fetch_due_at = ${value('now')}
  where id = ${value('id')} and ${hasNoResult}`)

/** Of what the store did not take, the links that die first; all of them where `limit` is -1. */
const storeRetried = statement<{ now: number; limit: number }>(sql`
  update images set due_at = ${value('now')}, waiting = 0
  where rowid in (
    select rowid from images where status = 'pending' and waiting = 1 and failure_code = 'store_failed' and due_at > ${value('now')}
    order by expires_at limit ${value('limit')})`)

const recordsRetried = statement<{ now: number }>(sql`
  update generations set record_due_at = ${value('now')}, version = version + 1 where record_due_at > ${value('now')}`)

interface SetBack {
  now: number
  byMs: number
}

const imagesSooner = statement<SetBack>(sql`
  update images set due_at = due_at - ${value('byMs')}
  where rowid in (select rowid from images where status = 'pending' and waiting = 1 and due_at > ${value('now')})`)

const generationsSooner = statement<SetBack>(sql`
  update generations set version = version + 1, fetch_due_at = fetch_due_at - ${value('byMs')},
    fetch_leased_until = null, record_due_at = record_due_at - ${value('byMs')}
  where id in (
    select id from generations where fetch_due_at > ${value('now')}
    union select id from generations where record_due_at > ${value('now')}
    union select id from generations where fetch_due_at is not null and fetch_leased_until > ${value('now')})`)

const gateSooner = statement<SetBack>(sql`
  update gate set closed_until = closed_until - ${value('byMs')} where closed_until > ${value('now')}`)

/** What is to be tried once more before its time. */
export const retrying = ({ atomically }: LedgerDriver) => ({
  /**
   * Lost images are due again, and a result that never came is asked for. False where there was
   * neither.
   */
  retried: async (id: string, now: number) => {
    const retry = { id, now }
    const [noted] = await atomically([
      bind(noteRetried, retry),
      bind(retryImages, retry),
      bind(deriveArchive, retry),
      bind(retryPlaces, retry),
      bind(retryFetch, retry),
    ])
    return noted.length > 0
  },

  /** The clock was set back: what waits for a time waits no longer for that. */
  clockSetBack: async (now: number, byMs: number) => {
    const setBack = { now, byMs }
    await atomically([
      bind(imagesSooner, setBack),
      bind(generationsSooner, setBack),
      bind(gateSooner, setBack),
    ])
  },

  /**
   * The store may be back: what it did not take is due now, up to `limit` images or, where that is
   * null, everything.
   */
  storeRetried: async (now: number, limit: number | null) => {
    const images = bind(storeRetried, { now, limit: limit ?? -1 })
    await atomically(limit === null ? [images, bind(recordsRetried, { now })] : [images])
  },
})
