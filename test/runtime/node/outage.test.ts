import { setImmediate as turn } from 'node:timers/promises'
import { expect, it, onTestFinished, vi } from 'vitest'
import { ImageFailure } from '../../../src/errors.ts'
import { startLoop } from '../../../src/runtime/node/loop.ts'
import { HOUR, offered, outOfOrder } from '../../support/archiving.ts'
import { png, shown, submitted, type World, world } from '../../support/world.ts'

const SLOTS = 8
const OUTAGE_SECONDS = HOUR / 2
const GENERATIONS = 10
const IMAGES = 30
/** As often as the loop looks for work by itself. */
const TICKS = 5

/**
 * The loop of the service, whose timers go by the world's clock; returns how a second passes there.
 */
function looping(here: World) {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] })
  const leased = here.sqlite.db.$client
    .prepare('select count(*) from images where leased_until is not null')
    .pluck()
  const loop = startLoop(here.deps)
  here.deps.wake = loop.wake
  onTestFinished(async () => {
    vi.useRealTimers()
    await loop.stop()
  })
  return async () => {
    for (let tick = 0; tick < TICKS; tick++) {
      here.clock.advance(1 / TICKS)
      vi.advanceTimersByTime(1000 / TICKS)
      do for (let n = 0; n < 6; n++) await turn()
      while (leased.get() !== 0)
    }
  }
}

/**
 * A third of the links die just before the outage ends, the others hours after it, each at a time
 * of its own.
 */
const linkOf = (startsAt: number, nth: number) => {
  const diesAt =
    startsAt / 1000 + (nth % 3 === 0 ? OUTAGE_SECONDS - 20 : 2 * HOUR + 60 * ((nth * 77) % 300))
  return `https://host-${nth % 4}.example.net/${nth}.png?Expires=${diesAt}`
}

const diesAt = (link: string) => Number(new URL(link).searchParams.get('Expires'))
const isLiving = ({ clock }: World, link: string) => diesAt(link) * 1000 > clock.now
const gone = new ImageFailure('not_found', 'The host answered 403.')

async function backlog(here: World) {
  const startsAt = here.clock.now
  const picture = await png('red')
  const ids: string[] = []
  for (let n = 0; n < GENERATIONS; n++) {
    const output = Array.from({ length: IMAGES }, (_, position) =>
      linkOf(startsAt, n * IMAGES + position),
    )
    for (const link of output)
      here.cdn.pages.set(link, () =>
        isLiving(here, link) ? Promise.resolve(picture) : Promise.reject(gone),
      )
    ids.push(await offered(here, { output }))
  }
  return ids
}

/** A generation of which only the record is owed. */
async function refused(here: World) {
  here.provider.answers({ status: 'error', message: 'Invalid model' })
  await submitted(here)
}

it('asks a store that is away for half an hour once a second, and copies what dies next as soon as it is back', async () => {
  const here = world({ ARCHIVE_CONCURRENCY: String(SLOTS) })
  const put = vi.spyOn(here.store, 'put').mockRejectedValue(new Error('away'))
  const puts = (prefix: string) => put.mock.calls.filter(([key]) => key.startsWith(prefix)).length
  const ids = await backlog(here)
  await refused(here)
  const secondPasses = looping(here)

  for (let n = 0; n < OUTAGE_SECONDS; n++) await secondPasses()
  const [images, records, gets] = [puts('sha256/'), puts('generations/'), here.cdn.gets.length]
  const said = here.logged.filter(
    ({ message }) => message === 'the object store does not answer',
  ).length
  put.mockResolvedValue(null)
  await secondPasses()
  await secondPasses()
  const copiedAtOnce = here.logged.filter(({ message }) => message === 'image archived').length
  for (let n = 0; n < 60; n++) await secondPasses()

  expect(images).toBeGreaterThan(OUTAGE_SECONDS * 0.9)
  expect(images).toBeLessThanOrEqual(OUTAGE_SECONDS + SLOTS)
  expect(gets).toBe(images)
  // Every 15 s, but for a fifth of jitter.
  expect(records).toBeLessThanOrEqual(1 + OUTAGE_SECONDS / 12)
  expect(said).toBeGreaterThan(1)
  expect(said).toBeLessThanOrEqual(1 + OUTAGE_SECONDS / 60)
  expect(copiedAtOnce).toBeGreaterThan(0)
  const copied = [...new Set(here.cdn.gets.slice(gets))].filter((link) => isLiving(here, link))
  expect(outOfOrder(copied.map(diesAt))).toBeLessThanOrEqual(SLOTS)
  const fates = (await Promise.all(ids.map((id) => shown(here, id)))).flatMap(
    ({ images }) => images,
  )
  expect(fates.filter(({ status }) => status === 'archived')).toHaveLength(
    (GENERATIONS * IMAGES * 2) / 3,
  )
  expect(fates.filter(({ failure }) => failure?.code === 'not_found')).toHaveLength(
    (GENERATIONS * IMAGES) / 3,
  )
})
