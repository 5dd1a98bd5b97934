import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect } from 'vitest'
import { type Radosgw, radosgwInstalled, startRadosgw } from '../support/radosgw.ts'
import { type Bench, it } from '../support/process/bench.ts'
import { Bucket, picturesInLedger, s3Settings } from '../support/process/bucket.ts'
import {
  ask,
  isArchived,
  isSettled,
  shown,
  type Shown,
  submitted,
  untilShown,
} from '../support/process/client.ts'
import { pollLivez } from '../support/process/livez.ts'
import { picture } from '../support/process/picture.ts'
import { type Program, type Settings, until } from '../support/process/program.ts'
import { type Script, sha256, type StandIn, usual } from '../support/process/stand-in.ts'

const readiness = async (program: Program) => {
  const response = await ask(program, '/readyz')
  return { code: response.status, ...((await response.json()) as { objects: string }) }
}

const logged = ({ lines }: Program, level: string) =>
  lines
    .map((line) => JSON.parse(line) as { level: string; message: string })
    .filter((line) => line.level === level)

const linesAbout = (lines: string[], text: string) =>
  lines.filter((line) => line.includes(text)).length

const hashesShown = ({ submissions }: StandIn) =>
  [...new Set(submissions.flatMap(({ pictures }) => pictures.map(sha256)))].toSorted()

/** Every fifth generation shows the same picture. */
const oftenTheSame: Script = (job, answer, provider) => {
  if (job.id % 5 === 0) job.pictures[0] = picture(1)
  return usual(job, answer, provider)
}

const OUTAGE_MS = 25_000

const DYING = 'a link that dies in seconds'
const DYING_MS = 8000
const SLOTS = 8
const DAYS_MS = 3 * 24 * 3600 * 1000

/** No mirrors; its URL says when the link dies, and then it does. */
const dyingOrLasting: Script = (job, answer, provider) => {
  const diesAt =
    Math.ceil((Date.now() + (job.body['prompt'] === DYING ? DYING_MS : DAYS_MS)) / 1000) * 1000
  job.paths = job.paths.map((path) => `${path}?Expires=${diesAt / 1000}`)
  if (job.body['prompt'] === DYING)
    setTimeout(() => {
      for (const path of job.paths) provider.late.set(provider.origin(0) + path, Infinity)
    }, diesAt - Date.now()).unref()
  answer.json(provider.processing(job))
  return provider.finish(job, { ...provider.success(job), proxy_links: '' })
}

/**
 * How many images were downloaded in a stretch of time that saw the store probed again and again.
 */
async function downloadsWhileAway({ gets }: StandIn) {
  const from = Date.now()
  const since = (ms: number) => gets.filter(({ at }) => at > from + ms).length
  await until(() => since(1500) >= 2)
  return { count: since(0), seconds: (Date.now() - from) / 1000 }
}

async function firstOf(
  program: Program,
  generations: Shown[],
  condition: (generation: Shown) => boolean,
) {
  for (const { id } of generations) {
    const generation = await shown(program, id)
    if (condition(generation)) return generation
  }
  return null
}

const submitMany = (program: Program, count: number) =>
  Promise.all(Array.from({ length: count }, () => submitted(program)))

describe.skipIf(!radosgwInstalled('the service on S3'))('the service on a real S3 server', () => {
  let radosgw: Radosgw
  let bucket: Bucket
  beforeAll(async () => {
    radosgw = await startRadosgw()
    bucket = new Bucket(radosgw)
  })
  beforeEach(() => bucket.empty())
  afterAll(async () => {
    bucket.close()
    await radosgw.stop()
  })

  const service = (bench: Bench, script: Script, more: Settings = {}) =>
    bench.service(script, { ...s3Settings(radosgw), RETRY_BASE_SECONDS: '0.2', ...more })

  it('archives everything when the store is killed in the middle and comes back, and loses no callback', async ({
    bench,
  }) => {
    const { here, provider, program } = await service(bench, oftenTheSame, {
      ARCHIVE_CONCURRENCY: String(SLOTS),
    })
    provider.imageDelayMs = 40
    const before = await submitMany(program, 40)
    await until(() => picturesInLedger(here.database).size >= 8)
    const archived = await until(() => firstOf(program, before, isArchived))

    await radosgw.stopGateway()
    const meanwhile = await submitMany(program, 8)
    const down = await until(async () => {
      const state = await readiness(program)
      return state.objects !== 'ok' && state
    })
    await until(() => provider.deliveries.length === 48)
    const downloads = await downloadsWhileAway(provider)
    const stillDown = await readiness(program)
    const refused = await ask(program, `/v1/generations/${archived.id}/images/0`)
    await radosgw.startGateway()
    for (const { id } of [...before, ...meanwhile]) await untilShown(program, id, isSettled)

    const kept = await bucket.pictures()
    expect(down).toMatchObject({
      code: 200,
      objects: expect.stringMatching(/^down since \d{4}-/u) as unknown,
    })
    expect(stillDown).toEqual(down)
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '5'])
    // One a second finds out whether the store is back, beside what was under way when it went.
    expect(downloads.count).toBeLessThanOrEqual(downloads.seconds + 1 + SLOTS)
    expect(provider.deliveries.map(({ status }) => status)).toEqual(Array(48).fill(200))
    expect(kept).toEqual(picturesInLedger(here.database))
    expect([...kept.values()].toSorted()).toEqual(hashesShown(provider))
    expect(logged(program, 'error').map(({ message }) => message)).toEqual([
      'the object store does not answer',
    ])
    expect(await readiness(program)).toMatchObject({ code: 200, objects: 'ok' })
  })

  it('takes every callback and stays calm while the store is away for half a minute, then copies everything', async ({
    bench,
  }) => {
    const settings = { ARCHIVE_CONCURRENCY: String(SLOTS), RETRY_BASE_SECONDS: '0.02' }
    const { here, provider, program } = await service(bench, usual, settings)
    const ids = (await submitMany(program, 10)).map(({ id }) => id)
    for (const id of ids) await untilShown(program, id, isSettled)
    const livez = pollLivez(program)

    await radosgw.stopGateway()
    const [downAt, linesBefore] = [Date.now(), program.lines.length]
    while (Date.now() - downAt < OUTAGE_MS) {
      ids.push((await submitted(program)).id)
      await delay(200)
    }
    const state = await readiness(program)
    const downloads = provider.gets.filter(({ at }) => at > downAt).length
    const saidMeanwhile = linesAbout(
      program.lines.slice(linesBefore),
      'the object store does not answer',
    )
    await radosgw.startGateway()
    for (const id of ids) await untilShown(program, id, isSettled)

    expect(state).toMatchObject({
      code: 200,
      objects: expect.stringMatching(/^down since \d{4}-/u) as unknown,
    })
    expect(downloads).toBeGreaterThan(OUTAGE_MS / 2000)
    expect(downloads).toBeLessThanOrEqual(OUTAGE_MS / 1000 + 1 + SLOTS)
    expect(saidMeanwhile).toBe(1)
    expect(provider.deliveries.map(({ status }) => status)).toEqual(ids.map(() => 200))
    expect(await livez.longestGapMs()).toBeLessThan(1000)
    const kept = await bucket.pictures()
    expect(kept).toEqual(picturesInLedger(here.database))
    expect([...kept.values()].toSorted()).toEqual(hashesShown(provider))
  }, 90_000)

  it('copies links that die in seconds before those that live for days, once the store is back', async ({
    bench,
  }) => {
    const { here, provider, program } = await service(bench, dyingOrLasting, {
      ARCHIVE_CONCURRENCY: '2',
    })
    provider.imageDelayMs = 30
    await radosgw.stopGateway()
    const lasting = await submitMany(program, 40)
    const dying = await Promise.all(
      Array.from({ length: 8 }, () => submitted(program, { prompt: DYING })),
    )
    await until(() => provider.deliveries.length === 48)
    await until(async () => (await readiness(program)).objects !== 'ok')

    await radosgw.startGateway()
    const first = await Promise.all(dying.map(({ id }) => untilShown(program, id, isSettled)))
    const left =
      40 -
      (await Promise.all(lasting.map(({ id }) => shown(program, id)))).filter(isArchived).length
    for (const { id } of lasting) await untilShown(program, id, isSettled)
    expect(first.map(({ archive_status }) => archive_status)).toEqual(Array(8).fill('archived'))
    const kept = await bucket.pictures()
    expect(left).toBeGreaterThan(0)
    expect(kept).toEqual(picturesInLedger(here.database))
    expect([...kept.values()].toSorted()).toEqual(hashesShown(provider))
  })

  it('sends clients on to the bucket, who need no credentials there, and logs nothing of it', async ({
    bench,
  }) => {
    const { here, provider, program } = await service(bench, usual, {
      IMAGE_DELIVERY: 'presign',
      LOG_LEVEL: 'debug',
    })
    const { id } = await submitted(program)
    await untilShown(program, id, isSettled)
    const door = `/v1/generations/${id}/images/0`

    const sent = await ask(program, door, { redirect: 'manual' })
    const followed = await ask(program, door)

    const { origin, pathname } = new URL(sent.headers.get('location') ?? '')
    expect([sent.status, origin]).toEqual([302, radosgw.endpoint])
    expect([followed.status, followed.redirected]).toEqual([200, true])
    expect(sha256(Buffer.from(await followed.arrayBuffer()))).toBe(hashesShown(provider)[0])
    expect(picturesInLedger(here.database).has(pathname.slice(`/${radosgw.bucket}/`.length))).toBe(
      true,
    )
    expect(program.lines.filter((line) => line.includes(door))).toHaveLength(2)
    const { accessKeyId, secretAccessKey } = radosgw.credentials
    for (const hidden of ['X-Amz', accessKeyId, secretAccessKey])
      expect(program.lines.join('\n')).not.toContain(hidden)
  })
})
