import { createHash } from 'node:crypto'
import { readRecord, recordKey } from '../json/record.ts'
import { authorshipOf } from '../json/signed-record.ts'
import { recordOf } from '../work/record.ts'
import { type Finding, messageOf, type Report, type Verified, type Verifying } from './finding.ts'
import { inParallel } from './parallel.ts'
import { readRecordFile } from './stored.ts'

const READS_AT_ONCE = 16

type Recorded = Awaited<ReturnType<Verifying['audit']['recorded']>>[number]
type Bad = Pick<Finding, 'finding' | 'detail'>
type Judged = 'fine' | 'unsigned' | Bad

/** Reads the record of each ended generation, and compares it with what the ledger knows of it. */
export async function verifyRecords(world: Verifying, verified: Verified, report: Report) {
  const { audit, progress, signal } = world
  let page = await audit.recorded('')
  while (page.length > 0 && !signal.aborted) {
    await inParallel(page, READS_AT_ONCE, signal, async (recorded) => {
      const judged = await judge(world, recorded)
      if (judged === 'unsigned') {
        if (!(await isSigned(world, recorded))) verified.unsigned++
      } else if (judged !== 'fine') report(await findingOf(world, recorded, judged))
      progress('reading records', ++verified.records, null)
    })
    page = await audit.recorded(page.at(-1)?.id ?? '')
  }
}

async function judge(world: Verifying, recorded: Recorded): Promise<Judged> {
  const { id, requestedAt, recordSha256 } = recorded
  const key = recordKey(id, requestedAt)
  const bytes = await readRecordFile(world, key).catch(messageOf)
  if (typeof bytes === 'string') return { finding: 'unreadable', detail: bytes }
  const judged = bytes ? judgeBytes(world, recorded, key, bytes) : MISSING
  if (judged === 'fine' || judged === 'unsigned') return judged
  // The service may have written another one since the ledger was asked, or be about to.
  const [now] = await world.audit.known([id])
  if (!now || now.recordDueAt !== null) return 'fine'
  return now.recordSha256 === recordSha256 ? judged : judge(world, now)
}

const MISSING: Bad = { finding: 'missing', detail: 'the store has no such object' }
const altered = (detail: string): Bad => ({ finding: 'altered', detail })

function judgeBytes(
  { verifiesRecord }: Verifying,
  { recordSha256 }: Recorded,
  key: string,
  bytes: Uint8Array,
): Judged {
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  if (sha256 === recordSha256) return 'fine'
  const read = readRecord(key, bytes)
  if (typeof read === 'string') return altered(read)
  const authorship = authorshipOf(read.text, read.record, verifiesRecord)
  // What was lost or altered was written again, and says in whose place.
  if (authorship === 'ours' && read.record.replaces === recordSha256) return 'fine'
  if (recordSha256 !== null) return altered(`it has SHA-256 ${sha256}, not ${recordSha256}`)
  if (authorship === 'altered') return altered('its HMAC is not that of its text')
  return authorship === 'ours' ? 'fine' : 'unsigned'
}

async function findingOf(world: Verifying, recorded: Recorded, bad: Bad): Promise<Finding> {
  return {
    finding: bad.finding,
    key: recordKey(recorded.id, recorded.requestedAt),
    images: [],
    detail: `the record of generation ${recorded.id}: ${bad.detail}`,
    repair:
      world.repair && bad.finding !== 'unreadable'
        ? await writeAgain(world, recorded, bad.finding === 'missing')
        : null,
  }
}

/** Whether a repair made a signed record of one that nothing proves: the ledger knows the truth. */
async function isSigned(world: Verifying, recorded: Recorded) {
  if (!world.repair || !world.signRecord) return false
  return (await writeAgain(world, recorded, false))?.done ?? false
}

/** A record that the service wrote meanwhile is newer, and stays where one was missing. */
async function writeAgain(
  world: Verifying,
  { id, recordSha256 }: Recorded,
  ifAbsent: boolean,
): Promise<Finding['repair']> {
  if (!world.signRecord && recordSha256 !== null)
    return { done: false, reason: 'there is no secret (LINK_SECRETS) to sign another one with' }
  const record = await recordOf(world, id, recordSha256 ?? undefined)
  if (!record) return { done: false, reason: 'the ledger does not know it any more' }
  const { key, bytes, ...about } = record
  try {
    await world.objects.put(key, bytes, { ...about, ifAbsent })
    return { done: true, from: 'the ledger' }
  } catch (error) {
    return { done: false, reason: `the store did not take it: ${messageOf(error)}` }
  }
}
