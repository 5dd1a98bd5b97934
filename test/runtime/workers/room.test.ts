import { describe, expect, it } from 'vitest'
import { createRoom } from '../../../src/runtime/workers/room.ts'
import type { Get } from '../../../src/deps.ts'
import { never } from '../../support/net/getting.ts'

const MIB = 1024 * 1024

/** A room of 3 images and 40 MiB, in which time passes only when somebody waits. */
function room() {
  const clock = { now: 0 }
  const sleep = async (ms: number) => {
    clock.now += ms
    await new Promise((resolve) => setImmediate(resolve))
  }
  const made = createRoom({
    images: 3,
    bytes: 40 * MIB,
    maxImageBytes: 25 * MIB,
    expiresAfterMs: 120_000,
    now: () => clock.now,
    sleep,
  })
  return { ...made, clock }
}

const answering =
  (contentLength: string | undefined, status = 200): Get =>
  () =>
    Promise.resolve({
      status,
      header: (name) => (name === 'content-length' ? contentLength : undefined),
      body: ReadableStream.from([]),
      discard: () => undefined,
    })

/** Begins an image of that length; `end` is its whole download and copy. */
function begin(
  { carry }: ReturnType<typeof room>,
  contentLength: string | undefined,
  signal = never,
) {
  const state = { entered: false, weighed: false }
  let end: () => void = () => undefined
  const ended = new Promise<void>((resolve) => (end = resolve))
  const done = carry(answering(contentLength), async (get) => {
    state.entered = true
    await get(new URL('https://images.example.com'), signal)
    state.weighed = true
    await ended
  })
  return { state, end, done }
}

const turns = async (count = 20) => {
  for (let n = 0; n < count; n++) await new Promise((resolve) => setImmediate(resolve))
}

describe('the room for images in one isolate', () => {
  it('takes three images at a time, and the next when one has ended', async () => {
    const here = room()
    const [first, ...others] = [1, 2, 3].map(() => begin(here, '1000'))
    const fourth = begin(here, '1000')
    await turns()
    expect(others.map(({ state }) => state.weighed)).toEqual([true, true])
    expect(fourth.state.entered).toBe(false)
    first?.end()
    await turns()
    expect(fourth.state.weighed).toBe(true)
  })

  it.each([
    ['20 MiB each', String(20 * MIB), 2],
    ['no length', undefined, 1],
    ['a length that is none', 'many', 1],
    ['more than is taken of one, which is refused unread', String(10_000 * MIB), 1],
    ['13 MiB each', String(13 * MIB), 3],
  ])('holds 40 MiB: of images that declare %s', async (_, contentLength, together) => {
    const here = room()
    const images = [1, 2, 3].map(() => begin(here, contentLength))
    await turns()
    expect(images.filter(({ state }) => state.weighed)).toHaveLength(together)
    for (const image of images) {
      image.end()
      await turns()
    }
    expect(images.every(({ state }) => state.weighed)).toBe(true)
  })

  it('gives up an image that waits for room until its time is over', async () => {
    const here = room()
    const first = begin(here, undefined)
    await turns()
    const limit = new AbortController()
    const second = begin(here, undefined, limit.signal)
    await turns()
    limit.abort()
    await expect(second.done).rejects.toMatchObject({ code: 'timeout' })
    first.end()
  })

  it('has room again after an invocation that was cut off, once its leases have expired', async () => {
    const here = room()
    for (let n = 0; n < 3; n++) begin(here, '1000')
    await turns()
    const fourth = begin(here, '1000')
    await turns()
    expect(fourth.state.entered).toBe(false)
    here.clock.now = 120_000
    await turns()
    expect(fourth.state.weighed).toBe(true)
  })

  it('needs no room for a redirect', async () => {
    const here = room()
    const first = begin(here, undefined)
    await turns()
    const passed = await here.carry(answering(undefined, 302), (get) =>
      get(new URL('https://example.com'), never),
    )
    expect(passed.status).toBe(302)
    first.end()
  })
})
