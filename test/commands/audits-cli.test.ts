import { readFileSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DeleteObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import Database from 'better-sqlite3'
import { afterAll, beforeAll, describe, expect } from 'vitest'
import { STORIES } from '../../src/demo/stories.ts'
import { type Radosgw, radosgwInstalled, startRadosgw } from '../support/radosgw.ts'
import { type Home, it } from '../support/process/bench.ts'
import { Bucket, picturesInLedger, s3Settings } from '../support/process/bucket.ts'
import {
  ask,
  isSettled,
  shown,
  submitted,
  timeline,
  untilShown,
} from '../support/process/client.ts'
import { command } from '../support/process/command.ts'
import { type Program, type Settings, until } from '../support/process/program.ts'
import { sha256 } from '../support/process/stand-in.ts'

/** The settings of a service, without those that only the service needs. */
const kept = ({ settings }: Home): Settings => {
  const { MODELSLAB_API_KEY, PUBLIC_URL, ...rest } = settings
  return rest
}

const recordsOwed = (path: string) => {
  const ledger = new Database(path, { readonly: true })
  try {
    return ledger
      .prepare('select count(*) from generations where record_due_at is not null')
      .pluck()
      .get()
  } finally {
    ledger.close()
  }
}

/** The keys of what the ledger shows, once all of it is archived and recorded. */
async function keysOf(program: Program, here: Home, count: number) {
  for (let n = 0; n < count; n++) {
    const { id } = await submitted(program)
    await untilShown(program, id, isSettled)
  }
  await until(() => recordsOwed(here.database) === 0)
  return [...picturesInLedger(here.database).keys()].toSorted()
}

it('verifies and repairs beside the running service', async ({ stage }) => {
  const { here, program } = await stage.service()
  const [gone = '', changed = '', ...fine] = await keysOf(program, here, 3)
  expect(await command(['verify'], kept(here))).toMatchObject({ code: 0, out: '' })
  await rm(join(here.objects, gone))
  await writeFile(join(here.objects, changed), 'something else')
  await writeFile(join(here.objects, 'sha256', 'stray.png'), 'nobody knows it')

  const found = await command(['verify'], kept(here))
  expect(found.code).toBe(1)
  expect(found.lines.map((line) => line.split('\t').slice(0, 2))).toEqual([
    ['missing', gone],
    ['altered', changed],
    ['orphaned', 'sha256/stray.png'],
  ])
  expect(found.err).toContain('1 missing, 1 altered, 0 unreadable, 1 orphaned')

  await rm(join(here.objects, 'sha256', 'stray.png'))
  const repaired = await command(['verify', '--repair', '--json'], kept(here))
  expect(repaired.code).toBe(0)
  expect(repaired.lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
    { key: gone, repaired: true },
    { key: changed, repaired: true },
  ])
  expect(sha256(readFileSync(join(here.objects, changed)))).toBe(changed.slice(-68, -4))
  expect(fine.length).toBeGreaterThan(0)
  expect(await command(['verify'], kept(here))).toMatchObject({ code: 0, out: '' })
})

it('tells what ended how, and names what is open past its deadline', async ({ stage }) => {
  const { here, program } = await stage.service()
  await keysOf(program, here, 2)
  const ok = await command(['completeness', '--since', '1h', '--json'], kept(here))
  expect([ok.code, ok.err]).toEqual([0, `ledger  ${here.database}\n`])
  expect(JSON.parse(ok.out)).toMatchObject({
    report: { generations: 2, ended_by: { callback: 2 }, holes: 0 },
  })
  const none = await command(['completeness', '--until', '2020-01-01T00:00:00Z'], kept(here))
  expect(none).toMatchObject({
    code: 0,
    out: expect.stringMatching(/^ {2}generations +0$/mu) as unknown,
  })

  await program.kill()
  const [id] = withOpenGeneration(here.database)
  const { code, lines } = await command(['completeness'], kept(here))
  expect([code, lines[0]]).toEqual([1, `overdue\t${id}\tprocessing for 1 d past its deadline`])
})

/** One that a service left behind two days ago. */
function withOpenGeneration(path: string): [string] {
  const at = Date.now() - 2 * 24 * 3600 * 1000
  const id = `${at
    .toString(16)
    .padStart(12, '0')
    .replace(/^(.{8})/u, '$1-')}-7000-8000-000000000000`
  const ledger = new Database(path)
  ledger
    .prepare("insert into generations (id, status, requested_at) values (?, 'processing', ?)")
    .run(id, at)
  ledger.close()
  return [id]
}

it.each([
  [['verify', '--mend'], {}, "Unknown option '--mend'"],
  [['completeness', '--since', 'yesterday'], {}, 'expected a time such as'],
  [['rebuild', 'somewhere'], {}, "Unexpected argument 'somewhere'"],
  [
    ['verify'],
    { S3_ENDPOINT: 'nowhere', S3_BUCKET: 'b' },
    'S3_ENDPOINT: expected an http or https URL',
  ],
  [
    ['completeness'],
    { DATABASE_PATH: '/nowhere/afterimage.db' },
    'there is no ledger at /nowhere/afterimage.db',
  ],
  [['rebuild'], { OBJECTS_DIR: '/nowhere' }, 'there is no folder /nowhere'],
])('%j ends with 2 and says why', async (argv, settings, why) => {
  const { code, out, err } = await command(argv, settings)

  expect([code, out, err]).toEqual([2, '', expect.stringContaining(why)])
  expect(err).not.toMatch(/^ +at /mu)
})

/** Every generation and its images, as a service shows them. */
async function everything(program: Program) {
  const { data } = (await (await ask(program, '/v1/generations?limit=100')).json()) as {
    data: { id: string; images: { url: string; status: string }[] }[]
  }
  const images = data.flatMap(({ images }) => images.filter(({ status }) => status === 'archived'))
  const bytes = await Promise.all(
    images.map(async ({ url }) => {
      const { pathname, search } = new URL(url)
      return sha256(new Uint8Array(await (await ask(program, pathname + search)).arrayBuffer()))
    }),
  )
  const single = await Promise.all(data.map(({ id }) => shown(program, id)))
  const timelines = await Promise.all(data.map(({ id }) => timeline(program, id)))
  return {
    data,
    single,
    bytes,
    timelines: timelines.map((all) => all.filter(({ event }) => event !== 'record_written')),
  }
}

it('makes the ledger of the demo again, and it tells the same', async ({ stage }) => {
  const here = await stage.home()
  expect(await command(['demo', '--exit'], {}, here.folder)).toMatchObject({ code: 0 })
  const settings = {
    ...here.settings,
    DATABASE_PATH: join(here.folder, 'data/demo/afterimage.db'),
    OBJECTS_DIR: join(here.folder, 'data/demo/objects'),
    MODELSLAB_BASE_URL: 'http://127.0.0.1:9',
  }
  const original = await stage.start(settings)
  await until(() => recordsOwed(settings.DATABASE_PATH) === 0)
  const before = await everything(original)
  await original.kill()

  const into = join(here.folder, 'again.db')
  const { code, out, err } = await command(['rebuild', '--into', into], settings)
  expect([code, out]).toEqual([0, ''])
  expect(err).toContain(
    `again.db is the ledger again: ${STORIES.length} generations with 30 images, 0 problems.`,
  )
  const again = await stage.start({ ...settings, DATABASE_PATH: into })

  expect(before.data).toHaveLength(STORIES.length)
  expect(before.bytes.length).toBeGreaterThan(20)
  expect(await everything(again)).toEqual(before)
  expect(await command(['verify'], { ...settings, DATABASE_PATH: into })).toMatchObject({
    code: 0,
    out: '',
  })
  expect(await command(['completeness'], { ...settings, DATABASE_PATH: into })).toMatchObject({
    code: 0,
  })
})

it('adopts what was under way when the ledger was lost, and archives it', async ({ stage }) => {
  const { here, provider, program } = await stage.service()
  await keysOf(program, here, 1)
  provider.script = (job, answer) => answer.json(provider.processing(job))
  const { id } = await submitted(program)
  await program.kill()
  for (const suffix of ['', '-wal', '-shm']) await rm(here.database + suffix, { force: true })

  expect(await command(['rebuild'], kept(here))).toMatchObject({ code: 0, out: '' })
  const again = await stage.start(here.settings)
  expect((await ask(again, `/v1/generations/${id}`)).status).toBe(404)
  const job = await until(() => provider.submissions.find(({ trackId }) => trackId === id))
  const { status } = await provider.call(job, provider.success(job))

  expect(status).toBe(200)
  const generation = await untilShown(again, id, isSettled)
  expect(generation).toMatchObject({ status: 'succeeded', archive_status: 'archived' })
  expect(await timeline(again, id, 'callback')).toMatchObject([
    { detail: { decision: 'recovered' } },
  ])
  expect(provider.submissions).toHaveLength(2)
})

describe.skipIf(!radosgwInstalled('the commands on S3'))('on a real S3 server', () => {
  let radosgw: Radosgw
  let bucket: Bucket
  beforeAll(async () => {
    radosgw = await startRadosgw()
    bucket = new Bucket(radosgw)
  })
  afterAll(async () => {
    bucket.close()
    await radosgw.stop()
  })

  it('finds what was deleted and altered behind our back, repairs it, and makes the ledger again', async ({
    stage,
  }) => {
    const { here, program } = await stage.service(undefined, s3Settings(radosgw))
    const [gone = '', changed = ''] = await keysOf(program, here, 3)
    await behindOurBack(radosgw, gone, changed)

    const found = await command(['verify', '--json'], kept(here))
    expect([found.code, found.lines.map((line) => JSON.parse(line) as unknown)]).toMatchObject([
      1,
      [
        { finding: 'missing', key: gone },
        { finding: 'altered', key: changed },
      ],
    ])
    expect(await command(['verify', '--repair'], kept(here))).toMatchObject({ code: 0 })
    expect(await bucket.pictures()).toEqual(picturesInLedger(here.database))

    const into = join(here.folder, 'again.db')
    expect(await command(['rebuild', '--into', into], kept(here))).toMatchObject({
      code: 0,
      out: '',
    })
    expect(picturesInLedger(into)).toEqual(picturesInLedger(here.database))
  })

  it('ends with 2 when the store is away', async ({ stage }) => {
    const { here, program } = await stage.service(undefined, s3Settings(radosgw))
    await keysOf(program, here, 1)
    await radosgw.stopGateway()

    const { code, out, err } = await command(['verify'], kept(here))
    await radosgw.startGateway()

    expect([code, out, err]).toEqual([
      2,
      '',
      expect.stringContaining('afterimage verify had to stop: '),
    ])
  })
})

async function behindOurBack(
  { endpoint, bucket, credentials }: Radosgw,
  gone: string,
  changed: string,
) {
  const client = new S3Client({ endpoint, credentials, region: 'us-east-1', forcePathStyle: true })
  await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: gone }))
  await client.send(new PutObjectCommand({ Bucket: bucket, Key: changed, Body: 'something else' }))
  client.destroy()
}
