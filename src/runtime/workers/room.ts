import { ImageFailure } from '../../errors.ts'
import type { Get, GetResponse } from '../../deps.ts'

interface RoomOptions {
  images: number
  bytes: number
  /** The largest that is taken, and what is reckoned with where a length is not declared. */
  maxImageBytes: number
  /** An invocation that is cut off never says so: its images count for so long. */
  expiresAfterMs: number
  now: () => number
  sleep: (ms: number) => Promise<void>
}

interface Load {
  bytes: number
  until: number
}

// On Workers an invocation that waits for another one's promise counts as hung, so that each waits
// by a timer of its own.
const LOOK_MS = 20

/**
 * Bounds what is in memory of images, over everything that runs in this isolate: all of it shares
 * 128 MB.
 */
export function createRoom({
  images,
  bytes,
  maxImageBytes,
  expiresAfterMs,
  now,
  sleep,
}: RoomOptions) {
  const loads = new Set<Load>()

  const others = (load?: Load) => {
    for (const one of loads) if (one.until <= now()) loads.delete(one)
    return [...loads].filter((one) => one !== load)
  }
  const enter = async () => {
    while (others().length >= images) await sleep(LOOK_MS)
    const load = { bytes: 0, until: now() + expiresAfterMs }
    loads.add(load)
    return load
  }
  const weigh = async (load: Load, response: GetResponse, signal: AbortSignal) => {
    const declared = response.header('content-length') ?? ''
    const weight = /^\d{1,15}$/u.test(declared)
      ? Math.min(Number(declared), maxImageBytes)
      : maxImageBytes
    while (others(load).reduce((sum, one) => sum + one.bytes, weight) > bytes) {
      if (signal.aborted) throw new ImageFailure('timeout', 'There was no room for the image.')
      await sleep(LOOK_MS)
    }
    load.bytes = weight
  }

  return {
    /**
     * Does `work` once there is room for one more image, with a `get` that waits for room for its
     * bytes before they come.
     */
    carry: async <T>(get: Get, work: (get: Get) => Promise<T>): Promise<T> => {
      const load = await enter()
      try {
        return await work(async (url, signal) => {
          const response = await get(url, signal)
          if (response.status !== 200) return response
          try {
            await weigh(load, response, signal)
          } catch (error) {
            response.discard()
            throw error
          }
          return response
        })
      } finally {
        loads.delete(load)
      }
    },
  }
}
