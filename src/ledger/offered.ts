import { type Decision, isStandingOutput, type Known, type NewOffer } from '../model/known.ts'
import { hostOf } from '../model/link.ts'
import type { Road } from '../model/outcome.ts'
import { deriveArchive, forgetSecrets } from './ends.ts'
import { type Bound, bind, join, json, number, raw, sql, statement, text } from './statement.ts'

// Each of these writes at least one row when the statement before it did, so `changes() > 0`
// carries the first statement's verdict to the last.

const COPY = [
  'sha256',
  'bytes',
  'content_type',
  'width',
  'height',
  'object_key',
  'suspect',
] as const
const isTaken = raw("images.status = 'pending' and excluded.status = 'archived'")
/** Nothing is to be had where it was offered before: the new place is tried next. */
const isParked = raw("images.status = 'pending' and images.due_at is null")
const takenCopy = join(
  [...COPY, 'status', 'archived_at'].map(
    (name) => sql`${raw(name)} = iif(${isTaken}, ${raw(`excluded.${name}`)},
      ${raw(`images.${name}`)})`,
  ),
  ', ',
)

/**
 * An image that is pending takes a further place at once; one that is final only remembers it.
 * Where the URL was downloaded for another image of the generation, its copy serves a new or
 * pending one too.
 */
const addImages = statement(sql`
  insert into images (generation_id, source, position, source_url, host, expires_at, due_at, status,
    archived_at, sha256, bytes, content_type, width, height, object_key, suspect)
  select ${text('generationId')}, value ->> 'source', value ->> 'position', value ->> 'url',
    value ->> 'host', value ->> 'expiresAt',
    iif(twin.sha256 is null, ${number('at')}, null),
    iif(twin.sha256 is null, 'pending', 'archived'),
    iif(twin.sha256 is null, null, ${number('at')}),
    twin.sha256, twin.bytes, twin.content_type, twin.width, twin.height, twin.object_key,
    twin.suspect
  from json_each(${json('images')}) left join images twin
    on twin.generation_id = ${text('generationId')} and twin.status = 'archived'
      and twin.source_url = value ->> 'url' and value ->> 'url' not glob '*[?&=][*][*][*]*'
  where changes() > 0
  on conflict (generation_id, source, position) do update set ${takenCopy},
    source_url = iif(${isTaken} or ${isParked}, excluded.source_url, source_url),
    host = iif(${isParked}, excluded.host, host),
    leased_until = iif(${isTaken}, null, leased_until),
    failure_code = iif(${isTaken}, null, failure_code),
    failure_message = iif(${isTaken}, null, failure_message),
    expires_at = case
      when ${isParked} then excluded.expires_at
      when status = 'pending' then min(expires_at, excluded.expires_at)
      else expires_at end,
    due_at = case
      when ${isTaken} then null
      when status = 'pending'
        then min(coalesce(due_at, excluded.due_at), coalesce(excluded.due_at, due_at))
      else due_at end,
    waiting = waiting and excluded.due_at is null`)

const noteTaken = statement(sql`
  insert into events (generation_id, at, event, detail)
  select generation_id, archived_at, 'archived',
    json_object('source', source, 'position', position, 'sha256', sha256, 'bytes', bytes)
  from images
  where generation_id = ${text('generationId')} and status = 'archived'
    and archived_at = ${number('at')}
    and not exists (
      select 1 from events e where e.generation_id = images.generation_id and e.event = 'archived'
        and e.at = archived_at and e.detail ->> 'source' = source
        and e.detail ->> 'position' = position)`)

const addPlaces = statement(sql`
  insert into offers (generation_id, source, position, url, "by", offered_at, expires_at,
    contradicts)
  select ${text('generationId')}, value ->> 'source', value ->> 'position', value ->> 'url',
    ${text('road')}, ${number('at')}, value ->> 'expiresAt', value ->> 'contradicts'
  from json_each(${json('offers')}) where changes() > 0
  on conflict (generation_id, source, position, url)
    do update set contradicts = min(contradicts, excluded.contradicts)`)

const loseParked = statement(sql`
  update images set status = 'lost', leased_until = null
  where generation_id = ${text('generationId')} and status = 'pending' and due_at is null
    and changes() > 0
    and (source, position) in (
      select value ->> 'source', value ->> 'position' from json_each(${json('lost')}))`)

/** Nothing was offered before: all of it is still to be copied, and nothing needs deriving. */
export const opensArchive = ({ images }: Known, { offers, tries, forgetsTried }: Decision) =>
  tries.length > 0 ||
  ((images.length === 0 || forgetsTried) && offers.some(({ contradicts }) => !contradicts))

/** Nobody has to ask for fresh links: whoever promised these is asked all the time. */
const askForNone = statement(sql`
  update images set fresh_links_asked = 1
  where generation_id = ${text('generationId')} and changes() > 0`)

/** The first images of a generation, of links that were only promised. */
export const tryPlaces = (
  generationId: string,
  road: Road,
  at: number,
  tries: NewOffer[],
): Bound[] => [
  bind(addPlaces, { generationId, at, road, offers: tries }),
  bind(addImages, { generationId, at, images: soonestOfEach(tries) }),
  bind(askForNone, { generationId }),
]

const forgetImages = statement(sql`
  delete from images where generation_id = ${text('generationId')} and changes() > 0`)
const forgetOffers = statement(sql`
  delete from offers where generation_id = ${text('generationId')} and changes() > 0`)
const forgetEnd = statement(sql`
  update generations set archived_at = null
  where id = ${text('generationId')} and changes() > 0`)

const forgetTried = (generationId: string): Bound[] =>
  [forgetImages, forgetOffers, forgetEnd].map((one) => bind(one, { generationId }))

/** What a decision means for the images of its generation. */
export function imageConsequences(known: Known, decision: Decision) {
  const { id: generationId } = known.generation
  const { at, road, offers, tries, forgetsTried, lost } = decision
  const list: Bound[] = forgetsTried ? forgetTried(generationId) : []
  const offered = offers.filter(({ contradicts }) => !contradicts)
  if (offers.length > 0) list.push(bind(addPlaces, { generationId, at, road, offers }))
  if (tries.length > 0) list.push(...tryPlaces(generationId, road, at, tries))
  if (offered.length > 0)
    list.push(bind(addImages, { generationId, at, images: soonestOfEach(offered) }))
  if (lost.length > 0) list.push(bind(loseParked, { generationId, lost }))
  const changes = forgetsTried || offered.length + lost.length > 0
  if (changes && !opensArchive(known, decision))
    list.push(bind(deriveArchive, { id: generationId, at }), bind(noteTaken, { generationId, at }))
  if (lost.length > 0) list.push(...forgetSecrets(generationId, known.offers))
  return list
}

const unnamed = statement(sql`
  update offers set unnamed = url in (select value from json_each(${json('urls')}))
  where generation_id = ${text('generationId')} and source = 'output' and not contradicts
    and changes() > 0`)

/** An answered fetch left these outputs out. */
export const leaveUnnamed = ({ generation, offers }: Known, left: { url: string }[]): Bound[] =>
  offers.some(isStandingOutput)
    ? [bind(unnamed, { generationId: generation.id, urls: left.map(({ url }) => url) })]
    : []

/** One place an image, the one that dies first, as the place to try next. */
function soonestOfEach(offered: NewOffer[]) {
  const soonest = new Map<string, NewOffer & { host: string }>()
  for (const offer of offered.toSorted((a, b) => a.expiresAt - b.expiresAt)) {
    const key = `${offer.source} ${offer.position}`
    if (!soonest.has(key)) soonest.set(key, { ...offer, host: hostOf(offer.url) })
  }
  return [...soonest.values()]
}
