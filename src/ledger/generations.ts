import { and, asc, desc, eq, gte, inArray, lt, sql } from 'drizzle-orm'
import type { ArchiveStatus, GenerationStatus, NsfwVerdict } from '../model/generation.ts'
import { redactUrl } from '../model/shown-url.ts'
import type { LedgerDriver } from './ledger.ts'
import { callbacks, events, generations, images, nsfwReports, offers } from './schema.ts'
import type { GenerationRow } from './settle.ts'
import { value } from './statement.ts'

export type ImageRow = typeof images.$inferSelect
export type NsfwReportRow = typeof nsfwReports.$inferSelect

/** A generation with all that its JSON shows. */
export interface WholeGeneration {
  generation: GenerationRow
  images: ImageRow[]
  reports: NsfwReportRow[]
}

export interface GenerationFilter {
  status?: GenerationStatus | undefined
  archiveStatus?: ArchiveStatus | undefined
  nsfw?: NsfwVerdict | undefined
  modelId?: string | undefined
  clientTrackId?: string | undefined
  /** Ids are in the order of requests, so that a time is a bound on ids: inclusive. */
  fromId?: string | undefined
  /** Exclusive. */
  beforeId?: string | undefined
}

export interface TimelineEntry {
  at: number
  event: string
  detail: Record<string, unknown>
}

/** Of these there are few, as a rule: in this order. */
const RARE = [
  'lost',
  'partial',
  'unconfirmed',
  'requested',
  'flagged',
  'failed',
  'processing',
  'pending',
]

/**
 * What a filter asks for, with what leaves the fewest generations first: its index is walked.
 * SQLite knows no numbers of rows, and would as soon walk all that are archived. The unary plus
 * keeps it from the indexes of the others
 * (https://www.sqlite.org/optoverview.html#disqualifying_where_clause_terms_using_unary_).
 */
function wanted({ clientTrackId, archiveStatus, nsfw, status, modelId }: GenerationFilter) {
  const rank = (value: string) => (RARE.includes(value) ? RARE.indexOf(value) : RARE.length + 1)
  return [
    { column: generations.clientTrackId, value: clientTrackId, rank: -1 },
    { column: generations.archiveStatus, value: archiveStatus, rank: rank(archiveStatus ?? '') },
    { column: generations.nsfwVerdict, value: nsfw, rank: rank(nsfw ?? '') },
    { column: generations.status, value: status, rank: rank(status ?? '') },
    { column: generations.modelId, value: modelId, rank: RARE.length },
  ]
    .filter(({ value }) => value !== undefined)
    .toSorted((a, b) => a.rank - b.rank)
}

/** What doors show. Nothing here writes. */
export function reading({ db }: LedgerDriver) {
  const byId = db
    .select()
    .from(generations)
    .where(eq(generations.id, value('id')))
    .prepare()
  const oneImage = db
    .select()
    .from(images)
    .where(and(eq(images.generationId, value('id')), eq(images.position, value('position'))))
    .orderBy(asc(images.source))
    .prepare()
  const theirs = sql`(select value from json_each(${value('ids')}))`
  const imagesOf = db
    .select()
    .from(images)
    .where(inArray(images.generationId, theirs))
    .orderBy(asc(images.source), asc(images.position))
    .prepare()
  const reportsOf = db
    .select()
    .from(nsfwReports)
    .where(inArray(nsfwReports.generationId, theirs))
    .orderBy(asc(nsfwReports.id))
    .prepare()

  const whole = async (rows: GenerationRow[]): Promise<WholeGeneration[]> => {
    const ids = JSON.stringify(rows.map(({ id }) => id))
    const theirImages = await imagesOf.all({ ids })
    const theirReports = await reportsOf.all({ ids })
    return rows.map((generation) => ({
      generation,
      images: theirImages.filter(({ generationId }) => generationId === generation.id),
      reports: theirReports.filter(({ generationId }) => generationId === generation.id),
    }))
  }

  return {
    generation: async (id: string): Promise<WholeGeneration | null> => {
      const row = await byId.get({ id })
      return row ? ((await whole([row]))[0] ?? null) : null
    },

    /**
     * Who submitted a generation, whether it exists at all: what a door needs to let somebody in.
     */
    generationRow: async (id: string): Promise<GenerationRow | null> =>
      (await byId.get({ id })) ?? null,

    /** Newest first, by keyset: `beforeId` of the next page is the last id of this one. */
    generations: async (filter: GenerationFilter, limit: number): Promise<WholeGeneration[]> => {
      const [first, ...others] = wanted(filter)
      const conditions = [
        first && sql`${first.column} = ${first.value}`,
        ...others.map(({ column, value }) => sql`+${column} = ${value}`),
        filter.fromId && gte(generations.id, filter.fromId),
        filter.beforeId && lt(generations.id, filter.beforeId),
      ].filter((condition) => typeof condition === 'object')
      return whole(
        await db
          .select()
          .from(generations)
          .where(and(...conditions))
          .orderBy(desc(generations.id))
          .limit(limit),
      )
    },

    /** Both copies of a position, the output first. */
    imagesAt: async (id: string, position: number): Promise<ImageRow[]> =>
      oneImage.all({ id, position }),

    /** Everything that happened to a generation, oldest first. */
    timeline: async (id: string): Promise<TimelineEntry[]> => {
      const [noted, received, offered, reported] = await Promise.all([
        db.select().from(events).where(eq(events.generationId, id)).orderBy(asc(events.id)),
        db.select().from(callbacks).where(eq(callbacks.generationId, id)),
        db.select().from(offers).where(eq(offers.generationId, id)),
        db.select().from(nsfwReports).where(eq(nsfwReports.generationId, id)),
      ])
      return [
        ...received.map(callbackEntry),
        ...reported.map(({ at, value, verdict, by }) => ({
          at,
          event: 'verdict',
          detail: { value, verdict, by },
        })),
        ...offered.map(offerEntry),
        ...noted.map(({ at, event, detail }) => ({ at, event, detail })),
      ].toSorted((a, b) => a.at - b.at)
    },
  }
}

const callbackEntry = (row: typeof callbacks.$inferSelect): TimelineEntry => ({
  at: row.receivedAt,
  event: 'callback',
  detail: {
    decision: row.decision,
    body_sha256: row.bodySha256,
    count: row.count,
    last_received_at: new Date(row.lastReceivedAt).toISOString(),
  },
})

const offerEntry = (row: typeof offers.$inferSelect): TimelineEntry => ({
  at: row.offeredAt,
  event: 'offered',
  detail: {
    source: row.source,
    position: row.position,
    url: redactUrl(row.url),
    by: row.by,
    expires_at: new Date(row.expiresAt).toISOString(),
    contradicts: row.contradicts,
    unnamed: row.unnamed,
  },
})
