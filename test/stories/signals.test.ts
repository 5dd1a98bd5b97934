import { spawn } from 'node:child_process'
import { readFile, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'vitest'
import { type Stage, it } from '../support/process/bench.ts'
import { builtCli } from '../support/process/built.ts'
import { submitted } from '../support/process/client.ts'
import { type Program, type Settings, until, watched } from '../support/process/program.ts'

const ROOT = join(import.meta.dirname, '../..')

const isDraining = ({ lines }: Program) => lines.some((line) => line.includes('"draining"'))

/** The service with a client that waits for the reply of a provider that takes its time. */
async function waitingClient(stage: Stage, replyMs: number) {
  const { provider, program } = await stage.service(async (job, answer, provider) => {
    await delay(replyMs)
    answer.json(provider.processing(job))
  })
  const waiting = submitted(program).then(
    ({ status }) => status,
    () => 'unanswered',
  )
  await until(() => provider.submissions.length === 1)
  return { provider, program, waiting }
}

it.for<[string, NodeJS.Signals[]]>([
  ['a SIGHUP', ['SIGHUP']],
  ['SIGTERM twice', ['SIGTERM', 'SIGTERM']],
  ['SIGINT thrice', ['SIGINT', 'SIGINT', 'SIGINT']],
  ['SIGTERM and then SIGHUP, as of systemd', ['SIGTERM', 'SIGHUP']],
  ['SIGHUP and then SIGTERM', ['SIGHUP', 'SIGTERM']],
])('takes %s for one stop: it drains', async ([, signals], { stage }) => {
  const { program, waiting } = await waitingClient(stage, 2500)

  for (const signal of signals) {
    program.child.kill(signal)
    await until(() => isDraining(program))
    await delay(100)
  }

  expect(await waiting).toBe('processing')
  expect(await program.ended).toEqual({ code: 0, signal: null })
})

it('ends at once on a signal that comes later than the same stop would', async ({ stage }) => {
  const { program, waiting } = await waitingClient(stage, 30_000)

  program.child.kill('SIGTERM')
  await until(() => isDraining(program))
  await delay(2100)
  program.child.kill('SIGINT')

  expect(await program.ended).toEqual({ code: null, signal: 'SIGINT' })
  expect(await waiting).toBe('unanswered')
})

/** `npm start` as a service manager runs it: in a process group of its own. */
async function npmStart(stage: Stage, folder: string, settings: Settings) {
  const { scripts } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
    scripts: { start: string }
  }
  const manifest = { type: 'module', scripts: { start: scripts.start } }
  await writeFile(join(folder, 'package.json'), JSON.stringify(manifest))
  await symlink(dirname(await builtCli()), join(folder, 'dist'))
  const child = spawn('npm', ['start'], {
    cwd: folder,
    detached: true,
    env: { PATH: process.env['PATH'], HOME: folder, ...settings },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const signalGroup = (signal: NodeJS.Signals) => process.kill(-(child.pid ?? 0), signal)
  stage.after(() => {
    if (child.exitCode === null) signalGroup('SIGKILL')
  })
  return { program: watched(child), signalGroup }
}

it('drains when the process group of npm start is told to stop, although npm passes that on', async ({
  stage,
}) => {
  const provider = await stage.standIn(async (job, answer, provider) => {
    await delay(1500)
    answer.json(provider.processing(job))
  })
  const { folder, settings } = await stage.home(provider.settings())
  const { program, signalGroup } = await npmStart(stage, folder, settings)
  await until(() => program.url !== '', 30_000)
  const waiting = submitted(program)
  await until(() => provider.submissions.length === 1)

  signalGroup('SIGTERM')

  expect((await waiting).status).toBe('processing')
  await program.ended
  expect(program.lines.join('\n')).toContain('"message":"stopped"')
}, 60_000)
