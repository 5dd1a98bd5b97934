import { expect, it } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import { complete } from '../../src/audit/completeness.ts'
import { ImageFailure } from '../../src/errors.ts'
import { redactUrl } from '../../src/model/shown-url.ts'
import { firstIdAt } from '../../src/model/uuid.ts'
import { absent, HOUR, offered, outOfOrder } from '../support/archiving.ts'
import { audited } from '../support/auditing.ts'
import { happened, LINK, png, shown, type World, world } from '../support/world.ts'

const GENERATIONS = 20
/** As many as one message may name. */
const IMAGES = 50
const HOSTS = 6
const SLOTS = 16
const DEAD = 'dead.example.net'

/** Links of which each dies at a time of its own; those of one host show nothing. */
async function backlog(
  here: World,
  { generations, everySeconds }: { generations: number; everySeconds: number },
) {
  const [start, count] = [here.clock.now / 1000, generations * IMAGES]
  const links: string[] = []
  const ids: string[] = []
  for (let n = 0; n < generations; n++) {
    const output = Array.from({ length: IMAGES }, (_, position) => {
      const nth = ((n * IMAGES + position) * 7919) % count
      const host = nth % HOSTS === 0 ? DEAD : `host-${nth % HOSTS}.example.net`
      return `https://${host}/${nth}.png?Expires=${start + HOUR + nth * everySeconds}`
    })
    links.push(...output)
    ids.push(await offered(here, { output }))
  }
  return { links, ids }
}

const diesAt = (link: string) => Number(new URL(link).searchParams.get('Expires'))
const isDead = (link: string) => new URL(link).host === DEAD

it('copies first what dies first of a thousand that are due, though one host is dead, and names what it could not save', async () => {
  const here = world({ ARCHIVE_CONCURRENCY: String(SLOTS) })
  const picture = await png('red')
  const { links } = await backlog(here, { generations: GENERATIONS, everySeconds: 1 })
  for (const link of links) if (!isDead(link)) here.cdn.pages.set(link, picture)

  while (here.cdn.gets.length < links.length) await archiveDue(here.deps, SLOTS)

  const first = here.cdn.gets.slice(0, links.length)
  expect(new Set(first).size).toBe(links.length)
  // What a claim takes is tried at once, and no host has more than half of it.
  const living = first.filter((link) => !isDead(link)).map(diesAt)
  expect(outOfOrder(living)).toBeLessThanOrEqual(SLOTS)
  expect(outOfOrder(first.map(diesAt))).toBeLessThanOrEqual(SLOTS * HOSTS)

  here.clock.advance(3600 + links.length)
  while ((await archiveDue(here.deps, SLOTS)) > 0);
  const counts = here.sqlite.db.$client
    .prepare(
      'select status, failure_code, host, count(*) as images from images group by 1, 2, 3 order by host, status',
    )
    .all() as { status: string; failure_code: string | null; host: string; images: number }[]
  const dead = links.filter(isDead).length
  expect(counts.filter(({ host }) => host === DEAD)).toMatchObject([
    { status: 'lost', failure_code: 'not_found', images: dead },
  ])
  expect(
    counts
      .filter(({ status }) => status === 'archived')
      .reduce((sum, { images }) => sum + images, 0),
  ).toBe(links.length - dead)
})

/** Each link as its host shows it, until it dies; the dead host shows none. */
async function showUntilTheyDie(here: World, links: string[]) {
  const picture = await png('red')
  const noWay = new ImageFailure('unreachable', 'No way to the host.')
  const gone = new ImageFailure('not_found', 'The host answered 403.')
  for (const link of links) {
    const show = () => (isLiving(here, link) ? Promise.resolve(picture) : Promise.reject(gone))
    here.cdn.pages.set(link, isDead(link) ? noWay : show)
  }
}

const isLiving = ({ clock }: World, link: string) => diesAt(link) * 1000 > clock.now

/**
 * Every claim takes a second. Returns how many it took until nothing is pending of any host that
 * answers.
 */
async function secondsUntilCopied(here: World) {
  const open = here.sqlite.db.$client
    .prepare("select count(*) from images where status = 'pending' and host <> ?")
    .pluck()
  for (let seconds = 0; ; seconds++) {
    if (open.get(DEAD) === 0) return seconds
    await archiveDue(here.deps, SLOTS)
    here.clock.advance(1)
  }
}

const count = <T>(all: T[], name: (one: T) => string) => {
  const counts: Record<string, number> = {}
  for (const one of all) counts[name(one)] = (counts[name(one)] ?? 0) + 1
  return counts
}

it('after an outage of hours in which links died, copies all that still live, and names each that it could not save', async () => {
  const here = world({ ARCHIVE_CONCURRENCY: String(SLOTS) })
  const { links, ids } = await backlog(here, { generations: 60, everySeconds: 12 })
  await showUntilTheyDie(here, links)
  here.clock.advance(5 * HOUR)
  await here.restart()
  const living = links.filter((link) => !isDead(link) && isLiving(here, link))

  const seconds = await secondsUntilCopied(here)
  const order = [...new Set(here.cdn.gets)].filter((link) => living.includes(link))
  here.clock.advance(24 * HOUR)
  while ((await archiveDue(here.deps, SLOTS)) > 0);

  const images = (await Promise.all(ids.map((id) => shown(here, id)))).flatMap(
    (generation) => generation.images,
  )
  const saved = images
    .filter(({ status }) => status === 'archived')
    .map(({ source_url }) => source_url)
  expect(saved.toSorted()).toEqual(living.map(redactUrl).toSorted())
  expect(outOfOrder(order.map(diesAt))).toBeLessThanOrEqual(SLOTS)
  // Half of the slots at most are the dead host's, and each claim fills the others.
  expect(seconds).toBeLessThanOrEqual(links.filter((link) => !isDead(link)).length / (SLOTS / 2))
  const lost = links.filter((link) => !living.includes(link))
  const reasons = {
    unreachable: lost.filter(isDead).length,
    not_found: lost.filter((link) => !isDead(link)).length,
  }
  expect(Math.min(...Object.values(reasons))).toBeGreaterThan(400)
  expect(
    count(
      images.filter(({ status }) => status === 'lost'),
      ({ failure }) => failure?.code ?? 'none',
    ),
  ).toEqual(reasons)
  expect(count(await losses(here, ids), ({ code }) => String(code))).toEqual(reasons)
})

/** What the timelines tell of what could not be saved. */
const losses = async (here: World, ids: string[]) =>
  (await Promise.all(ids.map((id) => happened(here, id, 'lost')))).flat() as { code?: unknown }[]

it('records how long each link had still to live when its image was saved, and reports it', async () => {
  const here = world({ ARCHIVE_CONCURRENCY: String(SLOTS) })
  const { links, ids } = await backlog(here, { generations: 1, everySeconds: 60 })
  const picture = await png('red')
  for (const link of links) here.cdn.pages.set(link, picture)

  while ((await archiveDue(here.deps, SLOTS)) > 0) here.clock.advance(HOUR)

  const saved = (await happened(here, ids[0] ?? '', 'archived')) as {
    at: string
    position: number
  }[]
  const left = saved.map(
    ({ at, position }) => diesAt(links[position] ?? '') * 1000 - Date.parse(at),
  )
  const recorded = here.sqlite.db.$client
    .prepare('select margin_ms from images')
    .pluck()
    .all() as number[]
  expect(recorded.toSorted(ascending)).toEqual(left.toSorted(ascending))
  const late = left.filter((ms) => ms <= 0).length
  expect(late).toBeGreaterThan(0)
  expect((await report(here)).marginMs).toMatchObject({ min: Math.min(...left), late })
})

const ascending = (a: number, b: number) => a - b

const report = (here: World) =>
  complete(
    {
      audit: audited(here).audit,
      config: here.config,
      now: () => here.clock.now,
      found: () => undefined,
      progress: () => undefined,
      signal: new AbortController().signal,
    },
    { fromId: firstIdAt(0), beforeId: firstIdAt(Number.MAX_SAFE_INTEGER) },
  )

it('lets an image that only waits for the download of another wait with it', async () => {
  const here = world()
  here.cdn.pages.set(LINK, absent)
  await offered(here, { output: [LINK], proxy_links: [LINK] })

  await archiveDue(here.deps, SLOTS)

  const ready = "select source from images where status = 'pending' and waiting = 0"
  expect(here.sqlite.db.$client.prepare(ready).all()).toEqual([])
  here.clock.advance(2)
  here.cdn.pages.set(LINK, await png('red'))
  await archiveDue(here.deps, SLOTS)
  expect(
    here.sqlite.db.$client
      .prepare("select count(*) from images where status = 'archived'")
      .pluck()
      .get(),
  ).toBe(2)
})
