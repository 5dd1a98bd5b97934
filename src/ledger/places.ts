import { and, eq } from 'drizzle-orm'
import type { ClaimedImage, Place } from '../model/attempt.ts'
import type { LedgerDriver } from './database.ts'
import { offers } from './schema.ts'
import { number, sql, text } from './statement.ts'

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
