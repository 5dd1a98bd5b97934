import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'vitest'
import { type Stage, it } from '../support/process/bench.ts'
import {
  isSettled,
  type Shown,
  submitted,
  timeline,
  untilShown,
} from '../support/process/client.ts'
import { pollLivez } from '../support/process/livez.ts'
import { type Program, until } from '../support/process/program.ts'
import { type Job, type Script, sha256 } from '../support/process/stand-in.ts'

const TWO_HOURS_MS = 2 * 3600 * 1000
/**
 * How far the program's clock is ahead of the machine's, one after the other: it jumps back, ahead,
 * ahead and back.
 */
const JUMPS = [-TWO_HOURS_MS, 0, TWO_HOURS_MS, 0]
/** Until each picture is there. */
const MISSES = 3

/** Loaded before the program: on SIGUSR2 its clock is set to what the file says. */
const settable = (path: string) => `
import { readFileSync } from 'node:fs'
const { now } = Date
let aheadMs = 0
Date.now = () => now() + aheadMs
process.on('SIGUSR2', () => { aheadMs = Number(readFileSync(${JSON.stringify(path)}, 'utf8')) })`

/** The service with a clock that can be set. */
async function onItsOwnClock(stage: Stage, script: Script) {
  const provider = await stage.standIn(script)
  const { folder, settings } = await stage.home(provider.settings())
  const path = join(folder, 'clock')
  const hook = `data:text/javascript,${encodeURIComponent(settable(path))}`
  const program = await stage.start({ ...settings, NODE_OPTIONS: `--import ${hook}` })
  const setClock = async (aheadMs: number) => {
    await writeFile(path, String(aheadMs))
    program.child.kill('SIGUSR2')
    await until(() => Math.abs(timeOfLast(program) - Date.now() - aheadMs) < TWO_HOURS_MS / 2)
  }
  return { provider, program, setClock }
}

interface Line {
  time: string
  level: string
  message: string
}

const said = ({ lines }: Program, which: (line: Line) => boolean) =>
  lines.map((line) => JSON.parse(line) as Line).filter(which)

const timeOfLast = (program: Program) => Date.parse(said(program, () => true).at(-1)?.time ?? '')

/**
 * Some are refused at first, of some nobody is told, and no picture is there at once: everything
 * waits for something.
 */
const slow = (accepted: Job[]): Script => {
  return async (job, answer, provider) => {
    const nth = provider.submissions.length
    if (nth === 4 || nth === 16) {
      answer.json({ status: 'error', message: 'Rate limit exceeded.', retry_after: 0.5 }, 429)
      return
    }
    accepted.push(job)
    for (const path of job.paths) provider.late.set(provider.origin(0) + path, MISSES)
    answer.json(provider.processing(job))
    await delay(200)
    if (nth % 3 === 0) job.fetched = provider.success(job)
    else await provider.finish(job)
  }
}

/** Submits again and again until it is stopped; returns all that was accepted. */
function load(program: Program) {
  let over = false
  const submit = async () => {
    const ids: string[] = []
    while (!over) {
      ids.push((await submitted(program)).id)
      await delay(200)
    }
    return ids
  }
  const clients = [submit(), submit()]
  return async () => {
    over = true
    return (await Promise.all(clients)).flat()
  }
}

/** How often the one of them that comes most often does. */
function mostOften(texts: string[]) {
  const counts = new Map<string, number>()
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1)
  return Math.max(...counts.values())
}

it('loses nothing, gets stuck nowhere and does nothing in vain when the clock jumps by hours, both ways, under load', async ({
  stage,
}) => {
  const accepted: Job[] = []
  const { provider, program, setClock } = await onItsOwnClock(stage, slow(accepted))
  const livez = pollLivez(program)
  const stop = load(program)

  for (const aheadMs of JUMPS) {
    await delay(1500)
    await setClock(aheadMs)
  }
  const ids = await stop()
  const ended = new Map<string, Shown>()
  for (const id of ids) ended.set(id, await untilShown(program, id, isSettled))

  expect(accepted.map(({ trackId }) => trackId).toSorted()).toEqual(ids.toSorted())
  for (const { trackId, pictures } of accepted) {
    expect(ended.get(trackId)?.images.map((image) => image.sha256)).toEqual(
      [...pictures, ...pictures].map(sha256),
    )
    expect(await timeline(program, trackId, 'archived')).toHaveLength(2)
  }
  // A jump ahead ends every lease, and what was under way may be tried beside it once.
  expect(mostOften(provider.gets.map(({ url }) => url))).toBeLessThanOrEqual(
    MISSES + 1 + JUMPS.length,
  )
  expect(mostOften(provider.fetches.map(({ id }) => String(id)))).toBeLessThanOrEqual(
    2 + JUMPS.length,
  )
  expect(said(program, ({ message }) => message === 'the clock was set back')).toHaveLength(2)
  expect(said(program, ({ level }) => level === 'error')).toEqual([])
  expect(await livez.longestGapMs()).toBeLessThan(1000)
})

/** A clock that is two hours ahead from the beginning. */
const AHEAD = `const { now } = Date; Date.now = () => now() + ${TWO_HOURS_MS}`

it('holds back nothing that a clock two hours ahead had put off, set right while it was down', async ({
  stage,
}) => {
  const provider = await stage.standIn((job, answer, provider) => {
    if (provider.submissions.length === 2) {
      answer.json({ status: 'error', message: 'Rate limit exceeded.', retry_after: 60 }, 429)
      return
    }
    job.fetched = provider.success(job)
    answer.json(provider.processing(job))
  })
  const { settings } = await stage.home({ ...provider.settings(), RECONCILE_GRACE_SECONDS: '30' })
  const hook = `data:text/javascript,${encodeURIComponent(AHEAD)}`
  const program = await stage.start({ ...settings, NODE_OPTIONS: `--import ${hook}` })
  const ids = [(await submitted(program)).id, (await submitted(program)).id]
  await program.kill()

  const again = await stage.start({ ...settings, RECONCILE_GRACE_SECONDS: '0.2' })

  for (const id of ids) await untilShown(again, id, isSettled)
  expect(provider.submissions).toHaveLength(3)
})
