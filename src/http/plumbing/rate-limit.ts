export interface Rate {
  /** How many pass at once. */
  burst: number
  /** How many more pass each second, spread evenly. */
  perSecond: number
}

/** Seconds until the next one passes; 0: this one does. */
export type Take = (key: string) => number

interface Bucket {
  tokens: number
  at: number
}

/** Keys that are told apart: a flood from many addresses must not fill the memory. */
const MOST_KEYS = 10_000

/**
 * One token bucket a key. A key is forgotten only once its bucket is full again, when forgetting it
 * changes nothing; while there is no room, all further keys share one bucket, so that nobody gets a
 * fresh one by crowding others out. A clock that is set back neither fills nor empties a bucket.
 */
export function rateLimit(
  { burst, perSecond }: Rate,
  now: () => number,
  mostKeys = MOST_KEYS,
): Take {
  /** The one that was used longest ago comes first. */
  const buckets = new Map<string, Bucket>()
  const crowd: Bucket = { tokens: burst, at: now() }

  const filled = ({ tokens, at }: Bucket, time: number) =>
    Math.min(burst, tokens + (Math.max(0, time - at) / 1000) * perSecond)

  const bucketOf = (key: string, time: number) => {
    const known = buckets.get(key)
    if (known) return known
    const [oldest] = buckets
    if (buckets.size >= mostKeys && oldest && filled(oldest[1], time) === burst)
      buckets.delete(oldest[0])
    return buckets.size < mostKeys ? { tokens: burst, at: time } : crowd
  }

  return (key) => {
    const time = now()
    const bucket = bucketOf(key, time)
    const tokens = filled(bucket, time)
    const passes = tokens >= 1
    bucket.tokens = passes ? tokens - 1 : tokens
    bucket.at = time
    if (bucket !== crowd) {
      buckets.delete(key)
      buckets.set(key, bucket)
    }
    return passes ? 0 : Math.max(1, Math.ceil((1 - tokens) / perSecond))
  }
}
