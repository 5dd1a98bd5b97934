import { sql } from 'drizzle-orm'
import { redactUrl } from '../model/shown-url.ts'
import { type Bound, bind, statement, value } from './statement.ts'

/**
 * Archive status, position by position (contract, section 1): the primary is the output, or the
 * proxy where no output was offered; `open` while a copy may still come, `kept`, `substituted` by
 * the other copy, or gone. What an ended archive owes comes due here.
 */
export const deriveArchive = statement<{ id: string; now: number }>(sql`
  update generations set version = version + 1,
    archived_at = case
      when derived.status = 'pending' then null
      when generations.archive_status in ('none', 'pending') and derived.status <> 'none' then ${value('now')}
      else archived_at end,
    archive_status = derived.status,
    record_due_at = case
      when derived.status = 'pending' then null
      when generations.status in ('succeeded', 'failed') then ${value('now')}
      else record_due_at end,
    fetch_due_at = case
      when fetch_owed and fetch_due_at is null and provider_id is not null and derived.status <> 'pending' then ${value('now')}
      else fetch_due_at end
  from (
    select case
      when count(*) = 0 then 'none'
      when sum(fate = 'open') > 0 then 'pending'
      when sum(fate = 'kept') = count(*) then 'archived'
      when sum(fate = 'gone') = count(*) then 'lost'
      else 'partial' end as status
    from (
      select case
        when first = 'archived' then 'kept'
        when first = 'lost' and second = 'archived' then 'substituted'
        when first = 'pending' or (first = 'lost' and second = 'pending') then 'open'
        else 'gone' end as fate
      from (
        select coalesce(max(case source when 'output' then status end), max(status)) as first,
          case when max(source = 'output') then max(case source when 'proxy' then status end) end as second
        from images where generation_id = ${value('id')} group by position))) as derived
  where id = ${value('id')} and changes() > 0`)

const isFinal = sql`exists (select 1 from images i where i.generation_id = offers.generation_id
  and i.source = offers.source and i.position = offers.position and i.status <> 'pending')`

interface Secret {
  generationId: string
  url: string
  shownUrl: string
}

// Two links that differ only in their secrets become one place.
const forgetSecret = statement<Secret>(sql`
  update or replace offers set url = ${value('shownUrl')}
  where generation_id = ${value('generationId')} and url = ${value('url')} and ${isFinal}`)

const forgetSourceSecret = statement<Secret>(sql`
  update images set source_url = ${value('shownUrl')}
  where generation_id = ${value('generationId')} and source_url = ${value('url')} and status <> 'pending'`)

/**
 * Once an image is final, the secrets in its links are of no more use. Those of pending ones stay.
 */
export const forgetSecrets = (generationId: string, places: { url: string }[]): Bound[] =>
  places.flatMap(({ url }) => {
    const secret = { generationId, url, shownUrl: redactUrl(url) }
    return secret.shownUrl === url
      ? []
      : [bind(forgetSecret, secret), bind(forgetSourceSecret, secret)]
  })
