import { randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { ConfigError } from '../config.ts'
import { holdLock, LedgerInUse } from '../ledger/driver/sqlite.node.ts'
import { type Service, startService } from '../node.ts'
import { type Simulator, startSimulator } from '../simulator/simulator.ts'
import { client, type Client, type Generation } from './client.ts'
import { type Progress, showProgress } from '../commands/terminal/progress.ts'
import { report, type Told, whereToLook } from './report.ts'
import { STORIES, type Story } from './stories.ts'

/** Made anew by every demo. */
const DIRECTORY = 'data/demo'
const DATABASE = `${DIRECTORY}/afterimage.db`
/** They take some seconds, and longer beside other work. */
const TIME_LIMIT_MS = 120_000
const POLL_MS = 150
/** Fewer than there are stories, so that some are refused for now and held. */
const MAX_QUEUED = 8

const USAGE = `afterimage demo runs the service and a simulated ModelsLab on this machine, and
${STORIES.length} generations that misbehave. It needs no account and no settings.

  --exit   ends with the last generation, instead of serving until Ctrl-C
  --s3     keeps images in the bucket of S3_BUCKET and the AWS environment

Ledger and images are in ${DIRECTORY}, which every demo makes anew.
Ends with 0 if every generation ended as it should, 1 if one did not, 2 if it
could not begin.
`

const say = (line: string) => process.stderr.write(`${line}\n`)

/**
 * `afterimage demo`: resolves with the exit code, 0 only if every generation ended as it should.
 * `call` is how a command of ours is called.
 */
export async function runDemo(
  argv: string[],
  call: string,
  interrupted: () => Promise<void>,
): Promise<number> {
  const options = readArguments(argv)
  if (typeof options === 'number') return options
  const simulator = await startSimulator({ maxQueued: MAX_QUEUED, knobs: { retry_after: 1 } })
  const token = randomBytes(24).toString('base64url')
  // Between the lines of the progress nobody could read them, and some stories are about trouble.
  const trouble = new Map<string, string>()
  const keepFirst = (line: string) => {
    const { message } = JSON.parse(line) as { message: string }
    if (!trouble.has(message)) trouble.set(message, line)
  }
  const service = await startOrSayWhy(
    { ...(await settings(simulator, token)), ...options.s3 },
    keepFirst,
  )
  if (!service) {
    await simulator.close()
    return 2
  }
  say(`A simulated ModelsLab runs at ${simulator.apiUrl}, Afterimage at ${service.url}.\n`)
  const ctrlC = new AbortController()
  const ended = interrupted().then(() => ctrlC.abort())
  try {
    const ok = await tell(client(service.url, token), service, ctrlC.signal)
    if (!ok) for (const line of trouble.values()) say(line)
    process.stdout.write(`\n${whereToLook(service, call, options.exit ? null : token)}\n`)
    if (options.exit) return ok ? 0 : 1
    say('\nServing until Ctrl-C.')
    await ended
    return ok ? 0 : 1
  } finally {
    await service.stop()
    await simulator.close()
  }
}

async function startOrSayWhy(
  env: Record<string, string | undefined>,
  write: (line: string) => void,
) {
  try {
    makeAnew()
    return await startService(env, write)
  } catch (error) {
    if (error instanceof ConfigError)
      say(`afterimage demo cannot start on these settings:\n${error.message}`)
    else if (error instanceof LedgerInUse)
      say(`afterimage demo cannot begin: ${error.message}. If it is another demo, end that first.`)
    else throw error
    return null
  }
}

/** Empties the folder under its lock: what a running process has there is its own. */
function makeAnew() {
  mkdirSync(DIRECTORY, { recursive: true })
  const lock = holdLock(DATABASE)
  try {
    for (const name of readdirSync(DIRECTORY))
      if (!name.startsWith(`${basename(DATABASE)}.lock`))
        rmSync(join(DIRECTORY, name), { recursive: true })
  } finally {
    lock.release()
  }
}

const S3_SETTINGS = ['S3_BUCKET', 'S3_ENDPOINT', 'S3_REGION', 'AWS_REGION', 'S3_FORCE_PATH_STYLE']

/** What was asked for; else the code to end with. */
function readArguments(
  argv: string[],
): { exit: boolean; s3: Record<string, string | undefined> } | number {
  try {
    const { values } = parseArgs({
      args: argv,
      options: {
        exit: { type: 'boolean', default: false },
        s3: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h' },
      },
    })
    if (values.help) {
      process.stdout.write(USAGE)
      return 0
    }
    if (!values.s3) return { exit: values.exit, s3: {} }
    if (!process.env['S3_BUCKET']?.trim()) {
      say(
        'afterimage demo --s3 expects S3_BUCKET, and credentials where the AWS SDK looks for them.',
      )
      return 2
    }
    return {
      exit: values.exit,
      s3: Object.fromEntries(S3_SETTINGS.map((name) => [name, process.env[name]])),
    }
  } catch (error) {
    say(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE.trimEnd()}`)
    return 2
  }
}

/** Everything shorter than in production, so that the end of each story is seen in seconds. */
async function settings(simulator: Simulator, token: string) {
  const port = await freePort(8787)
  return {
    MODELSLAB_API_KEY: 'any-key-will-do',
    MODELSLAB_BASE_URL: simulator.apiUrl,
    PUBLIC_URL: `http://127.0.0.1:${port}`,
    PORT: String(port),
    DATABASE_PATH: DATABASE,
    OBJECTS_DIR: `${DIRECTORY}/objects`,
    API_TOKENS: `demo:admin:${token}`,
    ALLOWED_PRIVATE_ORIGINS: `${simulator.outputOrigin},${simulator.proxyOrigin}`,
    RECONCILE_GRACE_SECONDS: '1',
    RETRY_BASE_SECONDS: '0.3',
    LINK_LIFETIME_HOURS: String(6 / 3600),
    LOG_LEVEL: 'warn',
  }
}

/** Submits every story, shows each change, and returns whether all ended as they should. */
async function tell(api: Client, service: Service, ctrlC: AbortSignal) {
  const began = Date.now()
  const progress = showProgress(
    STORIES.map(({ name }) => name),
    process.stderr,
    process.env,
  )
  const told = await Promise.all(STORIES.map((story, index) => begin(api, story, index, progress)))
  const forged = await forgedCallback(service, told)
  while (
    told.some(({ tookMs }) => tookMs === null) &&
    Date.now() - began < TIME_LIMIT_MS &&
    !ctrlC.aborted
  ) {
    await sleep(POLL_MS)
    await Promise.all(told.map((one, index) => look(api, one, index, progress, began)))
  }
  progress.end()
  process.stdout.write(`\n${await report(api, told)}\n`)
  const wrong = told.filter((one) => !endedAsItShould(one))
  say(
    wrong.length === 0
      ? 'Every generation ended as it should.'
      : `Not as it should: ${wrong.map(({ story }) => story.name).join(', ')}`,
  )
  return wrong.length === 0 && forged === 404
}

async function begin(api: Client, story: Story, index: number, progress: Progress): Promise<Told> {
  progress.show(index, 'submitting', 'waiting')
  const generation = await api.submit({
    model_id: 'pony_realism',
    prompt: `a quiet harbour at dawn [${story.knobs}]`,
    init_image: 'https://example.com/harbour.png',
    mask_image: 'https://example.com/harbour-mask.png',
    ...story.body,
  })
  const told = { story, generation, tookMs: null }
  progress.show(index, state(generation), tone(told))
  return told
}

async function look(api: Client, one: Told, index: number, progress: Progress, began: number) {
  if (one.tookMs !== null) return
  one.generation = await api.generation(one.generation.id)
  if (hasEnded(one.generation)) one.tookMs = Date.now() - began
  progress.show(index, state(one.generation), tone(one))
}

const tone = (one: Told) =>
  one.tookMs === null ? 'waiting' : endedAsItShould(one) ? 'good' : 'bad'

const MARKS: Record<string, string> = { archived: '■', pending: '□', lost: '×' }

/** Its state in a few words, and a mark for each copy. */
function state({ status, archive_status, images }: Generation) {
  const marks = images.map((image) => MARKS[image.status] ?? '?').join('')
  return images.length === 0 ? status : `${status}, ${archive_status} ${marks}`
}

/** No copy is under way any more, mirrors included. */
const hasEnded = ({ status, archive_status, images }: Generation) =>
  ['succeeded', 'failed'].includes(status) &&
  archive_status !== 'pending' &&
  images.every((image) => image.status !== 'pending')

const endedAsItShould = ({ story, generation, tookMs }: Told) =>
  tookMs !== null &&
  generation.status === story.status &&
  generation.archive_status === story.archive &&
  generation.nsfw.verdict === story.nsfw &&
  generation.failure?.code === story.failure

/** Anyone can POST to a webhook; only the MAC in its URL opens it. */
async function forgedCallback(service: Service, [first]: Told[]) {
  const id = first?.generation.id ?? ''
  const response = await fetch(`${service.url}/callbacks/${id}/${'0'.repeat(64)}`, {
    method: 'POST',
    body: JSON.stringify({ status: 'failed', track_id: id, message: 'forged' }),
  })
  await response.body?.cancel()
  return response.status
}

/** `wanted`, or whichever is free where that one is taken. */
async function freePort(wanted: number): Promise<number> {
  const probe = createServer()
  const port = await new Promise<number | null>((resolve) => {
    probe.once('error', () => resolve(null))
    probe.listen(wanted, '127.0.0.1', () => resolve((probe.address() as AddressInfo).port))
  })
  if (port === null) return freePort(0)
  await new Promise((resolve) => probe.close(resolve))
  return port
}
