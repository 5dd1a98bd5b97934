import { copyFile, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import Database from 'better-sqlite3'
import { expect } from 'vitest'
import { type Home, it, type Stage } from '../support/process/bench.ts'
import { ask, inpaint, isArchived, post, submitted, untilShown } from '../support/process/client.ts'
import { type Program, until } from '../support/process/program.ts'
import type { Script } from '../support/process/stand-in.ts'

/** The provider accepts, and the test decides what happens then. */
const accepts: Script = (job, answer, provider) => answer.json(provider.processing(job))

const CANNOT = 'the ledger cannot be written'

interface Line {
  level: string
  message: string
  error?: { message: string; code: string }
}

const errors = ({ lines }: Program) =>
  lines.map((line) => JSON.parse(line) as Line).filter(({ level }) => level === 'error')

const readiness = async (program: Program) => {
  const response = await ask(program, '/readyz')
  return [response.status, ((await response.json()) as { ledger: string }).ledger]
}

async function removeAll({ database }: Home) {
  const folder = dirname(database)
  for (const name of await readdir(folder))
    if (name.startsWith(basename(database))) await rm(join(folder, name))
}

/** What may happen to the files of a ledger that is open. */
const LOSSES: [string, (home: Home) => Promise<unknown>][] = [
  ['is removed with all that is beside it', removeAll],
  ['is removed', ({ database }) => rm(database)],
  ['loses its log', ({ database }) => rm(`${database}-wal`)],
  ['loses the index of its log', ({ database }) => rm(`${database}-shm`)],
  ['loses its lock', ({ database }) => rm(`${database}.lock`)],
  [
    'is replaced by a backup',
    async ({ database }) => {
      await copyFile(database, `${database}.backup`)
      await rename(`${database}.backup`, database)
    },
  ],
  [
    'is replaced by a new one',
    async (home) => {
      await removeAll(home)
      new Database(home.database).exec('create table cats (name)').close()
    },
  ],
  ['goes with its folder', ({ folder }) => rename(join(folder, 'data'), join(folder, 'elsewhere'))],
]

async function accepted(stage: Stage) {
  const { here, provider, program } = await stage.service(accepts)
  const { id } = await submitted(program)
  const [job] = provider.submissions
  if (!job) throw new Error('nothing was submitted')
  return { here, provider, program, id, job }
}

it.for(LOSSES)(
  'takes nothing that would be lost when its ledger %s, and says so once',
  async ([, lose], { stage: given }) => {
    const { here, provider, program, job } = await accepted(given)

    await lose(here)
    const called = await provider.call(job, provider.success(job))
    const asked = await post(program, inpaint())
    const ready = await readiness(program)
    const live = await ask(program, '/livez')
    await until(() => errors(program).length > 0)

    expect([called.status, called.retryAfter]).toEqual([503, '5'])
    expect([asked.status, asked.headers.get('retry-after')]).toEqual([503, '5'])
    expect(ready).toEqual([503, 'not writable'])
    expect(live.status).toBe(200)
    expect(provider.submissions).toHaveLength(1)
    expect(errors(program)).toMatchObject([
      {
        message: CANNOT,
        error: {
          code: 'SQLITE_READONLY_DBMOVED',
          message: expect.stringContaining(here.database) as string,
        },
      },
    ])
  },
)

it('says within a second that its ledger is gone, although nobody asks for anything', async ({
  stage: given,
}) => {
  const { here, program } = await accepted(given)

  await removeAll(here)

  await until(() => errors(program).length > 0)
  expect(errors(program).map(({ message }) => message)).toEqual([CANNOT])
})

it('goes on where its ledger is put back as it was', async ({ stage: given }) => {
  const { here, provider, program, id, job } = await accepted(given)
  const [data, elsewhere] = [dirname(here.database), join(here.folder, 'elsewhere')]
  await rename(data, elsewhere)
  const refused = await provider.call(job, provider.success(job))

  await rename(elsewhere, data)
  await provider.finish(job)

  expect(refused.status).toBe(503)
  expect(await readiness(program)).toEqual([200, 'ok'])
  await untilShown(program, id, isArchived)
})

it('sees that a symbolic link leads to another ledger now', async ({ stage: given }) => {
  const provider = await given.standIn(accepts)
  const { settings, folder } = await given.home(provider.settings())
  const link = join(folder, 'link.db')
  await writeFile(join(folder, 'one.db'), '')
  await symlink(join(folder, 'one.db'), link)
  const program = await given.start({ ...settings, DATABASE_PATH: link })
  await submitted(program)
  expect(await readiness(program)).toEqual([200, 'ok'])

  await writeFile(join(folder, 'two.db'), '')
  await rm(link)
  await symlink(join(folder, 'two.db'), link)

  expect(await readiness(program)).toEqual([503, 'not writable'])
})

it('stays in service while others read its ledger, and back it up', async ({ stage: given }) => {
  const { here, provider, program, id, job } = await accepted(given)
  const reader = new Database(here.database, { readonly: true })
  reader.prepare('select count(*) from generations').get()
  await reader.backup(join(here.folder, 'backup.db'))
  reader.close()
  const writer = new Database(here.database)
  writer.exec('vacuum')
  writer.pragma('wal_checkpoint(TRUNCATE)')
  writer.close()

  await provider.finish(job)

  expect(await readiness(program)).toEqual([200, 'ok'])
  await untilShown(program, id, isArchived)
  expect(errors(program)).toEqual([])
})
