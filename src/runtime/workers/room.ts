import { ImageFailure } from '../../errors.ts'
import type { Get, GetResponse } from '../../deps.ts'
import { isCompressed } from '../../pictures/inflate.ts'

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

/** As many as tell what a body is, whatever pieces it comes in. */
const HEAD_BYTES = 16

/** The answer once the first bytes of its body are in view; whoever reads it gets them too. */
async function begun(response: GetResponse) {
  const rest = response.body[Symbol.asyncIterator]()
  const head: Uint8Array[] = []
  for (let length = 0; length < HEAD_BYTES;) {
    const part = await rest.next()
    if (part.done) break
    length += part.value.byteLength
    head.push(part.value)
  }
  async function* whole() {
    yield* head
    yield* { [Symbol.asyncIterator]: () => rest }
  }
  const discard = () => {
    // A stream that somebody holds cannot be cancelled by anybody else.
    rest.return?.().catch(() => undefined)
    response.discard()
  }
  return { head: Buffer.concat(head), answer: { ...response, body: whole(), discard } }
}

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
  const weigh = async (load: Load, weight: number, signal: AbortSignal) => {
    while (others(load).reduce((sum, one) => sum + one.bytes, weight) > bytes) {
      if (signal.aborted) throw new ImageFailure('timeout', 'There was no room for the image.')
      await sleep(LOOK_MS)
    }
    load.bytes = weight
  }

  /** What is compressed is held beside what comes out of it. */
  const weightOf = ({ header }: GetResponse, head: Uint8Array) => {
    const length = header('content-length') ?? ''
    const declared = /^\d{1,15}$/u.test(length) ? Number(length) : Infinity
    const held = Math.min(declared, maxImageBytes)
    return isCompressed(head, header('content-encoding') ?? '')
      ? Math.min(held + maxImageBytes, bytes)
      : held
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
          if (response.status < 200 || response.status >= 300) return response
          const { head, answer } = await begun(response)
          try {
            await weigh(load, weightOf(answer, head), signal)
            return answer
          } catch (error) {
            answer.discard()
            throw error
          }
        })
      } finally {
        loads.delete(load)
      }
    },
  }
}
