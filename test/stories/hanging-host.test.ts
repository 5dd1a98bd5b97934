import type { ServerResponse } from 'node:http'
import { expect } from 'vitest'
import { type Stage, it } from '../support/process/bench.ts'
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

const LEASE_MS = 6000
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
async function sickHost(stage: Stage, manner: Manner, paths = PATHS) {
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
    stage,
    Object.fromEntries(paths.map((path) => [path, answer(path)])),
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
  async ([, manner], { stage }) => {
    const host = await sickHost(stage, manner)
    const provider = await stage.standIn(shownBy(host.origin))
    const { settings } = await stage.home({
      ...provider.settings(),
      ALLOWED_PRIVATE_ORIGINS: [provider.origin(0), provider.origin(1), host.origin].join(),
      LEASE_SECONDS: String(LEASE_MS / 1000),
      DOWNLOAD_TIMEOUT_SECONDS: '60',
      ARCHIVE_CONCURRENCY: String(SLOTS),
    })
    const program = await stage.start(settings)
    const livez = pollLivez(program)
    const stuck = await Promise.all(PATHS.map((prompt) => submitted(program, { prompt })))
    await until(() => host.visits.length === 1)

    const others = await Promise.all(Array.from({ length: 4 }, () => submitted(program)))
    for (const { id } of others) await untilShown(program, id, isSettled)
    const givenUp = await Promise.all(stuck.map(({ id }) => timeline(program, id, 'attempt')))
    const triesOf = (wanted: string) => host.visits.filter(({ path }) => path === wanted).length
    await until(() => PATHS.every((path) => triesOf(path) >= 2))
    const hung = [...host.visits]
    host.recover()
    for (const { id } of stuck) await untilShown(program, id, isArchived)

    // The others are done before the first of those that hang is given up.
    expect(givenUp.flat()).toEqual([])
    expect(mostAtOnce(hung)).toBe(1)
    expect(Math.max(...hung.map(({ began, ended }) => ended - began))).toBeLessThan(LEASE_MS)
    for (const { id } of stuck) {
      const failed = await timeline(program, id, 'attempt')
      expect(new Set(failed.map(({ detail }) => detail['code']))).toEqual(new Set(['timeout']))
      expect(await timeline(program, id, 'archived')).toHaveLength(1)
    }
    expect(await livez.longestGapMs()).toBeLessThan(1000)
  },
)

const MANY = Array.from({ length: 60 }, (_, n) => String(n))

/** The prompt names the origin whose pictures a submission shows, and how many. */
const showsSo: Script = (job, answer, provider) => {
  const [origin = '', count] = String(job.body['prompt']).split(' ')
  const output = MANY.slice(0, Number(count)).map((path) => `${origin}/${path}`)
  answer.json({ ...provider.success(job), output, proxy_links: [] })
}

it.for<[string, Manner, number]>([
  ['two hosts that never answer', saysNothing, 2],
  ['two that answer a byte at a time', trickles, 2],
  ['ten that never answer', saysNothing, 10],
])(
  'loses no image of a host that comes after %s, although its links live a minute',
  async ([, manner, count], { stage }) => {
    const sick = await Promise.all(
      Array.from({ length: count }, () => sickHost(stage, manner, MANY)),
    )
    const good = await sickHost(stage, saysNothing, MANY)
    good.recover()
    const provider = await stage.standIn(showsSo)
    const { settings } = await stage.home({
      ...provider.settings(),
      ALLOWED_PRIVATE_ORIGINS: [...sick, good].map(({ origin }) => origin).join(),
      DOWNLOAD_TIMEOUT_SECONDS: '5',
      LINK_LIFETIME_HOURS: String(1 / 60),
    })
    const program = await stage.start(settings)
    for (const { origin } of sick) await submitted(program, { prompt: `${origin} 60` })
    await until(() => sick.filter(({ visits }) => visits.length > 0).length >= Math.min(count, 8))

    const { id } = await submitted(program, { prompt: `${good.origin} 20` })
    const offeredAt = Date.now()
    const shown = await untilShown(program, id, isSettled)
    const seconds = (Date.now() - offeredAt) / 1000

    expect(shown.images.map(({ status }) => status)).toEqual(Array(20).fill('archived'))
    // Below the time after which the first of those that hang is given up.
    expect(seconds).toBeLessThan(5)
    for (const { visits } of sick) expect(mostAtOnce(visits)).toBeLessThanOrEqual(1)
    expect(mostAtOnce(sick.flatMap(({ visits }) => visits))).toBeLessThanOrEqual(8)
  },
)
