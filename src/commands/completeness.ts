import { complete, type Completeness, type Completing } from '../audit/completeness.ts'
import { duration } from '../audit/duration.ts'
import type { Hole } from '../audit/holes.ts'
import type { Config } from '../config.ts'
import { table } from './terminal/table.ts'
import { firstIdAt } from '../model/uuid.ts'
import { type Call, INTERRUPTED, ledgerLine } from './command.ts'
import { readOptions } from './terminal/options.ts'
import { counted, grouped, tabbed } from './terminal/words.ts'
import { showBar } from './terminal/bar.ts'

const USAGE = `afterimage completeness tells whether every generation ended once, in one way
that is on record, or is still in time.

  --since T   only what was requested at T or later: an RFC 3339 time, or how
              long ago: 90s, 30m, 24h, 7d
  --until T   only what was requested before T
  --json      one JSON object a line: the holes, then the report

It prints every hole, then by which road generations ended, the provider's
missed callbacks, and the margins at archiving. It only reads the ledger, and
the service may run meanwhile. Settings are those of the service.
Ends with 0 if nothing is missing, 1 if there are holes, 2 if it could not look.
`

type World = Pick<Completing, 'audit' | 'now'> & {
  config: Completing['config'] & Pick<Config, 'databasePath'>
  env: Record<string, string | undefined>
}

export async function runCompleteness(call: Call, world: () => Promise<World>): Promise<number> {
  const options = readOptions(call, USAGE, {
    since: { type: 'string' },
    until: { type: 'string' },
    json: { type: 'boolean', default: false },
  })
  if (typeof options === 'number') return options
  const { signal, err, out } = call
  const now = Date.now()
  const [since, until] = [readTime(options.since, now), readTime(options.until, now)]
  if (since === null || until === null) {
    err.write(
      `expected a time such as 2026-01-31T12:00:00Z, or how long ago, such as 24h\n\n${USAGE}`,
    )
    return 2
  }
  const { env, ...opened } = await world()
  err.write(ledgerLine(opened.config))
  const bar = showBar(err, env, opened.now)
  const line = options.json ? jsonHole : plainHole
  const found = (hole: Hole) => {
    bar.clear()
    out(line(hole))
  }
  const range = {
    fromId: firstIdAt(since ?? 0),
    beforeId: firstIdAt(until ?? Number.MAX_SAFE_INTEGER),
  }
  const report = await complete({ ...opened, found, progress: bar.show, signal }, range)
  bar.clear()
  if (signal.aborted) {
    err.write('Interrupted.\n')
    return INTERRUPTED
  }
  out(
    options.json
      ? JSON.stringify({ report: jsonReport(report, since, until ?? now) })
      : plainReport(report),
  )
  return report.holes > 0 ? 1 : 0
}

const UNIT_MS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const RFC3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)$/u

/** Milliseconds since the epoch; undefined where nothing was said, null where it is no time. */
function readTime(text: string | undefined, now: number) {
  if (text === undefined) return undefined
  const [, count, unit] = /^(\d{1,9}(?:\.\d+)?)([smhd])$/u.exec(text) ?? []
  if (count !== undefined) return now - Number(count) * UNIT_MS[unit as keyof typeof UNIT_MS]
  const at = RFC3339.test(text) ? Date.parse(text) : NaN
  return Number.isNaN(at) ? null : at
}

const nameOf = ({ generationId, image }: Hole) =>
  image ? `${generationId}/${image.source}/${image.position}` : generationId

const plainHole = (hole: Hole) => tabbed(hole.hole, nameOf(hole), hole.detail)

const jsonHole = ({ hole, generationId, image, detail }: Hole) =>
  JSON.stringify({ hole, generation_id: generationId, image, detail })

function plainReport(report: Completeness) {
  const {
    generations,
    byStatus,
    endedBy,
    inTime,
    callbacks,
    byArchiveStatus,
    images,
    marginMs,
    recordsOwed,
    holes,
  } = report
  const { reply, callback, fetch, deadline, unknown } = endedBy
  return table([
    ['generations', grouped(generations), words(byStatus)],
    [
      'ended by',
      grouped(byStatus.succeeded + byStatus.failed),
      words({ reply, callback, fetch, deadline, unknown }),
    ],
    ['still in time', grouped(inTime), ''],
    [
      'callbacks missed',
      grouped(callbacks.missed),
      `of ${grouped(callbacks.due)} due${percent(callbacks)}`,
    ],
    ['archives', grouped(generations - byArchiveStatus.none), words(byArchiveStatus)],
    ['images', grouped(images.archived + images.lost + images.pending), words(images)],
    [
      'margin at archiving',
      marginMs ? duration(marginMs.p50) : '-',
      marginMs ? margins(marginMs) : 'none was measured',
    ],
    ['records owed', grouped(recordsOwed), ''],
    ['holes', grouped(holes), holes === 0 ? 'nothing is missing' : ''],
  ])
}

const words = (counts: Record<string, number>) =>
  Object.entries(counts)
    .filter(([, count]) => count > 0)
    .map(([name, count]) => `${name} ${grouped(count)}`)
    .join(', ')

const percent = ({ due, missed }: Completeness['callbacks']) =>
  due === 0 ? '' : ` (${((100 * missed) / due).toFixed(1)} %)`

const margins = ({ min, p1, late }: NonNullable<Completeness['marginMs']>) =>
  `median; 99 of 100 had ${duration(p1)} or more, the least ${duration(min)}` +
  (late > 0 ? `; ${counted(late, 'link')} had none` : '')

function jsonReport(report: Completeness, since: number | undefined, until: number) {
  const { marginMs, callbacks } = report
  const seconds = (ms: number) => ms / 1000
  return {
    since: since === undefined ? null : new Date(since).toISOString(),
    until: new Date(until).toISOString(),
    generations: report.generations,
    by_status: report.byStatus,
    ended_by: report.endedBy,
    in_time: report.inTime,
    callbacks: {
      ...callbacks,
      missed_rate: callbacks.due === 0 ? null : callbacks.missed / callbacks.due,
    },
    by_archive_status: report.byArchiveStatus,
    images: report.images,
    margin_s: marginMs && {
      min: seconds(marginMs.min),
      p1: seconds(marginMs.p1),
      p50: seconds(marginMs.p50),
      p99: seconds(marginMs.p99),
      without: marginMs.late,
    },
    records_owed: report.recordsOwed,
    holes: report.holes,
  }
}
