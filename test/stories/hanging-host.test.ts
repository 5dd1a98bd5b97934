import type { ServerResponse } from 'node:http'
import { expect } from 'vitest'
import { type Bench, it } from '../support/process/bench.ts'
import {
  isArchived,
  isSettled,
  submitted,
  timeline,
  untilShown,
} from '../support/process/client.ts'
import { hostileHost } from '../support/process/hostile-host.ts'
import { pollLivez } from '../support/process/livez.ts'
import { picture } from '../support/process/picture.ts'
import { until } from '../support/process/program.ts'
import type { Script } from '../support/process/stand-in.ts'

const LEASE_MS = 3000
const SLOTS = 4
const PATHS = ['0', '1', '2']

/** One request to the host; `ended` is 0 while it goes on. */
interface Visit {
  path: string
  began: number
  ended: number
}

type Manner = (response: ServerResponse) => void

const saysNothing: Manner = () => undefined

const trickles: Manner = (response) => {
  const timer = setInterval(() => response.write('a'), 200)
  response.once('close', () => clearInterval(timer))
}

/** An image host that behaves in one manner until it recovers. */
async function sickHost(bench: Bench, manner: Manner) {
  const visits: Visit[] = []
  const state = { isWell: false }
  const answer = (path: string) => (_: unknown, response: ServerResponse) => {
    const visit = { path, began: Date.now(), ended: 0 }
    visits.push(visit)
    response.once('close', () => (visit.ended = Date.now()))
    if (state.isWell) response.end(picture(Number(path)))
    else manner(response)
  }
  const host = await hostileHost(
    bench,
    Object.fromEntries(PATHS.map((path) => [path, answer(path)])),
  )
  return { origin: host.origin, visits, recover: () => (state.isWell = true) }
}

/**
 * The prompt says which picture of the host a submission shows; without one it is the usual story.
 */
const shownBy =
  (origin: string): Script =>
  (job, answer, provider) => {
    const path = String(job.body['prompt'])
    const elsewhere = { output: [`${origin}/${path}`], proxy_links: [] }
    answer.json({ ...provider.success(job), ...(PATHS.includes(path) ? elsewhere : {}) })
  }

/** How many visits went on at the same time, at most. */
function mostAtOnce(visits: Visit[]) {
  const at = (time: number) =>
    visits.filter(({ began, ended }) => began <= time && (ended === 0 || ended > time)).length
  return Math.max(...visits.map(({ began }) => at(began)))
}

it.for<[string, Manner]>([
  ['never answers', saysNothing],
  ['answers a byte at a time', trickles],
])(
  'gives the slot of a download back before its lease has run out when the host %s, tries again, and copies it once in the end',
  { timeout: 60_000 },
  async ([, manner], { bench }) => {
    const host = await sickHost(bench, manner)
    const provider = await bench.standIn(shownBy(host.origin))
    const { settings } = await bench.home({
      ...provider.settings(),
      ALLOWED_PRIVATE_ORIGINS: [provider.origin(0), provider.origin(1), host.origin].join(),
      LEASE_SECONDS: String(LEASE_MS / 1000),
      DOWNLOAD_TIMEOUT_SECONDS: '60',
      ARCHIVE_CONCURRENCY: String(SLOTS),
    })
    const program = await bench.start(settings)
    const livez = pollLivez(program)
    const stuck = await Promise.all(PATHS.map((prompt) => submitted(program, { prompt })))
    await until(() => host.visits.length === SLOTS / 2)

    const others = await Promise.all(Array.from({ length: 4 }, () => submitted(program)))
    for (const { id } of others) await untilShown(program, id, isSettled)
    const triesMeanwhile = host.visits.length
    const triesOf = (wanted: string) => host.visits.filter(({ path }) => path === wanted).length
    await until(() => PATHS.every((path) => triesOf(path) >= 2), 20_000)
    const hung = [...host.visits]
    host.recover()
    for (const { id } of stuck) await until(() => untilShown(program, id, isArchived), 20_000)

    // The others are done before the first of those that hang is given up.
    expect(triesMeanwhile).toBe(SLOTS / 2)
    expect(mostAtOnce(host.visits)).toBe(SLOTS / 2)
    for (const path of PATHS)
      expect(mostAtOnce(host.visits.filter((visit) => visit.path === path))).toBe(1)
    expect(Math.max(...hung.map(({ began, ended }) => ended - began))).toBeLessThan(LEASE_MS)
    for (const { id } of stuck) {
      const failed = await timeline(program, id, 'attempt')
      expect(new Set(failed.map(({ detail }) => detail['code']))).toEqual(new Set(['timeout']))
      expect(await timeline(program, id, 'archived')).toHaveLength(1)
    }
    expect(await livez.longestGapMs()).toBeLessThan(1000)
  },
)
