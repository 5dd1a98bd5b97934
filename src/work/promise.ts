import type { Deps } from '../deps.ts'
import { promisedPlaces } from '../model/promise.ts'

/**
 * Before time ends what was requested before the id `before`, the links are tried that were only
 * promised; what they show is a result.
 */
export async function tryPromised(deps: Deps, before: string) {
  const at = deps.now()
  const overdue = await deps.ledger.promise.readOverdue(before)
  for (const { id, version, promised } of overdue)
    if (promised)
      await deps.ledger.promise.writeTried(
        { id, version },
        promised.by,
        promisedPlaces(promised.links, id, at, deps.config),
        at,
      )
  if (overdue.length > 0) deps.wake()
}
