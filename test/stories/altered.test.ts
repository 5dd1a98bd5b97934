import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect } from 'vitest'
import { type Home, it, type Stage } from '../support/process/bench.ts'
import { isSettled, submitted, untilShown } from '../support/process/client.ts'
import { command } from '../support/process/command.ts'
import { until } from '../support/process/program.ts'

const recordsOf = (path: string) => {
  const ledger = new Database(path, { readonly: true })
  try {
    return ledger
      .prepare(
        `select id, record_sha256 as sha256 from generations
         where record_due_at is null and status = 'succeeded'`,
      )
      .all() as { id: string; sha256: string }[]
  } finally {
    ledger.close()
  }
}

/** Three generations whose records are written, and the service ended; where each record lies. */
async function recorded(stage: Stage) {
  const { here, program } = await stage.service()
  for (let n = 0; n < 3; n++) await untilShown(program, (await submitted(program)).id, isSettled)
  const rows = await until(() => {
    const written = recordsOf(here.database)
    return written.length === 3 && written
  })
  await program.kill()
  const fileOf = (id: string) => join(here.objects, recordKey(id))
  return { here, rows, fileOf }
}

type Recorded = Awaited<ReturnType<typeof recorded>>

const recordKey = (id: string) => {
  const at = new Date(parseInt(id.replace('-', '').slice(0, 12), 16)).toISOString()
  return `generations/${at.slice(0, 10).replaceAll('-', '/')}/${id}.json`
}

const rebuild = ({ folder, settings }: Home, name: string, ...more: string[]) =>
  command(['rebuild', '--into', join(folder, name), ...more], settings)

/** Turns a verdict, changes a text, and cuts: what was done to which record, by its key. */
async function altered({ rows, fileOf }: Pick<Recorded, 'rows' | 'fileOf'>) {
  const changes: ((text: string) => string)[] = [
    (was) => was.replace('"verdict": "clear"', '"verdict": "flagged"'),
    (was) => was.replace('a lighthouse', 'a bonfire'),
    (was) => was.slice(0, 300),
  ]
  for (const [n, { id }] of rows.entries())
    await writeFile(fileOf(id), (changes[n] ?? String)(await readFile(fileOf(id), 'utf8')))
  return rows.map(({ id }) => recordKey(id)) as [turned: string, changed: string, cut: string]
}

const named = ({ lines }: { lines: string[] }) =>
  Object.fromEntries(
    lines.map((line) => {
      const [finding = '', key = ''] = line.split('\t')
      return [key, finding]
    }),
  )

it('knows the hash of each record that it wrote, and names the altered ones', async ({ stage }) => {
  const { here, rows, fileOf } = await recorded(stage)
  for (const { id, sha256 } of rows)
    expect(
      createHash('sha256')
        .update(await readFile(fileOf(id)))
        .digest('hex'),
    ).toBe(sha256)
  const keys = await altered({ rows, fileOf })

  const found = await command(['verify', '--repair'], here.settings)
  expect(found.code).toBe(0)
  expect(named(found)).toEqual(Object.fromEntries(keys.map((key) => [key, 'altered, repaired'])))
  expect(await command(['verify'], here.settings)).toMatchObject({ code: 0, out: '' })
}, 90_000)

it('makes no ledger of altered records', async ({ stage }) => {
  const { here, ...rest } = await recorded(stage)
  const [turned, changed, cut] = await altered(rest)

  const refused = await rebuild(here, 'again.db')

  expect([refused.code, refused.err]).toEqual([2, expect.stringContaining('--unsigned')])
  expect(named(refused)).toEqual({ [turned]: 'altered', [changed]: 'altered', [cut]: 'broken' })
}, 90_000)

it('makes one of them where it is told to, names them all the same, and signs them again', async ({
  stage,
}) => {
  const { here, ...rest } = await recorded(stage)
  const [turned, changed, cut] = await altered(rest)

  const taken = await rebuild(here, 'again.db', '--unsigned')
  expect(taken.code).toBe(1)
  expect(named(taken)).toEqual({ [turned]: 'altered', [changed]: 'altered', [cut]: 'broken' })

  const again = join(here.folder, 'again.db')
  expect(recordsOf(again)).toEqual([])
  await stage.start({
    ...here.settings,
    DATABASE_PATH: again,
    LINK_SECRETS: await linkSecretOf(here),
  })
  expect(await until(() => recordsOf(again).length === 2)).toBe(true)
}, 90_000)

const linkSecretOf = async ({ folder }: Home) =>
  (JSON.parse(await readFile(join(folder, 'data', 'secrets.json'), 'utf8')) as Secrets).link_secret

interface Secrets {
  link_secret: string
}

it('takes records of before they were signed only where it is told to, and says how many', async ({
  stage,
}) => {
  const { here, rows, fileOf } = await recorded(stage)
  const [{ id } = { id: '' }] = rows
  const { hmac, ...record } = JSON.parse(await readFile(fileOf(id), 'utf8')) as object & {
    hmac: unknown
  }
  await writeFile(fileOf(id), JSON.stringify({ ...record, schema_version: 1 }, null, 2))

  const refused = await rebuild(here, 'without.db')
  const taken = await rebuild(here, 'again.db', '--unsigned')

  expect(hmac).toMatch(/^[0-9a-f]{64}$/u)
  expect([refused.code, named(refused)]).toEqual([1, { [recordKey(id)]: 'unsigned' }])
  expect(refused.err).toContain('2 generations')
  expect([taken.code, taken.out]).toEqual([0, ''])
  expect(taken.err).toContain('3 generations')
  expect(taken.err).toContain('1 record without a signature taken.')
}, 60_000)
