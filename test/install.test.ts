import { execFile, spawn } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished } from 'vitest'
import { inpaint, type Shown } from './support/process/client.ts'
import { freePort } from './support/ports.ts'
import { until } from './support/process/program.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const SLOW_MS = 120_000
const QUICK = ['--prefer-offline', '--no-audit', '--no-fund']

/** The environment of a terminal, in which no npm runs us; our own Node comes first. */
const env: NodeJS.ProcessEnv = {
  ...Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^npm_(?!config_)|^npm_config_local_prefix$|^INIT_CWD$|^NODE_ENV$/u.test(name),
    ),
  ),
  PATH: `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}`,
}

function run(program: string, argv: string[], cwd: string, more: NodeJS.ProcessEnv = {}) {
  return new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) => {
    const child = execFile(program, argv, { cwd, env: { ...env, ...more } }, (_error, out, err) =>
      resolve({ code: child.exitCode, stdout: out, stderr: err }),
    )
  })
}

async function temporary() {
  const folder = await mkdtemp(join(tmpdir(), 'afterimage-install-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** What runs until it is ended after the test, with all that it started. */
function begin(program: string, argv: string[], cwd: string) {
  const child = spawn(program, argv, {
    cwd,
    env,
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const closed = new Promise((resolve) => child.once('close', resolve))
  onTestFinished(async () => {
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGKILL')
    await closed
  })
  const said = { err: '' }
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said.err += text))
  return said
}

/** A checkout whose `dist` nobody else uses, with what an older build has left there. */
async function checkout() {
  const folder = await temporary()
  const names = ['src', 'migrations', 'package.json', 'README.md', 'LICENSE', 'vitest.config.ts']
  for (const name of [...names, 'tsconfig.json', 'tsconfig.build.json'])
    await cp(join(ROOT, name), join(folder, name), { recursive: true })
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  for (const name of ['test/old.test.ts', 'dist/old.js']) {
    await mkdir(dirname(join(folder, name)))
    await writeFile(join(folder, name), '')
  }
  return folder
}

async function pack(from: string) {
  const { code, stdout } = await run('npm', ['pack', '--silent'], from)
  expect(code).toBe(0)
  return join(from, stdout.trim())
}

async function filesIn(tarball: string) {
  const { stdout } = await run('tar', ['-tzf', tarball], dirname(tarball))
  return stdout.trim().split('\n')
}

it(
  'goes from a packed tarball to the first image, wherever that is installed',
  async () => {
    const tarball = await pack(await checkout())
    const files = await filesIn(tarball)
    expect(files).toEqual(
      expect.arrayContaining(
        ['dist/cli.js', 'migrations/0000_ledger.sql', 'README.md', 'LICENSE', 'package.json'].map(
          (name) => `package/${name}`,
        ),
      ),
    )
    expect(
      files.filter((name) => !/^package\/(?:dist\/(?!old).+\.js|migrations\/|[^/]+$)/u.test(name)),
    ).toEqual([])
    expect(files.filter((name) => name.endsWith('.ts'))).toEqual([])

    const there = await temporary()
    const installed = await run('npm', ['install', ...QUICK, tarball], there)
    expect(installed).toMatchObject({ code: 0 })
    expect(installed.stderr).not.toContain('install-scripts')

    const simulator = begin('npx', ['--no', 'afterimage', 'simulator', '--port', '0'], there)
    await until(() => simulator.err.includes('To ask it without'), SLOW_MS)
    const [start = ''] =
      /^ {2}export [^]*^ {2}npx --no afterimage serve$/mu.exec(simulator.err) ?? []
    const port = await freePort()
    const script = `export PORT=${port}\n${start.replace('8787', String(port))}`
    const service = begin('sh', ['-c', script], there)
    await until(() => service.err.includes('"message":"started"'), SLOW_MS)

    const image = await firstImage(`http://127.0.0.1:${port}`, there)
    expect(image.subarray(0, 8).toString('latin1')).toBe('\x89PNG\r\n\x1a\n')
    expect(await run('npx', ['--no', 'afterimage', 'completeness'], there)).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^ {2}generations +1 +succeeded 1$/mu) as string,
    })
  },
  5 * SLOW_MS,
)

async function firstImage(url: string, folder: string) {
  const secrets = await readFile(join(folder, 'data/secrets.json'), 'utf8')
  const { api_token: token } = JSON.parse(secrets) as { api_token: string }
  const headers = { authorization: `Bearer ${token}` }
  const body = JSON.stringify(inpaint())
  const submitted = await fetch(`${url}/v1/generations`, { method: 'POST', headers, body })
  const { id } = (await submitted.json()) as Shown
  return until(async () => {
    const response = await fetch(`${url}/v1/generations/${id}/images/0`, { headers })
    return response.ok && Buffer.from(await response.arrayBuffer())
  }, SLOW_MS)
}

it(
  'installs without the development dependencies, and says in one sentence how it is built',
  async () => {
    const folder = await temporary()
    for (const name of ['package.json', 'package-lock.json'])
      await cp(join(ROOT, name), join(folder, name))
    const install = () => run('npm', ['ci', ...QUICK], folder, { NODE_ENV: 'production' })
    const sentence =
      'Not built: that takes the development dependencies (npm ci --include=dev), ' +
      'or install a packed tarball (README.md, Deploy).\n'

    expect(await install()).toEqual({
      code: 0,
      stdout: expect.not.stringContaining('tsc') as string,
      stderr: sentence,
    })

    await mkdir(join(folder, 'dist'))
    await writeFile(join(folder, 'dist/cli.js'), '')
    expect(await install()).toMatchObject({ code: 0, stderr: '' })
  },
  2 * SLOW_MS,
)

it('packs nothing that it cannot build', async () => {
  const folder = await temporary()
  await cp(join(ROOT, 'package.json'), join(folder, 'package.json'))
  await mkdir(join(folder, 'dist'))
  await writeFile(join(folder, 'dist/cli.js'), '')

  const { code, stderr } = await run('npm', ['pack', '--silent'], folder)

  expect([code, stderr]).toEqual([
    1,
    expect.stringContaining('Packing takes the development dependencies: npm ci --include=dev\n'),
  ])
  expect(await readFile(join(folder, 'dist/cli.js'), 'utf8')).toBe('')
})
