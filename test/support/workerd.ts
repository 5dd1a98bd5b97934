import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import {
  convertV4MiniflareOptions,
  Log,
  LogLevel,
  Miniflare,
  type V4WorkerOptions,
} from 'miniflare'
import { unstable_getMiniflareWorkerOptions as optionsOf } from 'wrangler'
import type { D1Database } from '../../src/ledger/driver/d1.ts'
import type { R2Bucket } from '../../src/objects/r2.ts'
import { freePort } from './ports.ts'
import { TOKEN } from './process/program.ts'

const ROOT = join(import.meta.dirname, '../..')
const WORKER = 'afterimage'
const QUEUE = 'afterimage-wakes'

// Miniflare's own types of bindings belong to a package that we do without.

interface Consumer {
  queue: (
    queue: string,
    messages: { id: string; timestamp: Date; body: unknown; attempts: number }[],
  ) => Promise<unknown>
}

/** What D1 does with the next requests. */
type Mood = 'well' | 'away' | 'slow'

/** The service inside workerd, on bindings whose state is in a folder. */
export interface Workerd {
  url: string
  /** What it logged so far. */
  logged: { level: string; message: string; [field: string]: unknown }[]
  miniflare: Miniflare
  d1: { mood: Mood }
  /** One stroke of the clock. Resolves when its turn has ended. */
  strike: () => Promise<void>
  /** Runs statements in D1 itself, past its moods, and returns the rows of the last. */
  sql: (...statements: string[]) => Promise<Record<string, unknown>[]>
  /** Wakes that arrive from elsewhere, such as those that a queue delivers twice. */
  wake: (messages?: number) => Promise<void>
  /** Every key in the bucket. */
  keys: (prefix?: string) => Promise<string[]>
  /** A JSON object in the bucket. */
  object: (key: string) => Promise<unknown>
  /** Ends the process at once, whatever it does. */
  kill: () => Promise<void>
}

export const LINK_SECRET = 'link-secret-of-the-worker-tests'

/** State that outlives a Workerd. */
export interface Home {
  folder: string
  port: number
  remove: () => Promise<void>
}

export async function newHome(): Promise<Home> {
  const folder = await mkdtemp(join(tmpdir(), 'afterimage-worker-'))
  return {
    folder,
    port: await freePort(),
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}

/**
 * Stands between the Worker and its D1 binding, to be away or slow as a test wants. Slow is what a
 * caller sees whose write is made all the same.
 */
const MOODY_D1 = `
import worker from './worker.js'
const moody = (mood, statement) => ({
  statement,
  bind: (...values) => moody(mood, statement.bind(...values)),
  all: () => mood(() => statement.all()),
  raw: () => mood(() => statement.raw()),
  run: () => mood(() => statement.run()),
})
const moodyD1 = ({ DB, MOOD }) => {
  const mood = async (ask) => {
    const now = await (await MOOD.fetch('http://mood/')).text()
    if (now === 'away') throw new Error('D1_ERROR: Network connection lost.')
    const answer = await ask()
    if (now === 'slow') await new Promise((resolve) => setTimeout(resolve, 3000))
    return answer
  }
  return {
    prepare: (sql) => moody(mood, DB.prepare(sql)),
    batch: (list) => mood(() => DB.batch(list.map(({ statement }) => statement))),
  }
}
// What is made once for an env is made once here too.
const envs = new WeakMap()
const within = (env) => {
  if (!envs.has(env)) envs.set(env, { ...env, DB: moodyD1(env) })
  return envs.get(env)
}
export default {
  fetch: (request, env, context) => worker.fetch(request, within(env), context),
  scheduled: (controller, env, context) => worker.scheduled(controller, within(env), context),
  queue: (batch, env, context) => worker.queue(batch, within(env), context),
}`

type Rows = { results: Record<string, unknown>[] }[]

const bucketOf = async (miniflare: Miniflare) =>
  (await miniflare.getR2Bucket('OBJECTS', WORKER)) as unknown as R2Bucket
const d1Of = async (miniflare: Miniflare) =>
  (await miniflare.getD1Database('DB', WORKER)) as unknown as D1Database

interface Start {
  script: string
  home: Home
  settings: Record<string, string>
  /** Whether wakes arrive. Default: yes. */
  wakes?: boolean
  /** Whether D1 can be away or slow, which costs time. Default: yes. */
  moods?: boolean
  /** How long the queue waits for further wakes. Default: as in wrangler.toml. */
  gatherSeconds?: number
}

export async function startWorkerd({
  script,
  home,
  settings,
  wakes = true,
  moods = true,
  gatherSeconds,
}: Start): Promise<Workerd> {
  const logged: Workerd['logged'] = []
  const d1: Workerd['d1'] = { mood: 'well' }
  // Its rules are for what is not bundled yet, and Miniflare refuses them.
  const {
    modulesRules: _,
    queueConsumers,
    ...options
  } = optionsOf(join(ROOT, 'wrangler.toml')).workerOptions
  const consumer = (queueConsumers as Record<string, object>)[QUEUE]
  const gather = gatherSeconds === undefined ? {} : { maxBatchTimeout: gatherSeconds }
  const folder = dirname(script)
  const bundle = { type: 'ESModule' as const, path: script }
  const moody = { type: 'ESModule' as const, path: join(folder, 'moody.js'), contents: MOODY_D1 }
  const worker: V4WorkerOptions = {
    ...options,
    name: WORKER,
    modules: moods ? [moody, bundle] : [bundle],
    modulesRoot: folder,
    bindings: {
      MODELSLAB_API_KEY: 'api-key-of-the-worker-tests',
      PUBLIC_URL: `http://127.0.0.1:${home.port}`,
      API_TOKENS: `tests:admin:${TOKEN}`,
      CALLBACK_SECRETS: 'callback-secret-of-the-worker-tests',
      LINK_SECRETS: LINK_SECRET,
      RETRY_BASE_SECONDS: '0.05',
      RECONCILE_GRACE_SECONDS: '0.2',
      LOG_LEVEL: 'info',
      ...settings,
    },
    ...(moods ? { serviceBindings: { MOOD: () => new Response(d1.mood) as never } } : {}),
    ...(wakes ? { queueConsumers: { [QUEUE]: { ...consumer, ...gather } } } : {}),
  }
  // What wrangler makes of wrangler.toml is in the words of Miniflare 4.
  const shared = convertV4MiniflareOptions({
    workers: [worker],
    port: home.port,
    resourcePersistencePath: home.folder,
    // Nobody outside is asked where we are.
    cf: false,
    log: new Log(LogLevel.NONE),
    unsafeTriggerHandlers: true,
    handleStructuredLogs: ({ message }) => {
      logged.push(...readLines(message))
    },
  })
  const miniflare = new Miniflare(shared)
  const url = (await miniflare.ready).href.replace(/\/$/u, '')
  await migrate(miniflare)
  return {
    url,
    logged,
    miniflare,
    d1,
    strike: async () => {
      const response = await fetch(`${url}/cdn-cgi/local/scheduled`)
      if (!response.ok)
        throw new Error(`the clock was answered ${response.status}: ${await response.text()}`)
    },
    sql: async (...statements) => {
      const d1 = await d1Of(miniflare)
      const answers = (await d1.batch(statements.map((sql) => d1.prepare(sql)))) as Rows
      return answers.at(-1)?.results ?? []
    },
    wake: async (messages = 1) => {
      const consumer = (await miniflare.getWorker(WORKER)) as unknown as Consumer
      const batch = Array.from({ length: messages }, (_, n) => ({
        id: String(n),
        timestamp: new Date(),
        body: 'wake',
        attempts: 2,
      }))
      await consumer.queue(QUEUE, batch)
    },
    keys: async (prefix = '') => {
      const bucket = await bucketOf(miniflare)
      return (await bucket.list({ prefix })).objects.map(({ key }) => key)
    },
    object: async (key) => {
      const found = await (await bucketOf(miniflare)).get(key, {})
      return new Response(found?.body).json()
    },
    kill: () => miniflare.dispose(),
  }
}

function readLines(message: string): Workerd['logged'] {
  return message.startsWith('{') ? [JSON.parse(message) as Workerd['logged'][number]] : []
}

async function migrate(miniflare: Miniflare) {
  const d1 = await d1Of(miniflare)
  const [tables] = await d1.batch([
    d1.prepare("select name from sqlite_master where name = 'generations'"),
  ])
  if (tables && tables.results.length > 0) return
  const folder = join(ROOT, 'migrations')
  const names = (await readdir(folder)).filter((name) => name.endsWith('.sql')).toSorted()
  const texts = await Promise.all(names.map((name) => readFile(join(folder, name), 'utf8')))
  await d1.batch(
    texts.flatMap((text) => text.split('--> statement-breakpoint')).map((sql) => d1.prepare(sql)),
  )
}
