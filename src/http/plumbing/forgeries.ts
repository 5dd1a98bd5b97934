import { AppError } from '../../errors.ts'
import type { Deps } from '../../deps.ts'
import { rateLimit } from './rate-limit.ts'

/**
 * A MAC cannot be guessed at any rate: this only keeps a flood cheap. The burst lets an address
 * whose genuine URLs have all gone stale, after secrets were lost or rotated too early, learn so by
 * the plain 404.
 */
const WRONG_MACS = { burst: 600, perSecond: 5 }

const SAY_AGAIN_MS = 60_000
/** Addresses that one line of the log counts. */
const MOST_COUNTED = 10_000

/** Callbacks at URLs that we did not make. */
export interface Forgeries {
  /**
   * What a client that sent one is told: the 404 of every path that is none, until it sends too
   * many.
   */
  refused: (client: string) => AppError
  /** Writes the log's line, once a minute at most, if one is owed. */
  report: () => void
}

export function watchForgeries({ log, now }: Pick<Deps, 'log' | 'now'>): Forgeries {
  const take = rateLimit(WRONG_MACS, now)
  const addresses = new Set<string>()
  let count = 0
  let limited = 0
  let saidAt = -Infinity

  const report = () => {
    if (count === 0 || Math.abs(now() - saidAt) < SAY_AGAIN_MS) return
    log('warn', 'callbacks with a wrong MAC', { count, limited, addresses: addresses.size })
    addresses.clear()
    count = limited = 0
    saidAt = now()
  }
  const refused = (client: string) => {
    const retryAfterSeconds = take(client)
    count += 1
    if (retryAfterSeconds > 0) limited += 1
    if (addresses.size < MOST_COUNTED) addresses.add(client)
    report()
    return retryAfterSeconds === 0
      ? new AppError('not_found', 'There is nothing here.')
      : new AppError(
          'rate_limited',
          'Too many callbacks with a wrong URL came from this address.',
          {
            retryAfterSeconds,
          },
        )
  }
  return { refused, report }
}
