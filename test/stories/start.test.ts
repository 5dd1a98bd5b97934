import { spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import Database from 'better-sqlite3'
import { readMigrationFiles } from 'drizzle-orm/migrator'
import { expect } from 'vitest'
import { MIGRATIONS } from '../../src/ledger/driver/foreign.node.ts'
import { API_KEY, type Stage, type Home, it, TOKEN } from '../support/process/bench.ts'
import { builtCli } from '../support/process/built.ts'
import { ask, isArchived, submitted, untilShown } from '../support/process/client.ts'
import { type Program, type Settings, until, watched } from '../support/process/program.ts'
import { freePort } from '../support/ports.ts'

const said = ({ lines }: Program) => lines.join('\n')

async function refused(stage: Stage, settings: Settings) {
  const program = await stage.launch(settings)
  expect(await program.ended).toEqual({ code: 1, signal: null })
  return said(program)
}

it.concurrent(
  'refuses a second start on the same database with one clear line, and the first goes on',
  async ({ stage }) => {
    const { settings, database } = await stage.home()
    const first = await stage.start(settings)

    expect(await refused(stage, { ...settings, PORT: '0' })).toBe(
      `afterimage cannot start: ${database} is in use by another process. One process at a time may use a database.`,
    )
    expect((await ask(first, '/readyz')).status).toBe(200)
  },
)

it.concurrent(
  'refuses a second start that names the same database by a symbolic link',
  async ({ stage }) => {
    const { settings, database, folder } = await stage.home()
    await stage.start(settings)
    await symlink(database, join(folder, 'link.db'))

    expect(
      await refused(stage, { ...settings, PORT: '0', DATABASE_PATH: join(folder, 'link.db') }),
    ).toMatch(/^afterimage cannot start: \S+ is in use by another process/u)
  },
)

it.concurrent('starts at once on the database of a process that was killed', async ({ stage }) => {
  const { settings } = await stage.home()
  const first = await stage.start(settings)

  await first.kill()
  const second = await stage.start(settings)

  expect((await ask(second, '/readyz')).status).toBe(200)
})

it.concurrent('does not take a broken lock file for another process', async ({ stage }) => {
  const { settings, database } = await stage.home()
  await (await stage.start(settings)).kill()
  await writeFile(
    `${database}.lock`,
    'this is no SQLite file, and longer than one that is empty'.repeat(100),
  )

  expect(await refused(stage, settings)).not.toMatch(/in use/u)
})

it.concurrent('names every bad setting at once and quotes no secret', async ({ stage }) => {
  const { settings } = await stage.home()
  const secret = 'too short'
  const text = await refused(stage, {
    ...settings,
    MODELSLAB_API_KEY: '',
    PUBLIC_URL: 'images.example.com',
    PORT: '70000',
    API_TOKENS: `app:submit:${secret},other:everything:${TOKEN}`,
    RETRY_BASE_SECONDS: 'soon',
    LOG_LEVEL: 'loud',
  })

  expect(text).toMatch(/^afterimage cannot start on these settings:\n/u)
  for (const name of [
    'MODELSLAB_API_KEY',
    'PUBLIC_URL',
    'PORT',
    'API_TOKENS',
    'RETRY_BASE_SECONDS',
    'LOG_LEVEL',
  ])
    expect(text).toMatch(new RegExp(`^  ${name}: `, 'mu'))
  for (const hidden of [secret, TOKEN, API_KEY]) expect(text).not.toContain(hidden)
})

it.concurrent(
  'refuses to be reached from other machines while nobody chose a token',
  async ({ stage }) => {
    const { settings } = await stage.home({ API_TOKENS: '', HOST: '0.0.0.0' })

    expect(await refused(stage, settings)).toMatch(/^ {2}HOST: .*API_TOKENS/mu)
  },
)

it.concurrent('says that its port is taken, and leaves one file', async ({ stage }) => {
  const { settings, database } = await stage.home()
  const other = createServer().listen(Number(settings['PORT']), '127.0.0.1')
  await until(() => other.listening)

  const text = await refused(stage, settings)
  other.close()

  expect(text).toBe(
    `afterimage cannot start: listen EADDRINUSE: address already in use 127.0.0.1:${settings['PORT'] ?? ''}. Set PORT to a free one.`,
  )
  expect(await readdir(dirname(database))).toEqual(['afterimage.db', 'secrets.json'])
})

const UNRESOLVABLE = 'x86_64-conda-linux-gnu'

it.for<[string, string, (home: Home) => Settings, RegExp]>([
  [
    'a host that has no address',
    'HOST',
    () => ({ HOST: UNRESOLVABLE }),
    /(?:ENOTFOUND|EAI_AGAIN) x86_64-conda-linux-gnu\. Check HOST\.$/u,
  ],
  [
    'an address of another machine',
    'HOST',
    () => ({ HOST: '192.0.2.1' }),
    /EADDRNOTAVAIL.* 192\.0\.2\.1\S*\. Check HOST\.$/u,
  ],
  [
    'a folder where no ledger can be made',
    'DATABASE_PATH',
    () => ({ DATABASE_PATH: '/proc/nowhere/x.db' }),
    /ENOENT.* Check DATABASE_PATH\.$/u,
  ],
  [
    'a folder as ledger',
    'DATABASE_PATH',
    ({ folder }) => ({ DATABASE_PATH: folder }),
    /is a folder\. Check DATABASE_PATH\.$/u,
  ],
  [
    'a text as ledger',
    'DATABASE_PATH',
    ({ database }) => {
      mkdirSync(dirname(database), { recursive: true })
      writeFileSync(database, 'this is no SQLite file'.repeat(1000))
      return {}
    },
    /is no SQLite database, or an encrypted one\. Check DATABASE_PATH\.$/u,
  ],
  [
    'a ledger of a newer version',
    'DATABASE_PATH',
    ({ database }) => {
      mkdirSync(dirname(database), { recursive: true })
      const migrations = readMigrationFiles({ migrationsFolder: MIGRATIONS })
      const newer = new Database(database)
      newer.exec('create table __drizzle_migrations (hash, created_at)')
      const done = newer.prepare('insert into __drizzle_migrations values (?, ?)')
      for (const { hash, folderMillis } of migrations) done.run(hash, folderMillis)
      done.run('the next one', 4e12)
      newer.close()
      return {}
    },
    /was made by a newer version of Afterimage: start that one\. Check DATABASE_PATH\.$/u,
  ],
  [
    'secrets that are a folder',
    'the folder of DATABASE_PATH',
    ({ folder }) => {
      mkdirSync(join(folder, 'data', 'secrets.json'), { recursive: true })
      return {}
    },
    /EISDIR.* Check the folder of DATABASE_PATH\.$/u,
  ],
  [
    'a file where the objects are to be',
    'OBJECTS_DIR',
    () => ({ OBJECTS_DIR: '/etc/passwd' }),
    /ENOTDIR.* Check OBJECTS_DIR\.$/u,
  ],
  [
    'a folder where no objects can be made',
    'OBJECTS_DIR',
    () => ({ OBJECTS_DIR: '/proc/nowhere' }),
    /ENOENT.* Check OBJECTS_DIR\.$/u,
  ],
  [
    'a bucket of Amazon without a region',
    'S3_REGION',
    () => ({ S3_BUCKET: 'images' }),
    /^ {2}S3_REGION: expected a region, here or in AWS_REGION \(Region is missing\)$/mu,
  ],
  [
    'a region that is none',
    'S3_REGION',
    () => ({ S3_BUCKET: 'images', AWS_REGION: 'eu_west 1' }),
    /^ {2}S3_REGION: expected a region/mu,
  ],
])('says of %s that it is %s', async ([, , settings, expected], { stage }) => {
  const home = await stage.home()

  const text = await refused(stage, { ...home.settings, ...settings(home) })

  expect(text).toMatch(expected)
  expect(text).toMatch(/^afterimage cannot start(?: on these settings)?:/u)
  expect(text.split('\n').length).toBeLessThanOrEqual(2)
})

it.concurrent(
  'says that the files that may be open are too few, and starts with enough',
  async ({ stage }) => {
    const { settings } = await stage.home()
    const under = async (limit: number) => {
      const run = `ulimit -n ${limit} && exec "$@"`
      const child = spawn('sh', ['-c', run, 'sh', process.execPath, await builtCli(), 'serve'], {
        env: { PATH: process.env['PATH'], ...settings },
        stdio: ['ignore', 'ignore', 'pipe'],
      })
      stage.after(() => void child.kill('SIGKILL'))
      return watched(child)
    }

    const poor = await under(64)
    expect(await poor.ended).toEqual({ code: 1, signal: null })
    expect(said(poor)).toMatch(
      /^afterimage cannot start: no more than 64 files may be open \(EMFILE\), and 160 are needed.* \(ulimit -n\)\.$/u,
    )
    const rich = await under(160)
    await until(() => rich.url !== '')
    expect((await ask(rich, '/readyz')).status).toBe(200)
  },
)

it.concurrent(
  'makes a token at its first start, for its owner only, and keeps it',
  async ({ stage }) => {
    const { settings, folder } = await stage.home({ API_TOKENS: '' })
    const path = join(folder, 'data', 'secrets.json')

    const first = await stage.start(settings)
    const made = await readFile(path, 'utf8')
    const { api_token: token, callback_secret: secret } = JSON.parse(made) as Record<string, string>
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect(said(first)).toContain(path)
    for (const hidden of [token, secret]) expect(said(first)).not.toContain(hidden)
    await first.kill()

    const second = await stage.start(settings)
    expect(await readFile(path, 'utf8')).toBe(made)
    const list = await ask(second, '/v1/generations', {
      headers: { authorization: `Bearer ${token ?? ''}` },
    })
    expect(list.status).toBe(200)
  },
)

it.concurrent(
  'lets the winner of two first starts keep the secrets that it signs with',
  async ({ stage }) => {
    const { settings, folder } = await stage.home({ API_TOKENS: '' })
    const ports = [String(await freePort()), String(await freePort())]

    const both = await Promise.all(ports.map((PORT) => stage.launch({ ...settings, PORT })))
    await until(
      () => both.filter(({ child, url }) => url !== '' || child.exitCode !== null).length === 2,
    )

    const winner = both.find(({ url }) => url !== '')
    const made = JSON.parse(await readFile(join(folder, 'data', 'secrets.json'), 'utf8')) as {
      api_token: string
    }
    const list = await ask(winner ?? { url: '' }, '/v1/generations', {
      headers: { authorization: `Bearer ${made.api_token}` },
    })
    expect([list.status, both.filter(({ url }) => url === '').length]).toEqual([200, 1])
  },
)

it.concurrent(
  'sends to the provider whatever fraction of a second it may take',
  async ({ stage }) => {
    const provider = await stage.standIn()
    const { settings } = await stage.home({
      ...provider.settings(),
      SUBMIT_TIMEOUT_SECONDS: '2.0125',
    })
    const program = await stage.start(settings)

    const { id } = await submitted(program)
    await untilShown(program, id, isArchived)

    expect(provider.submissions).toHaveLength(1)
  },
)

it.concurrent('goes on when nobody reads its log any more', async ({ stage }) => {
  const provider = await stage.standIn()
  const { settings } = await stage.home({ ...provider.settings(), LOG_LEVEL: 'debug' })
  const program = await stage.start(settings)

  program.child.stderr?.destroy()
  const { id } = await submitted(program)
  await untilShown(program, id, isArchived)

  expect(program.child.exitCode).toBeNull()
})
