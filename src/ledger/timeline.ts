import { asc, eq } from 'drizzle-orm'
import { redactUrl } from '../model/shown-url.ts'
import type { LedgerDriver } from './database.ts'
import { callbacks, events, nsfwReports, offers } from './schema.ts'

export interface TimelineEntry {
  at: number
  event: string
  detail: Record<string, unknown>
}

/** What happened, from wherever it is kept. */
export const timeline = ({ db }: LedgerDriver) => ({
  /** Everything that happened to a generation, oldest first. */
  read: async (id: string): Promise<TimelineEntry[]> => {
    const [noted, received, offered, reported] = await Promise.all([
      db.select().from(events).where(eq(events.generationId, id)).orderBy(asc(events.id)),
      db.select().from(callbacks).where(eq(callbacks.generationId, id)),
      db.select().from(offers).where(eq(offers.generationId, id)),
      db.select().from(nsfwReports).where(eq(nsfwReports.generationId, id)),
    ])
    return [
      ...received.map(callbackEntry),
      ...reported.map(reportEntry),
      ...offered.map(offerEntry),
      ...noted.map(({ at, event, detail }) => ({ at, event, detail })),
    ].toSorted((a, b) => a.at - b.at)
  },
})

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

const reportEntry = ({
  at,
  value,
  verdict,
  by,
}: typeof nsfwReports.$inferSelect): TimelineEntry => ({
  at,
  event: 'verdict',
  detail: { value, verdict, by },
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
