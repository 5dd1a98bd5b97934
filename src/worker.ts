import { MAX_IMAGE_BYTES } from './pictures/fetch-picture.ts'
import { archiveImage, storeCameBack } from './work/archive.ts'
import { createArchiver } from './runtime/slots.ts'
import { createVisits } from './runtime/visits.ts'
import type { ExecutionContext, WakeQueue } from './runtime/workers/bindings.ts'
import { callbackCapability, recordCapability, secretsIn } from './secrets/links.ts'
import { type Config, ConfigError, readConfig } from './config.ts'
import { AppError } from './errors.ts'
import { watchHealth } from './observe/health.ts'
import { createApp } from './http/app.ts'
import { problem } from './http/plumbing/problem.ts'
import { type Invocation, invoke, sleep, throughInvocation } from './runtime/workers/invocation.ts'
import { type D1Database, d1Driver } from './ledger/driver/d1.ts'
import { telling } from './ledger/database.ts'
import { createLedger } from './ledger/ledger.ts'
import { jsonLog } from './observe/log.ts'
import { publicFetch } from './net/public-fetch.worker.ts'
import { createRoom } from './runtime/workers/room.ts'
import { patientStore } from './objects/patient.ts'
import { type R2Bucket, r2Store } from './objects/r2.ts'
import type { Deps } from './deps.ts'
import { modelsLab } from './modelslab/client.ts'
import { takeTurn } from './runtime/workers/turn.ts'
import { createWaker } from './runtime/workers/waker.ts'

/** The bindings of wrangler.toml. All else in it is a setting. */
interface Env {
  DB: D1Database
  OBJECTS: R2Bucket
  WAKES: WakeQueue
}

const MOST_IMAGES_AT_ONCE = 3
const MOST_BYTES_AT_ONCE = 40 * 1024 * 1024

const write = (line: string) => console.log(line)

/**
 * What all invocations in one isolate share, so that nothing is compiled twice and limits count.
 */
function openService(env: Env) {
  const config = workerConfig(env)
  const log = jsonLog({ level: config.logLevel, secrets: secretsIn(config), now: Date.now, write })
  if (config.linkSecrets.length === 0)
    log('warn', 'records are not signed: LINK_SECRETS is not set')
  const health = watchHealth(log, Date.now)
  const bucket = r2Store(env.OBJECTS)
  const cameBack = () => deps.track(storeCameBack(deps))
  const deps: Deps = {
    ...callbackCapability(config),
    ...recordCapability(config),
    ...throughInvocation,
    ledger: createLedger(telling(d1Driver(env.DB), health.ledger)),
    objects: patientStore(bucket, { health, cameBack, log, now: Date.now }),
    spool: bucket,
    // Nobody can tell here that a call surely never left.
    provider: modelsLab({
      ...config.modelsLab,
      fetch: (...asked) => fetch(...asked),
      wasNotSent: () => false,
    }),
    get: publicFetch({ ...config, fetch: (url, init) => fetch(url, init) }),
    now: Date.now,
    log,
    health,
    config,
  }
  const room = createRoom({
    images: MOST_IMAGES_AT_ONCE,
    bytes: MOST_BYTES_AT_ONCE,
    maxImageBytes: MAX_IMAGE_BYTES,
    expiresAfterMs: config.leaseMs,
    now: Date.now,
    sleep,
  })
  const visits = createVisits(deps, config.leaseMs)
  // Whoever had its slot before it is written down would wait for its room.
  const copyInRoom: typeof archiveImage = (_, image, slot) =>
    room.carry(deps.get, (get) =>
      archiveImage({ ...deps, get }, image, slot && { ...slot, transferred: () => undefined }),
    )
  const app = createApp(deps, {
    isDraining: () => false,
    peerAddress: (c) => c.req.header('cf-connecting-ip') ?? null,
  })
  const waker = createWaker(env.WAKES, deps)
  const answer = async (
    request: Request,
    { isWoken, idle }: Invocation,
    answered: (response: Response) => void,
  ) => {
    answered(await app.fetch(request))
    await idle()
    if (isWoken()) await waker.wakeAt(Date.now())
  }

  return {
    /**
     * The work may go on after its answer, and when the client has hung up: then Cloudflare ends
     * whatever is not waited for.
     */
    fetch: (request: Request, ctx: ExecutionContext) =>
      new Promise<Response>((answered, failed) => {
        ctx.waitUntil(
          invoke(log, (invocation) => answer(request, invocation, answered)).catch(failed),
        )
      }),
    turn: ({ isCron }: { isCron: boolean }) =>
      invoke(log, async ({ idle }) => {
        const archiver = createArchiver(deps, { copy: copyInRoom, visits })
        const images = { copy: archiver.drain, isBehind: archiver.isBehind }
        const ended = async () => {
          await archiver.idle()
          await idle()
        }
        const dueAt = await takeTurn(deps, { images, idle, ended, isCron })
        if (dueAt !== null) await waker.wakeAt(dueAt)
      }),
  }
}

/** @throws ConfigError */
function workerConfig(env: object): Config {
  // A var of wrangler.toml may be a number or a truth; bindings are objects.
  const settings = Object.entries(env).filter(([, value]) =>
    ['string', 'number', 'boolean'].includes(typeof value),
  )
  const config = readConfig(
    Object.fromEntries(settings.map(([name, value]) => [name, String(value)])),
  )
  if (config.callbackSecrets.length === 0)
    throw new ConfigError([
      { pointer: 'CALLBACK_SECRETS', message: 'expected a secret: nothing is made up here' },
    ])
  return { ...config, archiveConcurrency: Math.min(config.archiveConcurrency, MOST_IMAGES_AT_ONCE) }
}

type Service = ReturnType<typeof openService>

const services = new WeakMap<Env, Service>()

/** Null where the settings cannot be used; the log says which. */
function serviceOf(env: Env): Service | null {
  const known = services.get(env)
  if (known) return known
  try {
    const service = openService(env)
    services.set(env, service)
    return service
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const log = jsonLog({ level: 'error', secrets: [], now: Date.now, write })
    log('error', 'the settings cannot be used', { settings: error.fields })
    return null
  }
}

export default {
  fetch: (request: Request, env: Env, ctx: ExecutionContext): Response | Promise<Response> =>
    serviceOf(env)?.fetch(request, ctx) ??
    problem(
      new AppError(
        'unavailable',
        'This service is not set up: its log names the settings at fault.',
      ),
    ),

  /** Whatever a batch holds, it is a wake; who is woken twice finds nothing to do. */
  queue: async (_batch: unknown, env: Env) => {
    await serviceOf(env)?.turn({ isCron: false })
  },

  scheduled: async (_controller: unknown, env: Env) => {
    await serviceOf(env)?.turn({ isCron: true })
  },
}
