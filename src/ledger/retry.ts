import { deriveArchive } from './ends.ts'
import type { LedgerDriver } from './database.ts'
import { offers } from './schema.ts'
import { bind, json, number, sql, statement, text } from './statement.ts'

const hasNoResult = sql`(status = 'failed' and failure_code = 'no_result' and provider_id is not null)`

/** Lost, or waiting for fresh links in vain. */
const needsRetry = sql`(status = 'lost' or (status = 'pending' and due_at is null))`

const itsLostImages = sql`(
  select source, position from images where generation_id = ${text('id')} and ${needsRetry})`

const hasPlace = sql`exists (
  select 1 from offers o where o.generation_id = images.generation_id and o.source = images.source
    and o.position = images.position and not o.contradicts and not o.exhausted)`

const retryPlaces = statement(sql`
  update offers set exhausted = 0, attempts = 0
  where generation_id = ${text('id')} and exhausted and (source, position) in ${itsLostImages}
    and url not in (select value from json_each(${json('useless')}))`)

const noteRetried = statement(sql`
  insert into events (generation_id, at, event, detail)
  select id, ${number('now')}, 'retried', json_object(
    'images', json(lost), 'fetch', json(iif(${hasNoResult} or asks, 'true', 'false')))
  from generations, (
    select json_group_array(json_object('source', source, 'position', position)) as lost,
      coalesce(max(not ${hasPlace}), 0) as asks
    from images where generation_id = ${text('id')} and ${needsRetry})
  where id = ${text('id')} and (lost <> '[]' or ${hasNoResult}) returning id`).yields<{
  id: number
}>()

/** Where no place is left to try, fresh links are asked for at once. */
const retryImages = statement(sql`
  update images set status = 'pending', due_at = iif(${hasPlace}, ${number('now')}, null),
    waiting = 0, leased_until = null, fresh_links_asked = not ${hasPlace}
  where generation_id = ${text('id')} and ${needsRetry}`)

const retryFetch = statement(sql`
  update generations set version = version + 1, fetch_owed = 1, fetches = 0,
    fetch_due_at = ${number('now')}
  where id = ${text('id')} and (${hasNoResult} or exists (
    select 1 from images where generation_id = ${text('id')} and ${needsRetry}))`)

/** Of what the store did not take, the links that die first; all of them where `limit` is -1. */
const storeRetried = statement(sql`
  update images set due_at = ${number('now')}, waiting = 0
  where rowid in (
    select rowid from images where status = 'pending' and waiting = 1 and failure_code = 'store_failed' and due_at > ${number('now')}
    order by expires_at limit ${number('limit')})`)

const recordsRetried = statement(sql`
  update generations set record_due_at = ${number('now')}, version = version + 1 where record_due_at > ${number('now')}`)

/** What is to be tried once more before its time. */
export function retry({ db, atomically }: LedgerDriver) {
  const lostPlaces = db
    .select({ url: offers.url, offeredAt: offers.offeredAt })
    .from(offers)
    .where(
      sql`generation_id = ${text('id')} and exhausted and not contradicts
        and (source, position) in ${itsLostImages} and exists (
          select 1 from generations where id = ${text('id')} and provider_id is not null)`,
    )
    .prepare()

  return {
    /**
     * Where lost images were to be had. None where nobody can be asked for fresh links: all that is
     * left then is to try.
     */
    readLostPlaces: async (id: string) => lostPlaces.all({ id }),

    /**
     * Lost images are due again, but not at `useless` links, and a result that never came is asked
     * for. False where there was neither.
     */
    write: async (id: string, useless: string[], now: number) => {
      const values = { id, useless, now }
      const [, noted] = await atomically([
        bind(retryPlaces, values),
        bind(noteRetried, values),
        bind(retryImages, values),
        bind(deriveArchive, { id, at: now }),
        bind(retryFetch, values),
      ])
      return noted.length > 0
    },

    /**
     * The store may be back: what it did not take is due now, up to `limit` images or, where that
     * is null, everything.
     */
    writeStoreRetried: async (now: number, limit: number | null) => {
      const images = bind(storeRetried, { now, limit: limit ?? -1 })
      await atomically(limit === null ? [images, bind(recordsRetried, { now })] : [images])
    },
  }
}
