import type { createArchiver } from '../slots.ts'
import type { Deps } from '../../deps.ts'
import { recordDue } from '../../work/record.ts'
import { expireOverdue, reconcileDue } from '../../work/reconcile.ts'
import { drainSpool } from '../../work/spool.ts'
import { sendHeld } from '../../work/submit.ts'

/**
 * What one invocation does at most. On the paid plan D1 answers it 1,000 queries, and a batch
 * counts as all that is in it: an image takes about a dozen, a spooled callback, a reply or a fetch
 * about fifteen, a record ten.
 */
const MOST = { spooled: 24, images: 32, sent: 5, fetches: 5, records: 20 }
/** Six connections may be open at a time, and each of these holds one. */
const RECORDS_AT_ONCE = 5

/** After this nobody waits any more for the reply to a submission. */
const ABANDONED_MS = 5 * 60_000

interface Turn {
  archiver: ReturnType<typeof createArchiver>
  /** Resolves when what goes on in the background has ended. */
  idle: () => Promise<void>
  /** Woken by the clock: looks for what nothing else announces. */
  isCron: boolean
}

/**
 * Does what is due, as far as one invocation may. Returns when the next is wanted: now or earlier
 * where more is due already, null where nothing is known to come, or where something failed and the
 * clock is to try again.
 */
export async function takeTurn(
  deps: Deps,
  { archiver, idle, isCron }: Turn,
): Promise<number | null> {
  let failures = 0
  const attempt = async (what: string, work: () => Promise<number>) => {
    try {
      return await work()
    } catch (error) {
      failures++
      deps.log('error', `${what} failed`, { error })
      return 0
    }
  }
  if (isCron) {
    await attempt('emptying the spool', () => drainSpool(deps, MOST.spooled))
    await attempt('giving up replies', () => giveUpReplies(deps))
  }
  await attempt('ending what is overdue', () => expireOverdue(deps))
  // First what dies: links do, the provider's answers do not.
  const copied = await attempt('claiming images', () => archiver.drain(MOST.images))
  const sent = await attempt('sending what is held', () => sendHeld(deps, MOST.sent))
  await idle()
  await attempt('asking for results', () => reconcileDue(deps, MOST.fetches))
  const fresh = await attempt('claiming images', () => archiver.drain(MOST.images - copied))
  await attempt('writing records', () => writeRecords(deps))
  if (failures > 0) return null
  const isCutShort = copied + fresh >= MOST.images || sent >= MOST.sent
  return isCutShort ? deps.now() : deps.ledger.nextDueAt(deps.now())
}

async function giveUpReplies({ ledger, now, log }: Deps) {
  const unconfirmed = await ledger.submissionsAbandoned(now() - ABANDONED_MS, now())
  if (unconfirmed.length > 0)
    log('warn', 'submissions were cut off before their reply', { generations: unconfirmed })
  return unconfirmed.length
}

async function writeRecords(deps: Deps) {
  let written = 0
  for (
    let last = RECORDS_AT_ONCE;
    last === RECORDS_AT_ONCE && written < MOST.records;
    written += last
  )
    last = await recordDue(deps, RECORDS_AT_ONCE)
  return written
}
