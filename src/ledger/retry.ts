import { deriveArchive } from './ends.ts'
import type { LedgerDriver } from './database.ts'
import { bind, number, sql, statement, text } from './statement.ts'

const hasNoResult = sql`(status = 'failed' and failure_code = 'no_result' and provider_id is not null)`

/** Lost, or waiting for fresh links in vain. */
const needsRetry = sql`(status = 'lost' or (status = 'pending' and due_at is null))`

const noteRetried = statement(sql`
  insert into events (generation_id, at, event, detail)
  select id, ${number('now')}, 'retried', json_object('images', json(lost), 'fetch', json(iif(${hasNoResult}, 'true', 'false')))
  from generations, (
    select json_group_array(json_object('source', source, 'position', position)) as lost
    from images where generation_id = ${text('id')} and ${needsRetry})
  where id = ${text('id')} and (lost <> '[]' or ${hasNoResult}) returning id`).yields<{
  id: number
}>()

const retryImages = statement(sql`
  update images set status = 'pending', due_at = ${number('now')}, waiting = 0, leased_until = null, fresh_links_asked = 0
  where generation_id = ${text('id')} and ${needsRetry}`)

const retryPlaces = statement(sql`
  update offers set exhausted = 0 where generation_id = ${text('id')} and exhausted
    and exists (select 1 from images i where i.generation_id = offers.generation_id and i.source = offers.source
      and i.position = offers.position and i.status = 'pending')`)

const retryFetch = statement(sql`
  update generations set version = version + 1, fetch_owed = 1, fetches = 0, fetch_due_at = ${number('now')}
  where id = ${text('id')} and ${hasNoResult}`)

/** Of what the store did not take, the links that die first; all of them where `limit` is -1. */
const storeRetried = statement(sql`
  update images set due_at = ${number('now')}, waiting = 0
  where rowid in (
    select rowid from images where status = 'pending' and waiting = 1 and failure_code = 'store_failed' and due_at > ${number('now')}
    order by expires_at limit ${number('limit')})`)

const recordsRetried = statement(sql`
  update generations set record_due_at = ${number('now')}, version = version + 1 where record_due_at > ${number('now')}`)

/** What is to be tried once more before its time. */
export const retry = ({ atomically }: LedgerDriver) => ({
  /**
   * Lost images are due again, and a result that never came is asked for. False where there was
   * neither.
   */
  write: async (id: string, now: number) => {
    const values = { id, now }
    const [noted] = await atomically([
      bind(noteRetried, values),
      bind(retryImages, values),
      bind(deriveArchive, { id, at: now }),
      bind(retryPlaces, values),
      bind(retryFetch, values),
    ])
    return noted.length > 0
  },

  /**
   * The store may be back: what it did not take is due now, up to `limit` images or, where that is
   * null, everything.
   */
  writeStoreRetried: async (now: number, limit: number | null) => {
    const images = bind(storeRetried, { now, limit: limit ?? -1 })
    await atomically(limit === null ? [images, bind(recordsRetried, { now })] : [images])
  },
})
