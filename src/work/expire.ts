import type { Deps } from '../deps.ts'
import { firstIdAt } from '../model/uuid.ts'
import { tryPromised } from './promise.ts'

/** Ends what is still open when its time is up. Returns how many were ended. */
export async function expireOverdue(deps: Deps) {
  const before = firstIdAt(deps.now() - deps.config.resultDeadlineMs)
  let ended = 0
  if (!(await deps.ledger.expire.readIsOverdue(before))) return ended
  await tryPromised(deps, before)
  for (;;) {
    const ids = await deps.ledger.expire.writeExpired(before, deps.now())
    if (ids.length === 0) return ended
    ended += ids.length
  }
}

/** After this nobody waits any more for the reply to a submission, whatever the time-out. */
const ABANDONED_MS = 5 * 60_000

/** What was sent, and whose reply never came, is unconfirmed. Returns how many that are. */
export async function giveUpReplies(deps: Deps) {
  const patienceMs = Math.max(ABANDONED_MS, 2 * deps.config.submitTimeoutMs)
  return abandon(deps, deps.now() - patienceMs)
}

/** At start nobody waits for any reply, be the clock set back meanwhile or not. */
export const giveUpAllReplies = (deps: Deps) => abandon(deps, Number.MAX_SAFE_INTEGER)

async function abandon({ ledger, now, log }: Deps, before: number) {
  const generations = await ledger.expire.writeAbandoned(before, now())
  if (generations.length > 0)
    log('warn', 'submissions were cut off before their reply', { generations })
  return generations.length
}
