import { and, eq } from 'drizzle-orm'
import type { ClaimedImage, Place } from '../model/attempt.ts'
import type { ImageSource } from '../model/image.ts'
import type { LedgerDriver } from './database.ts'
import { images, offers } from './schema.ts'
import { bind, type Fragment, json, number, raw, sql, statement, text } from './statement.ts'

/**
 * A place that an earlier pending image of the same generation has too: the download that brings
 * that one serves both.
 */
const isShared = sql`exists (
  select 1 from offers theirs join images leader
    on leader.generation_id = theirs.generation_id and leader.source = theirs.source
      and leader.position = theirs.position and leader.status = 'pending'
  where theirs.generation_id = offers.generation_id and theirs.url = offers.url
    and (theirs.source, theirs.position) < (offers.source, offers.position)
    and not theirs.contradicts and not theirs.exhausted)`

export const hasPlaceOfItsOwn = sql`exists (
  select 1 from offers
  where offers.generation_id = images.generation_id and offers.source = images.source
    and offers.position = images.position and not offers.contradicts and not offers.exhausted
    and not ${isShared})`

/** Its time has come: an index holds these by host, and of each host by the death of their links. */
export const READY = raw("status = 'pending' and waiting = 0")
/** A lease that ends later than one given now would is from before the clock was set back. */
const isFree = sql`(leased_until is null or leased_until <= ${number('now')}
  or leased_until > ${number('leasedUntil')})`

/** More hosts than this at a time wait until others have nothing ready any more. */
const MOST_HOSTS = 1000

/** Every host of which something is ready, found by one step in the index each. */
const hosts = sql`hosts(host) as (
  select min(host) from images where ${READY}
  union all
  select (select min(host) from images where ${READY} and host > hosts.host) from hosts
  where host is not null
  limit ${raw(String(MOST_HOSTS))})`

const room = sql`${number('perHost')} - coalesce(
  (select value from json_each(${json('busy')}) where key = hosts.host), 0)`

/** Of one host, and no more than it may hold at all: those that die first. */
const firstOfHost = <Values extends object>(when: Fragment<Values>) => sql`
  select rowid from (
    select rowid from images
    where host = hosts.host and ${READY} and ${when} and ${isFree} and ${hasPlaceOfItsOwn}
    order by expires_at limit ${number('perHost')})`

const isAlive = sql`expires_at > ${number('now')}`
const isDead = sql`expires_at <= ${number('now')}`

/**
 * Leases the images whose links die first, no more of one host than it may hold, and none that only
 * waits for what another brings. A link that has died has time: those that still live go before its
 * last try. However much waits or belongs to a host that is full, only the first of each host are
 * looked at.
 */
const claim = statement(sql`
  update images set leased_until = ${number('leasedUntil')}, attempts = attempts + 1
  where rowid in (
    with recursive ${hosts}
    select id from (
      select one.rowid as id, ${isDead} as is_dead, one.expires_at, ${room} as room,
        row_number() over (
          partition by hosts.host order by ${isDead}, one.expires_at, one.rowid) as nth
      from hosts cross join images one on one.rowid in (
        ${firstOfHost(isAlive)} union all ${firstOfHost(isDead)} limit ${number('perHost')}))
    where nth <= room
    order by is_dead, expires_at limit ${number('limit')})
  returning generation_id, source, position, host, attempts, fresh_links_asked,
    coalesce(bytes, 0) as bytes,
    (select provider_id from generations where id = images.generation_id) as provider_id
`).yields<ClaimedRow>()

interface ClaimedRow {
  generation_id: string
  source: ImageSource
  position: number
  host: string
  attempts: number
  fresh_links_asked: 0 | 1
  bytes: number
  provider_id: string | null
}

/**
 * Whose wait is over; one that would end later than the longest there is was begun before the clock
 * was set back. Two searches of the index: joined by `or`, they would be a scan of it.
 */
const waitIsOver = sql`
  select rowid from images
  where status = 'pending' and waiting = 1 and due_at <= ${number('now')}
  union all
  select rowid from images
  where status = 'pending' and waiting = 1 and due_at > ${number('latestDue')}`

/**
 * After an outage of hours everything may be due at once: so much of it at a time does not hold up
 * a callback.
 */
const READY_AT_ONCE = 1000

const ready = statement(sql`
  update images set waiting = 0
  where rowid in (${waitIsOver} limit ${raw(String(READY_AT_ONCE))})`)

interface Want {
  now: number
  leasedUntil: number
  latestDue: number
  limit: number
  perHost: number
  busy: ReadonlyMap<string, number>
}

/** Images that are due. */
export function claims({ db, atomically }: LedgerDriver) {
  const someWaitOver = db
    .select({ source: images.source })
    .from(images)
    .where(sql`rowid = (${waitIsOver} limit 1)`)
    .prepare()
  const someReady = db
    .select({ source: images.source })
    .from(images)
    .where(
      sql`rowid = (
        with recursive ${hosts}
        select (
          select rowid from images where host = hosts.host and ${READY} and ${isFree} limit 1
        ) as id from hosts
        where id is not null and ${room} > 0 limit 1)`,
    )
    .prepare()

  /**
   * Leases up to `limit` due images; `busy` counts what each host already holds of its `perHost`
   * places. Nothing waits longer than until `latestDue`.
   */
  return async ({ busy: held, ...want }: Want): Promise<ClaimedImage[]> => {
    while (await someWaitOver.get(want)) await atomically([bind(ready, want)])
    const busy = Object.fromEntries(held)
    if (!(await someReady.get({ ...want, busy: JSON.stringify(busy) }))) return []
    const [rows] = await atomically([bind(claim, { ...want, busy })])
    return rows.map((row) => claimedImage(row, want.leasedUntil))
  }
}

const claimedImage = (row: ClaimedRow, leasedUntil: number): ClaimedImage => ({
  generationId: row.generation_id,
  source: row.source,
  position: row.position,
  host: row.host,
  attempts: row.attempts,
  freshLinksAsked: row.fresh_links_asked === 1,
  providerId: row.provider_id,
  keptBytes: row.bytes,
  leasedUntil,
})

/** Every place where an image may be had. */
export function places({ db }: LedgerDriver) {
  const query = db
    .select({
      url: offers.url,
      attempts: offers.attempts,
      expiresAt: offers.expiresAt,
      exhausted: offers.exhausted,
      shared: isShared.mapWith(Boolean),
    })
    .from(offers)
    .where(
      and(
        eq(offers.generationId, text('generationId')),
        eq(offers.source, text('source')),
        eq(offers.position, number('position')),
        eq(offers.contradicts, false),
      ),
    )
    .prepare()
  return async ({
    generationId,
    source,
    position,
  }: Pick<ClaimedImage, 'generationId' | 'source' | 'position'>): Promise<Place[]> =>
    query.all({ generationId, source, position })
}
