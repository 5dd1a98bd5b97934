import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { expect } from 'vitest'
import { type Stage, it } from '../support/process/bench.ts'
import {
  ask,
  inpaint,
  isArchived,
  isSettled,
  post,
  shown,
  submitted,
  timeline,
  untilShown,
} from '../support/process/client.ts'
import { pollLivez } from '../support/process/livez.ts'
import { type Program, until } from '../support/process/program.ts'
import type { Delivery, Job, Script, StandIn } from '../support/process/stand-in.ts'

/** The provider accepts, and the test decides what happens then. */
const accepts: Script = (job, answer, provider) => answer.json(provider.processing(job))

const first = ({ submissions: [job] }: { submissions: Job[] }) => {
  if (!job) throw new Error('nothing was submitted')
  return job
}

const readiness = async (program: Program) => {
  const response = await ask(program, '/readyz')
  return {
    code: response.status,
    ...((await response.json()) as { ledger: string; objects: string }),
  }
}

/** How long each `/livez` took, asked one after the other until `done`. */
async function livezTimes(program: Program, done: Promise<unknown>) {
  const state = { ended: false }
  void done.finally(() => (state.ended = true))
  const times: number[] = []
  while (!state.ended) {
    const asked = performance.now()
    await ask(program, '/livez')
    times.push(performance.now() - asked)
  }
  return times
}

it('answers callbacks 503 within two seconds while the ledger is locked, and never stands still', async ({
  stage,
}) => {
  const { here, provider, program } = await stage.service(accepts)
  const { id } = await submitted(program)
  const job = first(provider)
  const blocker = new Database(here.database)
  blocker.exec('begin immediate')

  const asked = Date.now()
  const refused = Promise.all(
    Array.from({ length: 8 }, () => provider.call(job, provider.success(job))),
  )
  const tookMs = refused.then(() => Date.now() - asked)
  const times = await livezTimes(program, refused)
  const whileLocked = await readiness(program)
  blocker.exec('rollback')
  blocker.close()

  expect((await refused).map(({ status, retryAfter }) => [status, retryAfter])).toEqual(
    Array.from({ length: 8 }, () => [503, '5']),
  )
  expect(await tookMs).toBeLessThan(2000)
  expect(times.length).toBeGreaterThan(10)
  expect(Math.max(...times)).toBeLessThan(1000)
  expect(whileLocked).toMatchObject({ code: 503, ledger: 'not writable' })
  expect(await timeline(program, id, 'callback')).toEqual([])
  expect(await provider.call(job, provider.success(job))).toMatchObject({ status: 200 })
  await untilShown(program, id, isArchived)
  expect(await readiness(program)).toMatchObject({ code: 200, ledger: 'ok' })
})

const LOCKED_MS = 4000

/**
 * A sender that comes again when Retry-After says so, until its callback is taken. Returns all its
 * tries.
 */
async function sendPatiently(provider: StandIn, job: Job) {
  job.fetched = provider.success(job)
  for (const tries: (Delivery & { tookMs: number })[] = []; ;) {
    const asked = performance.now()
    const delivery = await provider.call(job, job.fetched)
    tries.push({ ...delivery, tookMs: performance.now() - asked })
    if (delivery.status === 200) return tries
    await delay(Number(delivery.retryAfter) * 1000)
  }
}

/** How often each message was logged. */
function countMessages(lines: string[]) {
  const counts = new Map<string, number>()
  for (const line of lines) {
    const { message } = JSON.parse(line) as { message: string }
    counts.set(message, (counts.get(message) ?? 0) + 1)
  }
  return counts
}

it('keeps and copies everything once although the ledger was locked for seconds, and says little of it meanwhile', async ({
  stage,
}) => {
  const { here, provider, program } = await stage.service(accepts)
  for (let n = 0; n < 30; n++) await submitted(program)
  const [early, late] = [provider.submissions.slice(0, 6), provider.submissions.slice(6)]
  provider.imageDelayMs = 2000
  await Promise.all(early.map((job) => provider.finish(job)))
  await until(() => provider.gets.length > 0)
  const blocker = new Database(here.database)
  blocker.exec('begin immediate')
  const [livez, linesBefore] = [pollLivez(program), program.lines.length]

  const sent: Promise<(Delivery & { tookMs: number })[]>[] = []
  for (const job of late) {
    sent.push(sendPatiently(provider, job))
    await delay(LOCKED_MS / late.length)
  }
  const whileLocked = await readiness(program)
  const underWay = await Promise.all(early.map(({ trackId }) => shown(program, trackId)))
  const saidWhileLocked = countMessages(program.lines.slice(linesBefore))
  blocker.close()
  const tries = await Promise.all(sent)
  for (const { trackId } of provider.submissions) await untilShown(program, trackId, isSettled)

  const refused = tries.flat().filter(({ status }) => status !== 200)
  expect(refused.map(({ status, retryAfter }) => [status, retryAfter])).toEqual(
    refused.map(() => [503, '5']),
  )
  expect(refused.length).toBeGreaterThan(late.length / 2)
  expect(Math.max(...refused.map(({ tookMs }) => tookMs))).toBeLessThan(2000)
  expect(await livez.longestGapMs()).toBeLessThan(1000)
  expect(whileLocked).toMatchObject({ code: 503, ledger: 'not writable' })
  expect(underWay.map(({ archive_status }) => archive_status)).toEqual(early.map(() => 'pending'))
  // However many callbacks are refused, and whatever else waits in vain.
  expect([...saidWhileLocked]).toEqual([['the ledger cannot be written', 1]])
  for (const { trackId } of provider.submissions) {
    expect(await timeline(program, trackId, 'callback')).toMatchObject([{ detail: { count: 1 } }])
    expect(await timeline(program, trackId, 'archived')).toHaveLength(2)
  }
  expect(new Set(provider.gets.map(({ url }) => url)).size).toBe(provider.gets.length)
})

it('submits nothing that it cannot write down', async ({ stage }) => {
  const { here, provider, program } = await stage.service(accepts)
  const blocker = new Database(here.database)
  blocker.exec('begin immediate')

  const response = await post(program, inpaint())
  blocker.close()

  expect([response.status, response.headers.get('retry-after')]).toEqual([503, '5'])
  expect(provider.submissions).toEqual([])
})

it('keeps a reply that came while the ledger was locked', async ({ stage }) => {
  const locking: Script = async (job, answer, provider) => {
    const blocker = new Database(here.database)
    blocker.exec('begin immediate')
    answer.json(provider.processing(job))
    await until(() => program.lines.some((line) => line.includes('cannot be kept yet')))
    blocker.close()
  }
  const { here, program } = await stage.service(locking, { LOG_LEVEL: 'debug' })

  const { id, status } = await submitted(program)

  expect(status).toBe('requested')
  await untilShown(program, id, (generation) => generation.status === 'processing')
})

/** A disk that the test can fill; null, said aloud, where we may not mount one. */
function smallDisk(stage: Stage, folder: string) {
  const path = join(folder, 'disk')
  mkdirSync(path)
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', path], { stdio: 'pipe' })
  } catch (error) {
    console.warn(
      `SKIPPED: a full disk cannot be tried without the right to mount one: ${String(error)}`,
    )
    return null
  }
  stage.after(() => void execFileSync('umount', ['--lazy', path]))
  const filler = join(path, 'filler')
  return { path, fill: () => fill(filler), free: () => rmSync(filler) }
}

function fill(path: string) {
  const block = Buffer.alloc(4096)
  for (;;) {
    try {
      writeFileSync(path, block, { flag: 'a' })
    } catch {
      return
    }
  }
}

it('loses no callback when the disk is full, and goes on once there is room', async ({
  stage,
  skip,
}) => {
  const provider = await stage.standIn(accepts)
  const { folder, settings } = await stage.home(provider.settings())
  const disk = smallDisk(stage, folder)
  if (!disk) return skip()
  const program = await stage.start({
    ...settings,
    DATABASE_PATH: join(disk.path, 'afterimage.db'),
  })
  const ids = [(await submitted(program)).id, (await submitted(program)).id]
  disk.fill()

  const refused = await Promise.all(
    provider.submissions.map((job) => provider.call(job, provider.success(job))),
  )
  const unsent = await post(program, inpaint())
  const whileFull = await readiness(program)
  const live = await ask(program, '/livez')
  disk.free()

  expect(refused.map(({ status, retryAfter }) => [status, retryAfter])).toEqual([
    [503, '5'],
    [503, '5'],
  ])
  expect([unsent.status, live.status, provider.submissions.length]).toEqual([503, 200, 2])
  expect(whileFull).toMatchObject({ code: 503, ledger: 'not writable' })
  for (const job of provider.submissions) await provider.finish(job)
  for (const id of ids) await untilShown(program, id, isArchived)
  expect(await readiness(program)).toMatchObject({ code: 200, ledger: 'ok' })
})

it('ends well although the disk is full, and knows at the next start what it had answered', async ({
  stage,
  skip,
}) => {
  const provider = await stage.standIn(accepts)
  const { folder, settings } = await stage.home(provider.settings())
  const disk = smallDisk(stage, folder)
  if (!disk) return skip()
  const database = join(disk.path, 'afterimage.db')
  const program = await stage.start({ ...settings, DATABASE_PATH: database })
  const { id } = await submitted(program)
  disk.fill()

  program.child.kill('SIGTERM')

  expect(await program.ended).toEqual({ code: 0, signal: null })
  disk.free()
  const again = await stage.start({ ...settings, DATABASE_PATH: database })
  expect(await shown(again, id)).toMatchObject({ status: 'processing' })
})

it('tries little of what it cannot write down while the disk is full, and answers /livez throughout', async ({
  stage,
  skip,
}) => {
  const provider = await stage.standIn(accepts)
  const { folder, settings } = await stage.home(provider.settings())
  const disk = smallDisk(stage, folder)
  if (!disk) return skip()
  const program = await stage.start({
    ...settings,
    DATABASE_PATH: join(disk.path, 'afterimage.db'),
    // The log of the database may have room for the lease of a fetch, and none for its answer.
    LEASE_SECONDS: '1',
    LOG_LEVEL: 'debug',
  })
  const { id } = await submitted(program)
  const livez = pollLivez(program)
  disk.fill()
  // The provider is to be asked what became of it, and that cannot be written down.
  const tries = () =>
    program.lines.filter((line) => line.includes('asking for results failed')).length
  await until(() => tries() > 0)

  const [from, before] = [Date.now(), tries()]
  await until(() => Date.now() - from > 3000)
  const [triedMeanwhile, seconds] = [tries() - before, (Date.now() - from) / 1000]
  disk.free()

  expect(triedMeanwhile).toBeGreaterThan(0)
  expect(triedMeanwhile).toBeLessThanOrEqual(seconds + 1)
  expect(await livez.longestGapMs()).toBeLessThan(1000)
  await provider.finish(first(provider))
  await untilShown(program, id, isArchived)
})

const AWAY = 'the ledger cannot be written'
const BACK = 'the ledger can be written again'

it('says once that the disk of the ledger is full, under load, and that there is room again', async ({
  stage,
  skip,
}) => {
  const provider = await stage.standIn(accepts)
  const { folder, settings } = await stage.home(provider.settings())
  const disk = smallDisk(stage, folder)
  if (!disk) return skip()
  const program = await stage.start({
    ...settings,
    DATABASE_PATH: join(disk.path, 'afterimage.db'),
  })
  const { id } = await submitted(program)
  const job = first(provider)
  await until(() => countMessages(program.lines).has('reply'))
  const before = program.lines.length
  disk.fill()

  const statuses = new Set<number>()
  for (let round = 0; round < 20; round++) {
    const called = Array.from({ length: 10 }, () => provider.call(job, provider.success(job)))
    const [asked, ready] = await Promise.all([post(program, inpaint()), readiness(program)])
    for (const { status } of await Promise.all(called)) statuses.add(status ?? 0)
    statuses.add(asked.status).add(ready.code)
  }
  const said = program.lines.slice(before)
  disk.free()

  expect([...statuses]).toEqual([503])
  expect(said.find((line) => line.includes(AWAY))).toContain('database or disk is full')
  const { [AWAY]: away, [BACK]: back = 0, ...others } = Object.fromEntries(countMessages(said))
  expect([away, others]).toEqual([1, {}])
  // The lease of something that is due may still have room, and nothing else.
  expect(back).toBeLessThanOrEqual(1)
  await provider.finish(job)
  await untilShown(program, id, isArchived)
  expect([...countMessages(program.lines).keys()]).toContain(BACK)
})

it('keeps no half-written object when the disk of the objects is full, and copies once there is room', async ({
  stage,
  skip,
}) => {
  const provider = await stage.standIn(accepts)
  const { folder, settings } = await stage.home(provider.settings())
  const disk = smallDisk(stage, folder)
  if (!disk) return skip()
  const objects = join(disk.path, 'objects')
  const program = await stage.start({ ...settings, OBJECTS_DIR: objects })
  const { id } = await submitted(program)
  disk.fill()

  await provider.finish(first(provider))
  const full = await until(async () => {
    const state = await readiness(program)
    return state.objects !== 'ok' && state
  })
  const whileFull = await shown(program, id)
  disk.free()

  expect(full).toMatchObject({
    code: 200,
    ledger: 'ok',
    objects: expect.stringMatching(/^down since/u) as unknown,
  })
  expect(whileFull).toMatchObject({ status: 'succeeded', archive_status: 'pending' })
  expect(program.lines.some((line) => line.includes('ENOSPC'))).toBe(true)
  await untilShown(program, id, isArchived)
  await until(async () => (await readdir(join(objects, '.tmp'))).length === 0)
})

it.for<[string, (path: string) => Promise<unknown>]>([
  ['a file stands where the folder was', (path: string) => writeFile(path, 'no folder')],
  ['the folder is empty, as an unmounted disk leaves it', (path: string) => mkdir(path)],
])(
  'keeps taking callbacks while %s, and copies the images once the store is back',
  async ([, replace], { stage }) => {
    const { here, provider, program } = await stage.service(accepts)
    await rename(here.objects, `${here.objects}.away`)
    await replace(here.objects)
    const { id } = await submitted(program)

    await provider.finish(first(provider))
    const away = await until(async () => {
      const state = await readiness(program)
      return state.objects !== 'ok' && state
    })

    expect(away).toMatchObject({
      code: 200,
      ledger: 'ok',
      objects: expect.stringMatching(/^down since \d{4}-/u) as unknown,
    })
    expect(await shown(program, id)).toMatchObject({
      status: 'succeeded',
      archive_status: 'pending',
    })
    expect((await ask(program, `/v1/generations/${id}/images/0`)).status).toBe(404)
    await rm(here.objects, { recursive: true })
    await rename(`${here.objects}.away`, here.objects)
    await untilShown(program, id, isArchived)
    expect(await readiness(program)).toMatchObject({ code: 200, objects: 'ok' })
  },
)
