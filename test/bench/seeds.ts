import { join } from 'node:path'
import type Database from 'better-sqlite3'
import { getTableColumns, getTableName } from 'drizzle-orm'
import type { SQLiteColumn, SQLiteTable } from 'drizzle-orm/sqlite-core'
import { openSqlite } from '../../src/ledger/driver/sqlite.node.ts'
import { generations, images, nsfwReports, offers } from '../../src/ledger/schema.ts'
import { hostOf } from '../../src/model/host.ts'
import { newId } from '../../src/model/uuid.ts'
import { folder } from './rig.ts'

const PARAMETERS = {
  init_image: 'https://example.com/bench.png',
  mask_image: 'https://example.com/bench-mask.png',
  width: 512,
  height: 512,
  samples: 2,
  steps: 21,
  guidance_scale: 7.5,
  strength: 0.7,
  scheduler: 'DPMSolverMultistepScheduler',
  use_karras_sigmas: 'yes' as const,
  algorithm_type: 'sde-dpmsolver++',
  clip_skip: 2,
  safety_checker: 'yes' as const,
  seed: null,
}

type NewGeneration = typeof generations.$inferInsert
type NewImage = typeof images.$inferInsert
type NewReport = typeof nsfwReports.$inferInsert

const DAY_MS = 86_400_000
const ROWS_AT_ONCE = 1000

const requested = (id: string, at: number, n: number): NewGeneration => ({
  id,
  status: 'processing',
  modelId: 'pony_realism',
  prompt: `a cat sitting on a bench, number ${n}`,
  parameters: PARAMETERS,
  providerId: String(100_000_000 + n),
  submittedBy: 'bench',
  requestedAt: at,
  submissionStartedAt: at,
  etaS: 600,
  // The webhook has a day: no fetch gets between us and what is measured.
  fetchDueAt: at + DAY_MS,
})

/** A ledger in which so many generations wait for their callback. */
export async function awaiting(count: number) {
  const now = Date.now()
  const ids = Array.from({ length: count }, () => newId(now))
  const path = await seeded((write) =>
    ids.forEach((id, n) => {
      write({ generation: requested(id, now, n) })
    }),
  )
  return { path, ids }
}

/**
 * A ledger in which every one of `urls` is a pending image that is due: of each two, an output and
 * its mirror.
 */
export function pending(urls: readonly string[]) {
  const now = Date.now()
  return seeded((write) => {
    for (let n = 0; n < urls.length; n += 2) {
      const id = newId(now)
      const [output, proxy] = urls.slice(n, n + 2).map((url, side): NewImage => ({
        generationId: id,
        source: side === 0 ? 'output' : 'proxy',
        position: 0,
        sourceUrl: url,
        host: hostOf(url),
        expiresAt: now + DAY_MS + n,
        dueAt: now,
      }))
      write({
        generation: {
          ...requested(id, now, n),
          status: 'succeeded',
          archiveStatus: 'pending',
          finishedAt: now,
          fetchDueAt: null,
        },
        images: [output, proxy].filter((image) => image !== undefined),
      })
    }
  })
}

/**
 * A ledger of so many generations that have ended, one in a hundred flagged, one in a hundred
 * failed.
 */
export function ended(count: number) {
  const newest = Date.now()
  return seeded((write) => {
    for (let n = 0; n < count; n++) {
      const at = newest - (count - n) * 10
      const id = newId(at)
      const sha256 = n.toString(16).padStart(64, '0')
      const failed = n % 100 === 7
      const flagged = n % 100 === 42
      write({
        generation: {
          ...requested(id, at, n),
          status: failed ? 'failed' : 'succeeded',
          archiveStatus: failed ? 'none' : n % 1000 === 5 ? 'lost' : 'archived',
          modelId: `model-${n % 20}`,
          finishedAt: at + 9,
          archivedAt: failed ? null : at + 9,
          fetchDueAt: null,
          nsfwVerdict: flagged ? 'flagged' : 'clear',
        },
        ...(failed
          ? {}
          : {
              images: [
                {
                  generationId: id,
                  source: 'output',
                  position: 0,
                  status: 'archived',
                  sourceUrl: `https://r2.example.com/${n}.png`,
                  host: 'r2.example.com',
                  expiresAt: at + DAY_MS,
                  sha256,
                  bytes: 204_800,
                  contentType: 'image/png',
                  width: 512,
                  height: 512,
                  objectKey: `sha256/${sha256.slice(0, 2)}/${sha256.slice(2, 4)}/${sha256}.png`,
                  archivedAt: at + 9,
                },
              ],
              report: {
                generationId: id,
                value: flagged,
                verdict: flagged ? 'flagged' : 'clear',
                by: 'callback',
                at,
              },
            }),
      })
    }
  })
}

interface Written {
  generation: NewGeneration
  images?: NewImage[]
  report?: NewReport
}

async function seeded(make: (write: (rows: Written) => void) => void) {
  const path = join(await folder(), 'afterimage.db')
  const { db, close } = openSqlite(path)
  const into = {
    generations: inserter(db.$client, generations),
    images: inserter(db.$client, images),
    offers: inserter(db.$client, offers),
    reports: inserter(db.$client, nsfwReports),
  }
  let rows = 0
  db.$client.exec('begin')
  make(({ generation, images = [], report }) => {
    into.generations(generation)
    for (const image of images) {
      into.images(image)
      into.offers(offerOf(image))
    }
    if (report) into.reports(report)
    if (++rows % ROWS_AT_ONCE === 0) db.$client.exec('commit; begin')
  })
  db.$client.exec('commit')
  // Closing checkpoints: the file is whole by itself, and can be copied.
  await close()
  return path
}

const offerOf = ({
  generationId,
  source,
  position,
  sourceUrl,
  expiresAt,
}: NewImage): typeof offers.$inferInsert => ({
  generationId,
  source,
  position,
  url: sourceUrl,
  by: 'callback',
  offeredAt: expiresAt - DAY_MS,
  expiresAt,
})

/** Millions of rows: drizzle would build each statement anew. */
function inserter<T extends SQLiteTable>(client: Database.Database, table: T) {
  const columns = Object.entries(getTableColumns(table))
  const names = columns.map(([, { name }]) => `"${name}"`).join(', ')
  const insert = client.prepare(
    `insert into ${getTableName(table)} (${names}) values (${columns.map(() => '?').join(', ')})`,
  )
  return (row: T['$inferInsert']) => {
    const values = row as Record<string, unknown>
    insert.run(
      columns.map(([key, column]) =>
        toDriver(column as SQLiteColumn, values[key] ?? column.default),
      ),
    )
  }
}

const toDriver = (column: SQLiteColumn, value: unknown) =>
  value === undefined || value === null ? null : column.mapToDriverValue(value)
