import { and, asc, desc, eq, gte, inArray, lt } from 'drizzle-orm'
import type { ArchiveStatus, GenerationStatus } from '../model/generation.ts'
import type { NsfwVerdict } from '../model/verdict.ts'
import type { LedgerDriver } from './database.ts'
import { generations as table, images, nsfwReports } from './schema.ts'
import { sql, text } from './statement.ts'

export type GenerationRow = typeof table.$inferSelect
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
 * keeps it from the indexes of the others (https://www.sqlite.org/optoverview.html, "Disqualifying
 * WHERE Clause Terms Using Unary +").
 */
function wanted({ clientTrackId, archiveStatus, nsfw, status, modelId }: GenerationFilter) {
  const rank = (value: string) => (RARE.includes(value) ? RARE.indexOf(value) : RARE.length + 1)
  return [
    { column: table.clientTrackId, value: clientTrackId, rank: -1 },
    { column: table.archiveStatus, value: archiveStatus, rank: rank(archiveStatus ?? '') },
    { column: table.nsfwVerdict, value: nsfw, rank: rank(nsfw ?? '') },
    { column: table.status, value: status, rank: rank(status ?? '') },
    { column: table.modelId, value: modelId, rank: RARE.length },
  ]
    .filter(({ value }) => value !== undefined)
    .toSorted((a, b) => a.rank - b.rank)
}

/** Rows of generations, each with all that its JSON shows. */
function whole({ db }: LedgerDriver) {
  const theirs = sql`(select value from json_each(${text('ids')}))`
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

  return async (rows: GenerationRow[]): Promise<WholeGeneration[]> => {
    const ids = JSON.stringify(rows.map(({ id }) => id))
    const theirImages = await imagesOf.all({ ids })
    const theirReports = await reportsOf.all({ ids })
    return rows.map((generation) => ({
      generation,
      images: theirImages.filter(({ generationId }) => generationId === generation.id),
      reports: theirReports.filter(({ generationId }) => generationId === generation.id),
    }))
  }
}

/** Newest first, by keyset: `beforeId` of the next page is the last id of this one. */
export type ListGenerations = (
  filter: GenerationFilter,
  limit: number,
) => Promise<WholeGeneration[]>

export function listGenerations(driver: LedgerDriver): ListGenerations {
  const wholeOf = whole(driver)
  return async (filter, limit) => {
    const [first, ...others] = wanted(filter)
    const conditions = [
      first && sql`${first.column} = ${first.value}`,
      ...others.map(({ column, value }) => sql`+${column} = ${value}`),
      filter.fromId && gte(table.id, filter.fromId),
      filter.beforeId && lt(table.id, filter.beforeId),
    ].filter((condition) => typeof condition === 'object')
    return wholeOf(
      await driver.db
        .select()
        .from(table)
        .where(and(...conditions))
        .orderBy(desc(table.id))
        .limit(limit),
    )
  }
}

/** Generations as doors show them. */
export function generations(driver: LedgerDriver, list = listGenerations(driver)) {
  const wholeOf = whole(driver)
  const byId = driver.db
    .select()
    .from(table)
    .where(eq(table.id, text('id')))
    .prepare()

  return {
    read: async (id: string): Promise<WholeGeneration | null> => {
      const row = await byId.get({ id })
      return row ? ((await wholeOf([row]))[0] ?? null) : null
    },

    /** Who submitted it, whether it exists at all: what a door needs to let somebody in. */
    readRow: async (id: string): Promise<GenerationRow | null> => (await byId.get({ id })) ?? null,

    list,
  }
}
