import { eq } from 'drizzle-orm'
import { type Known, type KnownImage, type KnownOffer, SETTLED } from '../model/known.ts'
import type { LedgerDriver } from './database.ts'
import { generations } from './schema.ts'
import { orNull, sql, text } from './statement.ts'

type SettledColumns = Pick<typeof generations, (typeof SETTLED)[number]>

/** The columns that a decision may change, by the model's own list. */
export const settledColumns = Object.fromEntries(
  SETTLED.map((name) => [name, generations[name]]),
) as unknown as SettledColumns

/** Truth is 0 or 1 where json_object writes it. */
type InJson<T, Truth extends keyof T> = Omit<T, Truth> & Record<Truth, 0 | 1>

// With their generation in one query: one snapshot, and on D1 each query is a request of its own.

const theirImages = sql`(
  select json_group_array(json_object('source', source, 'position', position, 'status', status,
    'parked', status = 'pending' and due_at is null))
  from images where generation_id = generations.id)`.mapWith((json: string) =>
  (JSON.parse(json) as InJson<KnownImage, 'parked'>[]).map((image) => ({
    ...image,
    parked: image.parked === 1,
  })),
)

/** Offers without images exist: those that only contradict. */
const theirOffers = sql`(
  select json_group_array(json_object('source', source, 'position', position, 'url', url,
    'contradicts', contradicts))
  from offers where generation_id = generations.id)`.mapWith((json: string) =>
  (JSON.parse(json) as InJson<KnownOffer, 'contradicts'>[]).map((offer) => ({
    ...offer,
    contradicts: offer.contradicts === 1,
  })),
)

const firstDelivery = sql`(
  select id from callbacks
  where generation_id = generations.id and body_sha256 = ${orNull(text('bodySha256'))})`.mapWith(
  String,
)

/** What a decision is made from. */
export function known({ db }: LedgerDriver) {
  const query = db
    .select({
      ...settledColumns,
      id: generations.id,
      version: generations.version,
      archiveStatus: generations.archiveStatus,
      images: theirImages,
      offers: theirOffers,
      firstDelivery,
    })
    .from(generations)
    .where(eq(generations.id, text('id')))
    .prepare()

  /**
   * The generation as it stands, and whether this body was received for it; null where the ledger
   * has none of this id.
   */
  return async (id: string, bodySha256: string | null = null): Promise<Known | null> => {
    const row = await query.get({ id, bodySha256 })
    if (!row) return null
    const { images, offers, firstDelivery, ...generation } = row
    return { generation, images, offers, firstDelivery }
  }
}
