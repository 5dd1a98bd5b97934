import type { Deps } from '../deps.ts'
import { longestFetchWaitMs } from '../model/backoff.ts'
import { settle } from './settle.ts'
import { heard } from './submit.ts'

/**
 * Asks the provider for up to `limit` results that are late or owed. Returns how many were asked
 * for.
 */
export async function reconcileDue(deps: Deps, limit: number) {
  const now = deps.now()
  const fetches = await deps.ledger.reconcile.claim({
    now,
    leasedUntil: now + deps.config.leaseMs,
    latestDue: now + longestFetchWaitMs(deps.config.reconcileGraceSeconds),
    limit,
  })
  await Promise.all(fetches.map(({ id, providerId }) => reconcile(deps, id, providerId)))
  return fetches.length
}

async function reconcile(deps: Deps, id: string, providerId: string) {
  const reply = await deps.provider.fetch(providerId, deps.config.submitTimeoutMs)
  heard(deps, reply)
  const said =
    reply.status === 'held'
      ? {
          status: 'unreadable' as const,
          reason: reply.reason,
          retryAfterSeconds: reply.retryAfterSeconds,
        }
      : reply
  await settle(deps, id, 'fetch', said)
}
