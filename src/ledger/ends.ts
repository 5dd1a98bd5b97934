import { redactUrl, withoutSecrets } from '../model/shown-url.ts'
import { type Bound, bind, type Fragment, number, raw, sql, statement, text } from './statement.ts'

/** What an UPDATE of a generation makes of it, in the names of its columns or as placeholders. */
interface After<Status extends object, News extends object> {
  status: Fragment<Status>
  archiveStatus: Fragment
  /** Whether a record would show any difference. */
  isNews: Fragment<News>
}

/**
 * What a generation owes that has ended, or changed after that: part of the SET of every statement
 * that can end one. Today that is a record in the bucket. While an archive is open nothing is owed.
 */
export const owed = <Status extends object, News extends object>({
  status,
  archiveStatus,
  isNews,
}: After<Status, News>) => sql`
  record_due_at = case
    when not ${isNews} then record_due_at
    when ${archiveStatus} = 'pending' then null
    when ${status} in ('succeeded', 'failed') then ${number('at')}
    else record_due_at end`

const owedByArchive = owed({
  status: raw('generations.status'),
  archiveStatus: raw('derived.status'),
  isNews: raw('true'),
})

/** `open` while a copy may still come, `kept`, `substituted` by the other copy, or gone. */
const fateOfPosition = raw(`case
  when first = 'archived' then 'kept'
  when first = 'lost' and second = 'archived' then 'substituted'
  when first = 'pending' or (first = 'lost' and second = 'pending') then 'open'
  else 'gone' end`)

const archiveStatus = raw(`case
  when count(*) = 0 then 'none'
  when sum(fate = 'open') > 0 then 'pending'
  when sum(fate = 'kept') = count(*) then 'archived'
  when sum(fate = 'gone') = count(*) then 'lost'
  else 'partial' end`)

/**
 * Archive status, position by position (contract, section 1): the primary is the output, or the
 * proxy where no output was offered. What an ended archive owes comes due here.
 */
export const deriveArchive = statement(sql`
  update generations set version = version + 1,
    archived_at = case
      when derived.status = 'pending' then null
      when generations.archive_status in ('none', 'pending') and derived.status <> 'none'
        then ${number('at')}
      else archived_at end,
    archive_status = derived.status,
    fetch_due_at = case
      when fetch_owed and fetch_due_at is null and provider_id is not null
        and derived.status <> 'pending' then ${number('at')}
      else fetch_due_at end,
    ${owedByArchive}
  from (
    select ${archiveStatus} as status from (
      select ${fateOfPosition} as fate from (
        select
          coalesce(max(case source when 'output' then status end), max(status)) as first,
          case when max(source = 'output')
            then max(case source when 'proxy' then status end) end as second
        from images where generation_id = ${text('id')} group by position))) as derived
  where id = ${text('id')} and changes() > 0`)

/**
 * Of a generation that is open still, only links are copied that were promised: a picture is its
 * result. What nobody told of it is asked for.
 */
export const keepPromise = statement(sql`
  update generations set version = version + 1, status = 'succeeded', finished_at = ${number('at')},
    promised = null, fetch_owed = provider_id is not null,
    ${owed({
      status: raw(`'succeeded'`),
      archiveStatus: raw('archive_status'),
      isNews: raw('true'),
    })}
  where id = ${text('id')} and status in ('requested', 'processing', 'unconfirmed')
    and exists (select 1 from images where generation_id = ${text('id')} and status = 'archived')`)

const imageIs = (status: Fragment) => sql`exists (
  select 1 from images i where i.generation_id = offers.generation_id
    and i.source = offers.source and i.position = offers.position and ${status})`

// Two links that differ only in their secrets become one place.
const forgetSecret = statement(sql`
  update or replace offers
  set url = iif(${imageIs(sql`i.status = 'archived'`)}, ${text('shownUrl')}, ${text('lostUrl')})
  where generation_id = ${text('generationId')} and url = ${text('url')}
    and ${imageIs(sql`i.status <> 'pending'`)}`)

const forgetSourceSecret = statement(sql`
  update images set source_url = iif(status = 'archived', ${text('shownUrl')}, ${text('lostUrl')})
  where generation_id = ${text('generationId')} and source_url = ${text('url')}
    and status <> 'pending'`)

/**
 * Once an image is archived, the queries of its links are of no more use; of one that is lost, those
 * that may be signed. Those of pending ones stay.
 */
export const forgetSecrets = (generationId: string, places: { url: string }[]): Bound[] =>
  places.flatMap(({ url }) => {
    const secret = { generationId, url, shownUrl: redactUrl(url), lostUrl: withoutSecrets(url) }
    return secret.shownUrl === url
      ? []
      : [bind(forgetSecret, secret), bind(forgetSourceSecret, secret)]
  })
