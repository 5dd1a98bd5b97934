/** No longer wait is believed, whoever asks for it: a probe finds out sooner. */
export const LONGEST_HOLD_MS = 15 * 60_000

const RETRY_SECONDS = [1, 2, 4, 8, 15, 30]
const LONGEST_RETRY_SECONDS = 30 * 60

/**
 * Milliseconds to wait after the `attempts`-th failed attempt (1, 2, …): 1, 2, 4, 8, 15, 30 s, then
 * doubling to 30 min, scaled by `baseSeconds`, with 20 % of jitter.
 */
export function retryDelayMs(attempts: number, baseSeconds: number, random = Math.random()) {
  const beyond = attempts - RETRY_SECONDS.length
  const seconds =
    RETRY_SECONDS[Math.max(attempts, 1) - 1] ??
    Math.min(30 * 2 ** Math.min(beyond, 10), LONGEST_RETRY_SECONDS)
  return Math.round(seconds * baseSeconds * 1000 * (0.8 + 0.4 * random))
}

const LONGEST_FETCH_DELAY_SECONDS = 600

/**
 * Milliseconds to wait before the next fetch when `fetches` of them told nothing: the grace,
 * doubling to 10 min.
 */
export function fetchDelayMs(fetches: number, graceSeconds: number) {
  const grace = Math.max(graceSeconds, 0.05)
  return Math.round(
    Math.min(grace * 2 ** Math.min(fetches, 20), LONGEST_FETCH_DELAY_SECONDS) * 1000,
  )
}

/** The longest eta that was seen: more is not believed. */
export const LONGEST_ETA_SECONDS = 960

/** No fetch is ever due later than this: after an eta and the grace. */
export const longestFetchWaitMs = (graceSeconds: number) =>
  LONGEST_ETA_SECONDS * 1000 + fetchDelayMs(0, graceSeconds)
