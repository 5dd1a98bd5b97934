import { readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { expect } from 'vitest'
import { API_KEY, type Bench, it, TOKEN } from '../support/process/bench.ts'
import { ask, isArchived, submitted, untilShown } from '../support/process/client.ts'
import { freePort, type Program, type Settings, until } from '../support/process/program.ts'

const said = ({ lines }: Program) => lines.join('\n')

async function refused(bench: Bench, settings: Settings) {
  const program = await bench.launch(settings)
  expect(await program.ended).toEqual({ code: 1, signal: null })
  return said(program)
}

it.concurrent(
  'refuses a second start on the same database with one clear line, and the first goes on',
  async ({ bench }) => {
    const { settings, database } = await bench.home()
    const first = await bench.start(settings)

    expect(await refused(bench, { ...settings, PORT: '0' })).toBe(
      `afterimage cannot start: ${database} is in use by another process. One process at a time may use a database.`,
    )
    expect((await ask(first, '/readyz')).status).toBe(200)
  },
)

it.concurrent(
  'refuses a second start that names the same database by a symbolic link',
  async ({ bench }) => {
    const { settings, database, folder } = await bench.home()
    await bench.start(settings)
    await symlink(database, join(folder, 'link.db'))

    expect(
      await refused(bench, { ...settings, PORT: '0', DATABASE_PATH: join(folder, 'link.db') }),
    ).toMatch(/^afterimage cannot start: \S+ is in use by another process/u)
  },
)

it.concurrent('starts at once on the database of a process that was killed', async ({ bench }) => {
  const { settings } = await bench.home()
  const first = await bench.start(settings)

  await first.kill()
  const second = await bench.start(settings)

  expect((await ask(second, '/readyz')).status).toBe(200)
})

it.concurrent('does not take a broken lock file for another process', async ({ bench }) => {
  const { settings, database } = await bench.home()
  await (await bench.start(settings)).kill()
  await writeFile(
    `${database}.lock`,
    'this is no SQLite file, and longer than one that is empty'.repeat(100),
  )

  expect(await refused(bench, settings)).not.toMatch(/in use/u)
})

it.concurrent('names every bad setting at once and quotes no secret', async ({ bench }) => {
  const { settings } = await bench.home()
  const secret = 'too short'
  const text = await refused(bench, {
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
  async ({ bench }) => {
    const { settings } = await bench.home({ API_TOKENS: '', HOST: '0.0.0.0' })

    expect(await refused(bench, settings)).toMatch(/^ {2}HOST: .*API_TOKENS/mu)
  },
)

it.concurrent('says that its port is taken', async ({ bench }) => {
  const { settings } = await bench.home()
  const other = createServer().listen(Number(settings['PORT']), '127.0.0.1')
  await until(() => other.listening)

  const text = await refused(bench, settings)
  other.close()

  expect(text).toBe(
    `afterimage cannot start: listen EADDRINUSE: address already in use 127.0.0.1:${settings['PORT'] ?? ''}. Set PORT to a free one.`,
  )
})

it.concurrent(
  'makes a token at its first start, for its owner only, and keeps it',
  async ({ bench }) => {
    const { settings, folder } = await bench.home({ API_TOKENS: '' })
    const path = join(folder, 'data', 'secrets.json')

    const first = await bench.start(settings)
    const made = await readFile(path, 'utf8')
    const { api_token: token, callback_secret: secret } = JSON.parse(made) as Record<string, string>
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect(said(first)).toContain(path)
    for (const hidden of [token, secret]) expect(said(first)).not.toContain(hidden)
    await first.kill()

    const second = await bench.start(settings)
    expect(await readFile(path, 'utf8')).toBe(made)
    const list = await ask(second, '/v1/generations', {
      headers: { authorization: `Bearer ${token ?? ''}` },
    })
    expect(list.status).toBe(200)
  },
)

it.concurrent(
  'lets the winner of two first starts keep the secrets that it signs with',
  async ({ bench }) => {
    const { settings, folder } = await bench.home({ API_TOKENS: '' })
    const ports = [String(await freePort()), String(await freePort())]

    const both = await Promise.all(ports.map((PORT) => bench.launch({ ...settings, PORT })))
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
  async ({ bench }) => {
    const provider = await bench.standIn()
    const { settings } = await bench.home({
      ...provider.settings(),
      SUBMIT_TIMEOUT_SECONDS: '2.0125',
    })
    const program = await bench.start(settings)

    const { id } = await submitted(program)
    await untilShown(program, id, isArchived)

    expect(provider.submissions).toHaveLength(1)
  },
)

it.concurrent('goes on when nobody reads its log any more', async ({ bench }) => {
  const provider = await bench.standIn()
  const { settings } = await bench.home({ ...provider.settings(), LOG_LEVEL: 'debug' })
  const program = await bench.start(settings)

  program.child.stderr?.destroy()
  const { id } = await submitted(program)
  await untilShown(program, id, isArchived)

  expect(program.child.exitCode).toBeNull()
})
