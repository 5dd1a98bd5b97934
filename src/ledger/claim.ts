import type { ClaimedImage } from '../model/attempt.ts'
import type { Shares } from '../model/fairness.ts'
import type { ImageSource } from '../model/image.ts'
import type { LedgerDriver } from './database.ts'
import { hasPlaceOfItsOwn } from './places.ts'
import { images } from './schema.ts'
import { bind, flag, type Fragment, number, raw, sql, statement, text } from './statement.ts'

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

/** Those that may be given something: model/fairness.ts says what. */
const guests = sql`
  known(host, standing, held, room, further, since, stuck) as materialized (
    select value ->> 'host', value ->> 'standing', value ->> 'held', value ->> 'room',
      value ->> 'further', value ->> 'since', value ->> 'isStuck'
    from json_each(${text('known')})),
  guests(host, standing, held, room, further, since, stuck) as (
    select hosts.host, coalesce(standing, ${text('strangerStanding')}), coalesce(held, 0),
      coalesce(room, ${number('strangerRoom')}), coalesce(further, ${number('strangerFurther')}),
      coalesce(since, 0), coalesce(stuck, 0)
    from hosts left join known on known.host = hosts.host
    where hosts.host is not null and coalesce(room, ${number('strangerRoom')}) > 0)`

const isAlive = sql`expires_at > ${number('now')}`
const isDead = sql`expires_at <= ${number('now')}`

/** Of one host what dies first. */
const dyingFirst = <When extends object, Most extends object>(
  when: Fragment<When>,
  most: Fragment<Most>,
) => sql`
  select rowid from images
  where host = guests.host and ${READY} and ${when} and ${isFree} and ${hasPlaceOfItsOwn}
  order by expires_at limit ${most}`

/** Of one host what goes first. Of one that is stuck not all are looked at: they may be many. */
const firstOfHost = <When extends object, Most extends object>(
  when: Fragment<When>,
  most: Fragment<Most>,
) => sql`
  select rowid from (${dyingFirst(sql`not guests.stuck and ${when}`, most)})
  union all
  select rowid from (
    select rowid from images
    where rowid in (${dyingFirst(sql`guests.stuck and ${when}`, raw('64'))})
    order by attempts, expires_at limit ${most})`

/** Of the hosts that are new or hang, whose turn it is. */
const turn = sql`row_number() over (
  partition by standing = 'answers'
  order by standing = 'hangs', standing = 'hangs' and held > 0,
    iif(standing = 'hangs', since, 0), is_dead,
    iif(${flag('newestFirst')} and standing = 'new', -id, 0), expires_at, id)`

const byUrgency = sql`${flag('slotlessFirst')} and not (standing <> 'hangs' and held + nth = 1),
  is_dead, expires_at, id`

const ONE = raw('1')

/** Which hosts are given something now: no more than there are slots. */
const chosen = sql`
  firsts as (
    select guests.*, image.rowid as id, ${isDead} as is_dead, image.expires_at, 1 as nth
    from guests cross join images image on image.rowid = coalesce(
      (${dyingFirst(isAlive, ONE)}), (${dyingFirst(isDead, ONE)}))),
  queued as (select *, ${turn} as turn from firsts),
  chosen as materialized (
    select host, standing, held, room, further, stuck from queued
    where standing = 'answers' or turn <= ${number('unproven')} + further
    order by ${byUrgency} limit ${number('limit')} + ${number('strangerFurther')})`

const perHost = sql`${number('perHost')}`

/**
 * Leases the images whose links die first, no more of one host than it may be given, and none that
 * only waits for what another brings. A link that has died has time: those that still live go
 * before its last try. However much waits or belongs to a host that is full, only the first of each
 * host are looked at.
 */
const claim = statement(sql`
  update images set leased_until = ${number('leasedUntil')}, attempts = attempts + 1
  where rowid in (
    with recursive ${hosts}, ${guests}, ${chosen},
    ready as (
      select guests.*, image.rowid as id, ${isDead} as is_dead, image.expires_at,
        row_number() over (
          partition by guests.host
          order by ${isDead}, iif(stuck, attempts, 0), image.expires_at, image.rowid) as nth
      from chosen guests cross join images image on image.rowid in (
        ${firstOfHost(isAlive, perHost)} union all ${firstOfHost(isDead, perHost)}
        limit ${perHost})),
    placed as (
      select *, row_number() over (order by ${byUrgency}) as place from ready where nth <= room)
    select id from placed where place <= ${number('limit')} + iif(nth = 1, further, 0))
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
  shares: Shares
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
        with recursive ${hosts}, ${guests}
        select (
          select rowid from images where host = guests.host and ${READY} and ${isFree} limit 1
        ) as id from guests
        where id is not null limit 1)`,
    )
    .prepare()

  /** Leases due images, as `shares` allow. Nothing waits longer than until `latestDue`. */
  return async ({ shares, ...want }: Want): Promise<ClaimedImage[]> => {
    while (await someWaitOver.get(want)) await atomically([bind(ready, want)])
    const values = { ...want, ...shareValues(shares) }
    if (!(await someReady.get(values))) return []
    const [rows] = await atomically([bind(claim, values)])
    return rows.map((row) => claimedImage(row, want.leasedUntil))
  }
}

const shareValues = ({ known, stranger, order, ...limits }: Shares) => ({
  ...limits,
  ...order,
  known: JSON.stringify(known),
  strangerStanding: stranger.standing,
  strangerRoom: stranger.room,
  strangerFurther: stranger.further,
})

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
