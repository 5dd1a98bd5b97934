import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { describe, expect, it } from 'vitest'
import { STORIES } from '../../src/demo/stories.ts'
import { Bucket, s3Settings } from '../support/process/bucket.ts'
import { builtCli } from '../support/process/built.ts'
import { command } from '../support/process/command.ts'
import { until } from '../support/process/program.ts'
import { radosgwInstalled, startRadosgw } from '../support/radosgw.ts'

/** Ends only what hangs. */
const LIMIT_MS = 240_000
const SCRIPT = '/usr/bin/script'
const ESCAPE = '\x1b'
const COLOUR = new RegExp(`${ESCAPE}\\[[\\d;]*m`, 'u')
const HIDE_CURSOR = `${ESCAPE}[?25l`
const SHOW_CURSOR = `${ESCAPE}[?25h`
const DRAW_AGAIN = `${ESCAPE}[${STORIES.length}A`
const CTRL_C = '\x03'

const isS3Here = radosgwInstalled('the demo on S3')

/** Starts the demo in a folder of its own, in which it leaves what it makes. */
const demo = async (argv: string[], env: Record<string, string> = {}) =>
  start([process.execPath, await builtCli(), 'demo', ...argv], env)

/** The same in a terminal (script(1) of util-linux), all of whose screen is `said.out`. */
async function demoOnTerminal(env: Record<string, string> = {}) {
  const command = `stty rows 40 cols 80; exec ${process.execPath} ${await builtCli()} demo --exit`
  return start([SCRIPT, '-qec', command, '/dev/null'], { TERM: 'xterm', ...env })
}

let turn: Promise<unknown> = Promise.resolve()

/**
 * Each demo looks for a free port before it takes it: the next one starts once this one listens.
 */
function start(command: string[], env: Record<string, string>) {
  const mine = turn.then(() => begin(command, env))
  turn = mine.catch(() => undefined)
  return mine
}

async function begin([program = '', ...argv]: string[], env: Record<string, string>) {
  const folder = await mkdtemp(join(tmpdir(), 'afterimage-demo-'))
  const child = spawn(program, argv, {
    cwd: folder,
    env: { PATH: process.env['PATH'], ...env },
    stdio: 'pipe',
    timeout: LIMIT_MS,
    killSignal: 'SIGKILL',
  })
  const said = { out: '', err: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said.out += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said.err += text))
  const closed = new Promise<number | null>((resolve) => child.once('close', resolve))
  const ended = closed.then(async (code) => {
    const made = await readdir(folder, { recursive: true })
    await rm(folder, { recursive: true })
    return { ...said, code, made }
  })
  await Promise.race([ended, until(() => /Afterimage at/u.test(said.out + said.err), LIMIT_MS)])
  return {
    said,
    ended,
    folder,
    press: (key: string) => child.stdin.write(key),
    interrupt: () => child.kill('SIGINT'),
  }
}

const toldEveryStory = (text: string) =>
  STORIES.filter(({ name }) => !text.includes(`\n  ${name} `)).length === 0

const objectsIn = (made: string[]) => made.filter((path) => /objects\/sha256\/.*\.\w+$/u.test(path))

describe('afterimage demo', { concurrent: true, timeout: LIMIT_MS }, () => {
  it('tells every story in plain lines where nobody looks at a terminal, and ends with 0', async ({
    expect,
  }) => {
    const { out, err, code, made } = await (await demo(['--exit'])).ended

    expect([code, out + err]).toEqual([0, expect.not.stringContaining(ESCAPE)])
    expect(toldEveryStory(out)).toBe(true)
    expect(err).toMatch(/^ +\d+\.\d s {2}all is well: succeeded, archived ■■$/mu)
    expect(err).toContain('Every generation ended as it should.')
    expect(objectsIn(made).length).toBeGreaterThan(10)
    expect(out.split('\n').filter(({ length }) => length > 80)).toEqual([])
  })

  it('is refused where another one runs, whose data it leaves alone', async ({ expect }) => {
    const first = await demo([])

    const second = await command(['demo', '--exit'], {}, first.folder)

    expect([second.code, second.out]).toEqual([2, ''])
    expect(second.err).toBe(
      'afterimage demo cannot begin: data/demo/afterimage.db is in use by another process. ' +
        'If it is another demo, end that first.\n',
    )
    await until(() => first.said.err.includes('Serving until Ctrl-C'), LIMIT_MS)
    first.interrupt()
    const { code, made } = await first.ended
    expect(code).toBe(0)
    expect(objectsIn(made).length).toBeGreaterThan(10)
  })

  it('takes another port where its own is taken just before it listens', async ({
    expect,
    onTestFinished,
  }) => {
    const other = createServer().listen(0, '127.0.0.1')
    onTestFinished(() => void other.close())
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    const cli = await builtCli({
      file: 'demo/place.ts',
      from: 'const probe = createServer()',
      to: `if (wanted === 8787) return ${port}; const probe = createServer()`,
    })

    const { said, ended, interrupt } = await start([process.execPath, cli, 'demo'], {})
    await until(() => /Afterimage at/u.test(said.err), LIMIT_MS)
    interrupt()

    expect(said.err).not.toContain(`:${port}`)
    expect((await ended).err).not.toContain('EADDRINUSE')
  })

  it('begins anew where another one has ended', async ({ expect, onTestFinished }) => {
    const folder = await mkdtemp(join(tmpdir(), 'afterimage-demo-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const left = join(folder, 'data/demo/objects/left')
    await mkdir(left, { recursive: true })
    await writeFile(join(folder, 'data/demo/afterimage.db'), 'no ledger')

    const { code } = await command(['demo', '--exit'], {}, folder)

    expect([code, existsSync(left)]).toEqual([0, false])
  })

  it.skipIf(!isS3Here)(
    '--s3 keeps every image in the bucket and none on the disk, and ends with 0',
    async ({ expect, onTestFinished }) => {
      const radosgw = await startRadosgw()
      const bucket = new Bucket(radosgw)
      onTestFinished(async () => {
        bucket.close()
        await radosgw.stop()
      })

      const { out, err, code, made } = await (
        await demo(['--s3', '--exit'], s3Settings(radosgw))
      ).ended

      expect([code, err]).toEqual([
        0,
        expect.stringContaining('Every generation ended as it should.'),
      ])
      expect(out).toContain(`the bucket ${radosgw.bucket}`)
      expect(objectsIn(made)).toEqual([])
      const pictures = await bucket.pictures()
      expect(pictures.size).toBeGreaterThan(10)
      for (const [key, hash] of pictures) expect(key).toContain(hash)
    },
  )

  it.skipIf(!existsSync(SCRIPT))(
    'draws in place on a terminal, without colours under NO_COLOR',
    async ({ expect }) => {
      const { out, code } = await (await demoOnTerminal({ NO_COLOR: '1' })).ended

      expect(code).toBe(0)
      expect(out).toContain(DRAW_AGAIN)
      expect(out).not.toMatch(COLOUR)
      const text = stripVTControlCharacters(out)
      expect(text).toMatch(/^ {2}all is well +succeeded, archived ■■\r$/mu)
      expect(toldEveryStory(text)).toBe(true)
    },
  )

  it.skipIf(!existsSync(SCRIPT))(
    'draws in colours else, and gives the cursor back on Ctrl-C',
    async ({ expect }) => {
      const { said, ended, press } = await demoOnTerminal()
      await until(() => said.out.includes(DRAW_AGAIN) && COLOUR.test(said.out), LIMIT_MS)

      press(CTRL_C)
      const { out, code } = await ended

      expect(code).toBe(1)
      expect(out.lastIndexOf(SHOW_CURSOR)).toBeGreaterThan(out.lastIndexOf(HIDE_CURSOR))
      expect(out).toContain('not ended')
    },
  )

  it.each([
    ['no S3_BUCKET', {}],
    ['an empty S3_BUCKET', { S3_BUCKET: ' ' }],
  ])('--s3 says with %s what is missing, makes nothing and ends with 2', async (_what, env) => {
    const { out, err, code, made } = await (await demo(['--s3', '--exit'], env)).ended

    expect([code, out, made]).toEqual([2, '', []])
    expect(err).toBe(
      'afterimage demo --s3 expects S3_BUCKET, and credentials where the AWS SDK looks for them.\n',
    )
  })

  it('--s3 names a setting that cannot be used, and ends with 2', async () => {
    const env = { S3_BUCKET: 'afterimage', S3_ENDPOINT: '127.0.0.1:9000' }
    const { err, code } = await (await demo(['--s3', '--exit'], env)).ended

    expect(code).toBe(2)
    expect(err).toBe(
      'afterimage demo cannot start on these settings:\nS3_ENDPOINT: expected an http or https URL\n',
    )
  })

  it('says which words it takes, and ends with 2', async () => {
    const { err, code } = await (await demo(['--bucket'])).ended

    expect(code).toBe(2)
    expect(err).toMatch(/^Unknown option '--bucket'[^]*\n {2}--exit .*\n {2}--s3 /u)
  })
})
