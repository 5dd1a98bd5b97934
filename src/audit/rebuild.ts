import { createHash } from 'node:crypto'
import type { Deps } from '../deps.ts'
import type { RebuildWrites } from '../ledger/rebuild.ts'
import { inParallel } from './parallel.ts'
import { type GenerationRecord, readRecord } from '../json/record.ts'
import { type Authorship, authorshipOf } from '../json/signed-record.ts'
import { messageOf } from './finding.ts'
import { askStore, listed, readRecordFile, type StoreReader } from './stored.ts'

const RECORDS = 'generations/'
const READS_AT_ONCE = 16

/**
 * `broken`: no record that can be read. `clashing`: another record tells of the same. `unreadable`:
 * the store does not give it. All three are left out. `altered`: not as we wrote it, as far as our
 * secrets tell. `unsigned`: as records were before they were signed, and as whoever alters one can
 * make it look. Both are left out unless they are to be taken all the same. `missing`: an object
 * that an image shows; the image is restored as it was.
 */
export type RebuildProblemKind =
  'broken' | 'clashing' | 'unreadable' | 'altered' | 'unsigned' | 'missing'

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
  /** Generations whose record is unsigned, and was taken all the same. */
  unsigned: number
  /** Records that were left out because nothing proves that we wrote them. */
  refused: number
  problems: number
}

export interface Rebuilding extends StoreReader {
  /** A ledger in which nothing else is. */
  ledger: RebuildWrites
  verifiesRecord: Deps['verifiesRecord']
  /** Records that nothing proves are taken; altered ones are named all the same. */
  takesUnproven: boolean
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
  const rebuilt = { records: 0, generations: 0, images: 0, unsigned: 0, refused: 0, problems: 0 }
  const report = (problem: RebuildProblem) => {
    rebuilt.problems++
    world.found(problem)
  }
  for await (const page of listed(world.objects, RECORDS)) {
    if (world.signal.aborted) break
    await inParallel(page, READS_AT_ONCE, world.signal, async ({ key }) => {
      const taken = await takeOne(world, key, report)
      if (taken === 'refused') rebuilt.refused++
      else if (taken) {
        rebuilt.generations++
        rebuilt.images += taken.record.images.length
        if (taken.authorship === 'unsigned') rebuilt.unsigned++
      }
      world.progress('reading records', ++rebuilt.records, null)
    })
  }
  return rebuilt
}

type Report = (problem: RebuildProblem) => void

/** Null where it was left out, whatever the reason was but one. */
async function takeOne(
  world: Rebuilding,
  key: string,
  report: Report,
): Promise<{ record: GenerationRecord; authorship: Authorship } | 'refused' | null> {
  const leftOut = (problem: RebuildProblemKind, detail: string) => {
    report({ problem, key, generationId: null, detail })
    return null
  }
  const bytes = await readRecordFile(world, key).catch(messageOf)
  if (typeof bytes === 'string') return leftOut('unreadable', bytes)
  if (bytes === null) return leftOut('broken', 'it is gone')
  const read = readRecord(key, bytes)
  if (typeof read === 'string') return leftOut('broken', read)
  const { record, text } = read
  const authorship = authorshipOf(text, record, world.verifiesRecord)
  if (authorship === 'altered' || (authorship === 'unsigned' && !world.takesUnproven))
    report({ problem: authorship, key, generationId: record.id, detail: UNPROVEN[authorship] })
  if (authorship !== 'ours' && !world.takesUnproven) return 'refused'
  const as = {
    sha256: createHash('sha256').update(bytes).digest('hex'),
    // Whoever takes it answers for it from now on: it is signed.
    isOwed: authorship !== 'ours',
  }
  if (!(await world.ledger.writeRestored(record, as, world.now())))
    return leftOut('clashing', 'another record has its Idempotency-Key')
  await lookForObjects(world, record, report)
  return { record, authorship }
}

const UNPROVEN = {
  altered: 'its HMAC is not that of its text, by any secret that is known here',
  unsigned: 'it has no HMAC, as none had before records were signed',
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
