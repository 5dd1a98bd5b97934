import type { Deps } from '../deps.ts'
import { answered } from '../model/generation.ts'
import { settle } from './settle.ts'
import { firstIdAt } from '../model/uuid.ts'

/**
 * Asks the provider for up to `limit` results that are late or owed. Returns how many were asked
 * for.
 */
export async function reconcileDue(deps: Deps, limit: number) {
  const now = deps.now()
  const fetches = await deps.ledger.fetchesClaimed({
    now,
    leasedUntil: now + deps.config.leaseMs,
    limit,
  })
  await Promise.all(fetches.map(({ id, providerId }) => reconcile(deps, id, providerId)))
  return fetches.length
}

async function reconcile(deps: Deps, id: string, providerId: string) {
  const reply = await deps.provider.fetch(providerId, deps.config.submitTimeoutMs)
  deps.health.provider(answered(reply))
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

/** Ends what is still open when its time is up. Returns how many were ended. */
export async function expireOverdue(deps: Deps) {
  const before = firstIdAt(deps.now() - deps.config.resultDeadlineMs)
  let ended = 0
  for (;;) {
    const ids = await deps.ledger.expired(before, deps.now())
    if (ids.length === 0) return ended
    ended += ids.length
  }
}
