import { existsSync, readFileSync } from 'node:fs'
import { basename, dirname, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Call } from './command.ts'
import { readOptions } from './terminal/options.ts'
import { SERVE_USAGE, usage } from './usage.ts'
import { ConfigError, readKeptConfig } from '../config.ts'
import { pathProblem } from '../config/places.ts'
import { audit } from '../ledger/audit.ts'
import { createLedger } from '../ledger/ledger.ts'
import { rebuild } from '../ledger/rebuild.ts'
import { LedgerForeign } from '../ledger/driver/foreign.node.ts'
import {
  buildSqlite,
  LedgerExists,
  LedgerInUse,
  LedgerMissing,
  readSqlite,
} from '../ledger/driver/sqlite.node.ts'
import { publicGet } from '../net/public-fetch.node.ts'
import { untilSignal } from '../runtime/node/signals.node.ts'
import { blaming, StartFailure } from '../runtime/node/start-failure.ts'
import { openObjects, startService } from '../node.ts'
import { recordCapability } from '../secrets/links.ts'
import { keptLinkSecrets } from '../secrets/secrets-file.node.ts'

const PACKAGE = dirname(dirname(import.meta.dirname))

/** How a command of ours is called, here: in a checkout no package has it. */
const CALL =
  basename(dirname(PACKAGE)) === 'node_modules' ? 'npx --no afterimage' : 'npm run -s afterimage --'

// Whoever reads may go away (EPIPE), or the terminal be closed (EIO). What is under way goes on.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})

const say = (line: string) => process.stderr.write(`${line}\n`)
const tell = (line: string) => process.stdout.write(`${line}\n`)

/**
 * Lines of the log. Those of one turn of the event loop are one write: each is a call of the
 * system.
 */
function logLines() {
  let waiting: string[] = []
  const write = () => {
    const lines = waiting
    waiting = []
    if (lines.length > 0) say(lines.join('\n'))
  }
  process.on('exit', write)
  return (line: string) => {
    if (waiting.length === 0) setImmediate(write)
    waiting.push(line)
  }
}

// What draws pictures is loaded only where pictures are drawn: the service starts without it.
async function main([command, ...argv]: string[]): Promise<number> {
  switch (command) {
    case 'serve':
      return serve(argv)
    case 'demo':
      return (await import('../demo/demo.ts')).runDemo(argv, CALL, untilSignal)
    case 'simulator':
      return (await import('../simulator/main.ts')).runSimulator(argv, CALL, {
        out: (text) => process.stdout.write(text),
        err: (text) => process.stderr.write(text),
        interrupted: untilSignal,
      })
    case 'verify':
      return look(command, argv, async (call) =>
        (await import('./verify.ts')).runVerify(call, openKept),
      )
    case 'completeness':
      return look(command, argv, async (call) =>
        (await import('./completeness.ts')).runCompleteness(call, openLedger),
      )
    case 'rebuild':
      return look(command, argv, async (call) =>
        (await import('./rebuild.ts')).runRebuild(call, openNew),
      )
    case 'version':
    case '--version':
      tell(version())
      return 0
    case undefined:
    case 'help':
    case '--help':
    case '-h':
      tell(usage(CALL).trimEnd())
      return 0
    default:
      say(`afterimage: there is no command ${JSON.stringify(command)}\n\n${usage(CALL).trimEnd()}`)
      return 2
  }
}

function version() {
  const text = readFileSync(resolve(PACKAGE, 'package.json'), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

async function serve(argv: string[]): Promise<number> {
  const options = readOptions({ argv, out: tell, err: process.stderr }, SERVE_USAGE, {})
  if (typeof options === 'number') return options
  const signal = untilSignal()
  try {
    const service = await startService(process.env, logLines())
    await signal
    await service.stop()
    return 0
  } catch (error) {
    say(explain(error))
    return 1
  }
}

/**
 * A command that looks at what is kept. The first Ctrl-C ends it where it is whole, one after two
 * seconds at once.
 */
async function look(
  command: string,
  argv: string[],
  run: (call: Call) => Promise<number>,
): Promise<number> {
  // Whoever reads may have seen enough (EPIPE), such as head(1).
  process.stdout.on('error', () => process.exit(2))
  const ctrlC = new AbortController()
  void untilSignal().then(() => ctrlC.abort())
  try {
    return await run({ argv, out: tell, err: process.stderr, signal: ctrlC.signal })
  } catch (error) {
    say(whyNot(command, error))
    return 2
  }
}

const world = { pause: (ms: number) => pause(ms), now: Date.now, env: process.env }

/** The ledger for reading, and the store. */
async function openKept() {
  const { config, ...opened } = await openLedger()
  const get = publicGet({ allowedPrivateOrigins: config.allowedPrivateOrigins })
  return { ...opened, ...keptCapability(config), config, get, objects: await openStore(config) }
}

/** By the secrets that the service has. */
const keptCapability = (config: ReturnType<typeof readKeptConfig>) =>
  recordCapability({ linkSecrets: keptLinkSecrets(config) })

async function openLedger() {
  const config = readKeptConfig(process.env)
  const driver = await blaming('Check DATABASE_PATH.', () => readSqlite(config.databasePath))
  return { ...world, config, ledger: createLedger(driver), audit: audit(driver) }
}

/** A ledger that is being made, and the store that it is made from. */
async function openNew(into: string | undefined) {
  const config = readKeptConfig(process.env)
  const path = into ?? config.databasePath
  const problem = pathProblem(path, 'data/afterimage.db')
  if (problem !== undefined) throw new ConfigError([{ pointer: '--into', message: problem }])
  const objects = await openStore(config)
  const { finish, abandon, ...driver } = await blaming(
    `Check ${into === undefined ? 'DATABASE_PATH' : '--into'}.`,
    () => buildSqlite(path),
  )
  const ledger = rebuild(driver)
  return { ...world, ...keptCapability(config), path, config, objects, ledger, finish, abandon }
}

/** A folder that is not there would be made, and found to lack everything. */
function openStore(config: ReturnType<typeof readKeptConfig>) {
  if (!config.s3 && !existsSync(config.objectsDir))
    throw new ConfigError([
      { pointer: 'OBJECTS_DIR', message: `there is no folder ${resolve(config.objectsDir)}` },
    ])
  return openObjects(config)
}

function whyNot(command: string, error: unknown): string {
  const name = `afterimage ${command}`
  if (error instanceof ConfigError)
    return `${name} cannot use these settings:\n${error.fields.map(({ pointer, message }) => `  ${pointer}: ${message}`).join('\n')}`
  if (
    error instanceof LedgerMissing ||
    error instanceof LedgerExists ||
    error instanceof LedgerForeign
  )
    return `${name} cannot begin: ${error.message}.`
  if (error instanceof LedgerInUse)
    return `${name} cannot begin: ${error.message}. One process at a time may use a database.`
  return `${name} had to stop: ${error instanceof Error ? error.message || error.name : String(error)}`
}

function explain(error: unknown): string {
  if (error instanceof ConfigError)
    return `afterimage cannot start on these settings:\n${error.fields.map(({ pointer, message }) => `  ${pointer}: ${message}`).join('\n')}`
  if (error instanceof LedgerInUse)
    return `afterimage cannot start: ${error.message}. One process at a time may use a database.`
  if (error instanceof LedgerForeign)
    return `afterimage cannot start: ${error.message}. Check DATABASE_PATH.`
  if (error instanceof StartFailure) return `afterimage cannot start: ${error.message}`
  return `afterimage stopped: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`
}

// Idle keep-alive connections of fetch would hold the process for seconds.
process.exit(
  await main(process.argv.slice(2)).catch((error: unknown) => {
    say(explain(error))
    return 1
  }),
)
