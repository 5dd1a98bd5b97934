import { cp, mkdtemp, rm } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort, type Program, type Settings, start } from '../support/process/program.ts'
import { spawnTypeScript } from '../support/typescript-child.ts'

export const TOKEN = 'token-of-the-benches-0123456789'
export const SECRET = 'callback-secret-of-the-benches'

const undo: (() => Promise<unknown>)[] = []

/** Ends every process and removes every folder that is left. */
export async function undoAll() {
  for (const one of undo.splice(0).toReversed()) await one()
}

export async function folder() {
  const path = await mkdtemp(join(tmpdir(), 'afterimage-bench-'))
  undo.push(() => rm(path, { recursive: true, force: true }))
  return path
}

/** A copy of a seeded ledger, to be used up. */
export async function copyOf(database: string) {
  const path = join(await folder(), 'afterimage.db')
  await cp(database, path)
  return path
}

/** The service as users run it, on a ledger of its own. */
export async function service(database: string, settings: Settings = {}): Promise<Program> {
  const port = await freePort()
  const program = await start({
    MODELSLAB_API_KEY: 'api-key-of-the-benches-as-long-as-real-ones-are',
    // Nobody listens there: nothing is submitted.
    MODELSLAB_BASE_URL: 'http://127.0.0.1:9',
    PUBLIC_URL: `http://127.0.0.1:${port}`,
    PORT: String(port),
    DATABASE_PATH: database,
    OBJECTS_DIR: join(await folder(), 'objects'),
    CALLBACK_SECRETS: SECRET,
    API_TOKENS: `bench:admin:${TOKEN}`,
    ...settings,
  })
  undo.push(program.kill)
  return program
}

export interface Child {
  /** What it said of itself. */
  hello: Record<string, string>
  pid: number
  kill: () => Promise<void>
}

/** One of the bench's own servers, in a process of its own, that begins with a line of JSON. */
export async function child(file: string, args: string[] = []): Promise<Child> {
  const started = spawnTypeScript(new URL(file, import.meta.url), args, {
    ...process.env,
    AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
  })
  const ended = new Promise<void>((resolve) => started.once('close', () => resolve()))
  const kill = async () => {
    started.kill('SIGKILL')
    await ended
  }
  undo.push(kill)
  started.stderr.pipe(process.stderr)
  for await (const line of createInterface(started.stdout))
    return { hello: JSON.parse(line) as Record<string, string>, pid: started.pid ?? 0, kill }
  throw new Error(`${file} ended before it said anything`)
}

export interface Seen {
  gets: number
  /** Different ones. */
  urls: number
  puts: number
  /** Milliseconds since the epoch, 0 where nothing came yet. */
  firstGetAt: number
  firstPutAt: number
  lastPutAt: number
}

/** The world beside the service: see loopback-hosts.ts. */
export async function loopbackHosts() {
  const { hello, kill } = await child('loopback-hosts.ts')
  const { first = '', second = '', store = '', deaf = '', mute = '' } = hello
  const seen = async () => (await (await fetch(`${first}/seen`)).json()) as Seen
  return { first, second, store, deaf, mute, kill, seen, allowed: [first, second, deaf].join(',') }
}

export type LoopbackHosts = Awaited<ReturnType<typeof loopbackHosts>>

/** So many different pictures of one size, by turns on both hosts. */
export const links = (
  { first, second }: LoopbackHosts,
  bytes: number,
  count: number,
  prefix: string,
) =>
  Array.from(
    { length: count },
    (_, n) => `${n % 2 === 0 ? first : second}/${bytes}/${prefix}-${n}.png`,
  )

/** What the service must be told to keep its objects there. */
export const s3At = (endpoint: string): Settings => ({
  S3_ENDPOINT: endpoint,
  S3_BUCKET: 'bench',
  AWS_ACCESS_KEY_ID: 'bench',
  AWS_SECRET_ACCESS_KEY: 'bench-secret',
})
