import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { ConfigError } from '../config.ts'
import { LedgerInUse } from '../ledger/driver/sqlite.node.ts'
import { type Service, startService } from '../node.ts'
import { StartFailure } from '../runtime/node/start-failure.ts'
import { startSimulator } from '../simulator/simulator.ts'
import { client, type Client, type Generation } from './client.ts'
import { type Progress, showProgress } from '../commands/terminal/progress.ts'
import { readArguments } from './options.ts'
import { freePort, makeAnew, settings } from './place.ts'
import { report, type Told, whereToLook } from './report.ts'
import { STORIES, type Story } from './stories.ts'

/** They take some seconds, and longer beside other work. */
const TIME_LIMIT_MS = 120_000
const POLL_MS = 150
/** Where the service listens, if nobody does. */
const PORT = 8787
/** Fewer than there are stories, so that some are refused for now and held. */
const MAX_QUEUED = 8

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
    (port) => ({ ...settings(simulator, token, port), ...options.s3 }),
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
  env: (port: number) => Record<string, string | undefined>,
  write: (line: string) => void,
) {
  const start = async (port: number) => {
    makeAnew()
    return startService(env(port), write)
  }
  try {
    // Between the look and the start another program may take it.
    return await start(await freePort(PORT)).catch(async (error: unknown) => {
      if (!isTaken(error)) throw error
      return start(await freePort(0))
    })
  } catch (error) {
    if (error instanceof ConfigError)
      say(`afterimage demo cannot start on these settings:\n${error.message}`)
    else if (error instanceof LedgerInUse)
      say(`afterimage demo cannot begin: ${error.message}. If it is another demo, end that first.`)
    else throw error
    return null
  }
}

const isTaken = (error: unknown) =>
  error instanceof StartFailure && (error.cause as NodeJS.ErrnoException).code === 'EADDRINUSE'

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
