import { AppError } from './errors.ts'
import type { LostPlace } from './ledger/retrying.ts'
import { statedExpiry } from './net/expiry.ts'
import { isRedacted } from './net/redact-url.ts'
import type { Deps } from './ports.ts'

/**
 * Makes lost images due again, and asks for a result that never came. Nothing is submitted.
 * @throws AppError `nothing_to_retry` where there is neither
 */
export async function retry(deps: Deps, id: string) {
  const now = deps.now()
  const places = await deps.ledger.lostPlaces(id)
  const useless = places.filter((place) => isUseless(place, now)).map(({ url }) => url)
  if (!(await deps.ledger.retried(id, useless, now)))
    throw new AppError(
      'nothing_to_retry',
      'There is nothing to retry: no image of this generation is lost, and no result is to be asked for.',
    )
  deps.wake()
}

/**
 * Such a link was tried, and would only be refused. One of which we only assume that it has died may
 * well live.
 */
function isUseless({ url, offeredAt }: LostPlace, now: number) {
  return (statedExpiry(url, offeredAt) ?? Infinity) <= now || isRedacted(url)
}
