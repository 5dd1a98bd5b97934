import { type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getConnInfo } from '@hono/node-server/conninfo'
import { trackWork } from './runtime/background.ts'
import { callbackCapability, recordCapability, secretsIn } from './secrets/links.ts'
import { type Config, ConfigError, readConfig } from './config.ts'
import { watchHealth } from './observe/health.ts'
import { createApp } from './http/app.ts'
import { httpServer } from './http/plumbing/server.node.ts'
import { openLedger } from './ledger/driver/ledger.node.ts'
import { jsonLog } from './observe/log.ts'
import { giveUpAllReplies } from './work/expire.ts'
import { startLoop } from './runtime/node/loop.ts'
import { assureOpenFiles } from './runtime/node/open-files.node.ts'
import { blaming } from './runtime/node/start-failure.ts'
import { publicGet } from './net/public-fetch.node.ts'
import { diskStore } from './objects/disk.node.ts'
import { tryDisk } from './objects/disk-trial.node.ts'
import { patientStore } from './objects/patient.ts'
import type { Deps, ObjectStore } from './deps.ts'
import { modelsLab } from './modelslab/client.ts'
import { withSecrets } from './secrets/secrets-file.node.ts'
import { storeCameBack } from './work/archive.ts'

export interface Service {
  /** Where it listens. */
  url: string
  config: Config
  /**
   * Ends what is under way, keeps what is still called in meanwhile, then closes. Safe to call
   * again.
   */
  stop: () => Promise<void>
}

/**
 * How long a stop waits for downloads and replies. What is left then is taken up at the next start.
 */
const DRAIN_MS = 20_000
/** How often it is seen whether the ledger is still in its place, although nobody writes it. */
const LOOK_MS = 500

/**
 * Starts the service on the settings in `env`.
 * @throws ConfigError, LedgerInUse, StartFailure
 */
export async function startService(
  env: Record<string, string | undefined>,
  write: (line: string) => void,
): Promise<Service> {
  const settings = readConfig(env)
  assureOpenFiles(settings.archiveConcurrency)
  const opened = await blaming('Check DATABASE_PATH.', () => openLedger(settings.databasePath))
  try {
    return await serve(settings, opened, write)
  } catch (error) {
    await opened.close()
    throw error
  }
}

async function serve(
  settings: Config,
  opened: ReturnType<typeof openLedger>,
  write: (line: string) => void,
): Promise<Service> {
  // Made under the lock: of two first starts, the one that is refused must not replace the other's
  // secrets.
  const config = await blaming('Check the folder of DATABASE_PATH.', () => withSecrets(settings))
  const log = jsonLog({ level: config.logLevel, secrets: secretsIn(config), now: Date.now, write })
  const get = publicGet({ allowedPrivateOrigins: config.allowedPrivateOrigins })
  const work = trackWork(log, timeout)
  const health = watchHealth(log, Date.now)
  const cameBack = () => work.track(storeCameBack(deps))
  const objects = await openObjects(config)
  if (!config.s3) await blaming('Check OBJECTS_DIR.', () => tryDisk(config.objectsDir))
  let wake = () => {}
  const deps: Deps = {
    ...callbackCapability(config),
    ...recordCapability(config),
    ledger: opened.ledger(health.ledger),
    objects: patientStore(objects, { health, cameBack, log, now: Date.now }),
    provider: modelsLab({ ...config.modelsLab, fetch, wasNotSent }),
    get,
    wake: () => wake(),
    now: Date.now,
    later: work.later,
    track: work.track,
    log,
    health,
    config,
  }
  await blaming('Check DATABASE_PATH.', () => recover(deps))
  let draining = false
  const app = createApp(deps, {
    isDraining: () => draining,
    peerAddress: (c) => getConnInfo(c).remote.address ?? null,
  })
  const { server, close } = httpServer(work.tracked(app.fetch), log)
  const url = await blaming(whyDeaf, () => listen(server, config))
  const loop = startLoop(deps)
  wake = loop.wake
  const look = setInterval(() => {
    const gone = opened.whyGone()
    if (gone) health.ledger(false, gone)
  }, LOOK_MS)
  log('info', 'started', {
    url,
    database: config.databasePath,
    objects: config.s3?.bucket ?? config.objectsDir,
    secrets: config.secretsPath ?? 'from the environment',
  })

  const stop = async () => {
    draining = true
    log('info', 'draining')
    clearInterval(look)
    await Promise.race([Promise.all([loop.stop(), work.idle()]), timeout(DRAIN_MS)])
    await close()
    // First: a download that is cut off by us must not be written down as the failure of its host.
    await opened.close()
    await get.close()
    log('info', 'stopped')
  }
  let stopped: Promise<void> | null = null
  return { url, config, stop: () => (stopped ??= stop()) }
}

/** Whoever held a lease or waited for a reply is dead: we hold the lock. */
async function recover(deps: Deps) {
  await deps.ledger.due.writeReleased()
  await giveUpAllReplies(deps)
}

export async function openObjects({
  s3,
  objectsDir,
}: Pick<Config, 's3' | 'objectsDir'>): Promise<ObjectStore> {
  if (!s3) return blaming('Check OBJECTS_DIR.', () => diskStore(objectsDir))
  // Loaded only where it is used: the SDK takes a good part of the start.
  const { regionOf } = await import('./objects/s3-client.node.ts')
  const { s3Store } = await import('./objects/s3.node.ts')
  await regionOf(s3).catch((error: unknown) => {
    const message = `expected a region, here or in AWS_REGION (${error instanceof Error ? error.message : String(error)})`
    throw new ConfigError([{ pointer: 'S3_REGION', message }])
  })
  return s3Store(s3)
}

/** Nothing reached the provider: no name, or nobody listening. Anything else may have. */
function wasNotSent(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined
  const causes: unknown[] = cause instanceof AggregateError ? cause.errors : [cause]
  return causes.every(
    (one) =>
      one instanceof Error &&
      'code' in one &&
      ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN'].includes(String(one.code)),
  )
}

const timeout = (ms: number) =>
  new Promise<void>((resolve) => {
    setTimeout(resolve, ms).unref()
  })

/**
 * Connections that wait to be accepted; Node's 511 are soon full where thousands come at once, and
 * most of those then hang.
 */
const BACKLOG = 4096

const whyDeaf = (code: string) =>
  code === 'EADDRINUSE'
    ? 'Set PORT to a free one.'
    : code === 'EACCES'
      ? 'Set PORT to one that this user may take, such as 8787.'
      : 'Check HOST.'

function listen(server: Server, { host, port }: Config) {
  return new Promise<string>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port, host, backlog: BACKLOG }, () => {
      const { address, port: bound, family } = server.address() as AddressInfo
      resolve(`http://${family === 'IPv6' ? `[${address}]` : address}:${bound}`)
    })
  })
}
