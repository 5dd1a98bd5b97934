import type { Deps } from '../deps.ts'
import { AppError } from '../errors.ts'
import { statedExpiry } from '../model/link.ts'
import { isRedacted } from '../model/shown-url.ts'

/**
 * Makes lost images due again, and asks for a result that never came. Nothing is submitted.
 * @throws AppError `nothing_to_retry` where there is neither
 */
export async function retry(deps: Deps, id: string) {
  const now = deps.now()
  const places = await deps.ledger.retry.readLostPlaces(id)
  const useless = places.filter((place) => isUseless(place, now)).map(({ url }) => url)
  if (!(await deps.ledger.retry.write(id, useless, now)))
    throw new AppError(
      'nothing_to_retry',
      'Nothing is to be retried: no image of this generation is lost, and no result is missing.',
    )
  deps.wake()
}

/**
 * Such a link was tried, and would only be refused again. One of which we merely assume that it has
 * died may well live.
 */
function isUseless({ url, offeredAt }: { url: string; offeredAt: number }, now: number) {
  return (statedExpiry(url, offeredAt) ?? Infinity) <= now || isRedacted(url)
}
