import type { rebuilding } from '../ledger/rebuild.ts'
import { inParallel } from './parallel.ts'
import { type GenerationRecord, readRecord } from '../json/record.ts'
import { askStore, listed, readObject, type StoreReader, textOf } from './stored.ts'

const RECORDS = 'generations/'
const READS_AT_ONCE = 16
/** Far more than a record of ours has. */
const MAX_RECORD_BYTES = 16 * 1024 * 1024

/**
 * `broken`: no record that can be read. `clashing`: another record tells of the same. `unreadable`:
 * the store does not give it. All three are left out. `missing`: an object that an image shows; the
 * image is restored as it was.
 */
export type RebuildProblemKind = 'broken' | 'clashing' | 'unreadable' | 'missing'

export interface RebuildProblem {
  problem: RebuildProblemKind
  key: string
  generationId: string | null
  detail: string
}

export interface Rebuilt {
  records: number
  generations: number
  images: number
  problems: number
}

export interface Rebuilding extends StoreReader {
  /** A ledger in which nothing else is. */
  ledger: ReturnType<typeof rebuilding>
  now: () => number
  found: (problem: RebuildProblem) => void
  progress: (what: string, done: number, of: number | null) => void
  signal: AbortSignal
}

/**
 * Makes a ledger again from the records in the store. What was under way has no record: it is
 * adopted when its callback comes. Ends early once `signal` is aborted. Throws where the store
 * cannot be listed, or the ledger not written.
 */
export async function rebuild(world: Rebuilding): Promise<Rebuilt> {
  const rebuilt = { records: 0, generations: 0, images: 0, problems: 0 }
  const report = (problem: RebuildProblem) => {
    rebuilt.problems++
    world.found(problem)
  }
  for await (const page of listed(world.objects, RECORDS)) {
    if (world.signal.aborted) break
    await inParallel(page, READS_AT_ONCE, world.signal, async ({ key }) => {
      const record = await readOne(world, key, report)
      if (record) {
        rebuilt.generations++
        rebuilt.images += record.images.length
      }
      world.progress('reading records', ++rebuilt.records, null)
    })
  }
  return rebuilt
}

type Report = (problem: RebuildProblem) => void

async function readOne(
  world: Rebuilding,
  key: string,
  report: Report,
): Promise<GenerationRecord | null> {
  const leftOut = (problem: RebuildProblemKind, detail: string) => {
    report({ problem, key, generationId: null, detail })
    return null
  }
  let text: string | null
  try {
    text = await readObject(world, key, (object) => textOf(object, MAX_RECORD_BYTES))
  } catch (error) {
    return leftOut('unreadable', error instanceof Error ? error.message : String(error))
  }
  const record = text === null ? 'it is gone, or far too large' : readRecord(key, text)
  if (typeof record === 'string') return leftOut('broken', record)
  if (!(await world.ledger.restored(record, world.now())))
    return leftOut('clashing', 'another record has its Idempotency-Key')
  await lookForObjects(world, record, report)
  return record
}

async function lookForObjects(world: Rebuilding, { id, images }: GenerationRecord, report: Report) {
  const keys = new Set(images.flatMap(({ object_key }) => object_key ?? []))
  for (const key of keys)
    if (!(await askStore(world, () => world.objects.head(key))))
      report({
        problem: 'missing',
        key,
        generationId: id,
        detail: 'an image shows it, and the store has no such object',
      })
}
