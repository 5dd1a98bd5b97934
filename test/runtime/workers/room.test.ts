import { brotliCompressSync, gzipSync } from 'node:zlib'
import { describe, expect, it, vi } from 'vitest'
import { createRoom } from '../../../src/runtime/workers/room.ts'
import type { Get } from '../../../src/deps.ts'
import { bytes, never } from '../../support/net/getting.ts'
import { picture } from '../../support/process/picture.ts'

const MIB = 1024 * 1024
const zipped = gzipSync(picture(1))

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

interface Answer {
  status?: number
  encoding?: string
  body?: Uint8Array[]
}

const answering =
  (length: string | undefined, { status = 200, encoding, body = [] }: Answer = {}): Get =>
  () =>
    Promise.resolve({
      status,
      header: (name) => ({ 'content-length': length, 'content-encoding': encoding })[name],
      body: ReadableStream.from(body),
      discard: () => undefined,
    })

/** Begins an image of that length; `end` is its whole download and copy. */
function begin(
  { carry }: ReturnType<typeof room>,
  contentLength: string | undefined,
  signal = never,
  answer: Answer = {},
) {
  const state = { entered: false, weighed: false }
  let end: () => void = () => undefined
  const ended = new Promise<void>((resolve) => (end = resolve))
  const done = carry(answering(contentLength, answer), async (get) => {
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

  it.each<[string, Answer, number]>([
    ['that say nothing', {}, 3],
    ['that say they are gzip', { encoding: 'gzip', body: [zipped] }, 1],
    ['that are gzip', { body: [zipped] }, 1],
    [
      'that are gzip and come in bytes',
      { body: [...zipped].map((byte) => Uint8Array.of(byte)) },
      1,
    ],
    ['that say they are br', { encoding: 'br', body: [brotliCompressSync(picture(1))] }, 1],
    ['that say they are gzip, and are pictures', { encoding: 'gzip', body: [picture(1)] }, 3],
    ['under 201', { status: 201, body: [zipped] }, 1],
    ['under 206', { status: 206, body: [zipped] }, 1],
  ])('has room for what comes out of small answers %s', async (_, answer, together) => {
    const here = room()
    const images = [1, 2, 3].map(() => begin(here, '1000', never, answer))
    await turns(40)
    expect(images.filter(({ state }) => state.weighed)).toHaveLength(together)
    for (const image of images) {
      image.end()
      await turns(40)
    }
    expect(images.every(({ state }) => state.weighed)).toBe(true)
  })

  it('hands on every byte, and lets go of a body that is discarded', async () => {
    const here = room()
    const parts = [1, 2, 3].map((n) => new Uint8Array(10).fill(n))
    const taken = here.carry(answering('30', { body: parts }), async (get) =>
      bytes(await get(new URL('https://images.example.com'), never)),
    )
    expect(await taken).toEqual(Buffer.concat(parts))

    const cancelled = vi.fn()
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array(10)),
      cancel: cancelled,
    })
    const held: Get = () =>
      Promise.resolve({ status: 200, header: () => '30', body, discard: () => undefined })
    await here.carry(held, async (get) => {
      const answer = await get(new URL('https://images.example.com'), never)
      answer.discard()
    })
    await turns()
    expect(cancelled).toHaveBeenCalledOnce()
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
    const passed = await here.carry(answering(undefined, { status: 302 }), (get) =>
      get(new URL('https://example.com'), never),
    )
    expect(passed.status).toBe(302)
    first.end()
  })
})
