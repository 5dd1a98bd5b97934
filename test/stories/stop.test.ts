import { copyFile, readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { expect } from 'vitest'
import { it } from '../support/process/bench.ts'
import { builtCli } from '../support/process/built.ts'
import {
  ask,
  inpaint,
  isArchived,
  post,
  shown,
  submitted,
  untilShown,
} from '../support/process/client.ts'
import { type Program, until } from '../support/process/program.ts'

const readiness = async (program: Program) => {
  const response = await ask(program, '/readyz')
  return { status: response.status, body: await response.json() }
}

it.concurrent('ends at once, and well, when there is nothing to do', async ({ stage }) => {
  const { program } = await stage.service()
  const asked = Date.now()

  program.child.kill('SIGTERM')

  expect(await program.ended).toEqual({ code: 0, signal: null })
  // A drain that waited for something would take 20 s.
  expect(Date.now() - asked).toBeLessThan(15_000)
})

it.concurrent('ends at once although a client keeps its connection', async ({ stage }) => {
  const { program } = await stage.service()
  await ask(program, '/livez')

  program.child.kill('SIGINT')

  expect(await program.ended).toEqual({ code: 0, signal: null })
})

it.concurrent(
  'lets the client that waits have its answer before it ends, and says meanwhile that it is draining',
  async ({ stage }) => {
    const { here, provider, program } = await stage.service(async (job, answer, provider) => {
      await until(() => wasLookedAt)
      // For longer than connections are left open once everything has been answered.
      await delay(2500)
      answer.json(provider.processing(job))
    })
    let wasLookedAt = false
    const waiting = submitted(program)
    await until(() => provider.submissions.length === 1)

    program.child.kill('SIGTERM')
    await until(() => program.lines.some((line) => line.includes('"draining"')))

    expect(await readiness(program)).toMatchObject({ status: 503, body: { ledger: 'draining' } })
    expect((await ask(program, '/livez')).status).toBe(200)
    wasLookedAt = true
    const { id, status } = await waiting
    expect(status).toBe('processing')
    expect(await program.ended).toEqual({ code: 0, signal: null })
    const again = await stage.start(here.settings)
    expect((await shown(again, id)).status).toBe('processing')
  },
)

it.concurrent('keeps a callback that comes while it drains', async ({ stage }) => {
  const { here, provider, program } = await stage.service(async (job, answer, provider) => {
    program.child.kill('SIGTERM')
    await until(() => program.lines.some((line) => line.includes('"draining"')))
    await provider.finish(job)
    answer.json(provider.processing(job))
  })

  const { id } = await submitted(program)
  await program.ended
  const again = await stage.start(here.settings)

  expect(provider.deliveries.map(({ status }) => status)).toEqual([200])
  expect(await untilShown(again, id, isArchived)).toMatchObject({ status: 'succeeded' })
})

it.concurrent(
  'ends the download that is under way and leaves nothing half-written',
  async ({ stage }) => {
    const { here, provider, program } = await stage.service()
    provider.imageDelayMs = 600
    const { id } = await submitted(program)
    await until(() => provider.gets.length > 0)

    program.child.kill('SIGTERM')

    expect(await program.ended).toEqual({ code: 0, signal: null })
    expect(await readdir(join(here.objects, '.tmp'))).toEqual([])
    expect(await readdir(join(here.folder, 'data'))).toEqual(['afterimage.db', 'secrets.json'])
    const ledger = new Database(here.database, { readonly: true })
    expect(ledger.pragma('integrity_check', { simple: true })).toBe('ok')
    ledger.close()
    expect((await shown(await stage.start(here.settings), id)).archive_status).toBe('archived')
  },
)

it.concurrent(
  'leaves one file with all that it knows, although the thread that lists is slow to end',
  async ({ stage }) => {
    const provider = await stage.standIn()
    const { settings, database } = await stage.home(provider.settings())
    const cli = await builtCli({
      file: 'ledger/driver/lists.thread.node.ts',
      from: 'generations.list(filter, limit), close }',
      to: 'generations.list(filter, limit), close: () => setTimeout(close, 1000) }',
    })
    const program = await stage.start(settings, cli)
    const { id } = await submitted(program)
    await untilShown(program, id, isArchived)

    program.child.kill('SIGTERM')

    expect(await program.ended).toEqual({ code: 0, signal: null })
    expect(await readdir(dirname(database))).toEqual(['afterimage.db', 'secrets.json'])
    await copyFile(database, `${database}.copy`)
    const copy = await stage.start({ ...settings, DATABASE_PATH: `${database}.copy` })
    expect(await shown(copy, id)).toMatchObject({ archive_status: 'archived' })
  },
)

it.concurrent(
  'ends within its bounds although the provider never answers, and does not submit again',
  async ({ stage }) => {
    const { here, provider, program } = await stage.service(() => undefined, {
      SUBMIT_TIMEOUT_SECONDS: '1',
    })
    const waiting = submitted(program)
    await until(() => provider.submissions.length === 1)

    program.child.kill('SIGTERM')

    expect((await waiting).status).toBe('unconfirmed')
    expect(await program.ended).toEqual({ code: 0, signal: null })
    await stage.start(here.settings)
    expect(provider.submissions).toHaveLength(1)
  },
)

it.concurrent(
  'calls a submission unconfirmed whose reply a kill cut off, also when the clock was set back since',
  async ({ stage }) => {
    const { here, provider, program } = await stage.service(() => undefined)
    submitted(program).catch(() => undefined)
    const job = await until(() => provider.submissions[0])
    await program.kill()
    const ledger = new Database(here.database)
    ledger.exec('update generations set submission_started_at = submission_started_at + 3600000')
    ledger.close()

    const again = await stage.start(here.settings)

    expect((await shown(again, job.trackId)).status).toBe('unconfirmed')
    expect(provider.submissions).toHaveLength(1)
  },
)

it.concurrent(
  'ends with its writing thread, rather than go on without it, and the next start has all that was answered',
  async ({ stage }) => {
    const provider = await stage.standIn()
    const { settings } = await stage.home(provider.settings())
    const cli = await builtCli({
      file: 'ledger/driver/writer.thread.node.ts',
      from: 'statements.push(...added)',
      to: "if (JSON.stringify(lists).includes('a fault of ours')) process.exit(); statements.push(...added)",
    })
    const program = await stage.start(settings, cli)
    const { id } = await submitted(program)

    const unanswered = post(program, inpaint({ prompt: 'a fault of ours' })).catch(
      () => 'unanswered',
    )
    const { code } = await program.ended

    expect([code, await unanswered]).toEqual([1, 'unanswered'])
    expect(program.lines.join('\n')).toMatch(/the thread of .*writer\.thread\.node\.js has ended/u)
    const again = await stage.start(settings)
    expect(await untilShown(again, id, isArchived)).toMatchObject({ status: 'succeeded' })
    expect(provider.submissions).toHaveLength(1)
  },
)
