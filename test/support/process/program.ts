import { type ChildProcess, spawn } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { builtCli } from './built.ts'

export const TOKEN = 'token-of-the-process-tests-0123456789'

/**
 * How long a test waits for what has to come. It bounds no speed: what may not take long is
 * measured by the test that says so, and a busy machine is slow.
 */
const PATIENCE_MS = 60_000

export type Settings = Record<string, string>

/** The service as users run it, in a process of its own. Whoever starts one has to end it. */
export interface Program {
  url: string
  child: ChildProcess
  /** What it wrote to stderr so far. */
  lines: string[]
  ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  /** `kill -9`. Resolves once it is gone. */
  kill: () => Promise<void>
}

/**
 * Resolves once it listens. `cli`: another build than that of the sources as they are. `under`: a
 * command that starts what comes after it, as strace does.
 */
export async function start(
  settings: Settings,
  cli?: string,
  under: string[] = [],
): Promise<Program> {
  return listening(await launch(settings, cli, under))
}

/** Resolves with the program once it listens. One that never does is ended. */
export async function listening(program: Program): Promise<Program> {
  const isDecided = () => program.url !== '' || program.child.exitCode !== null
  await until(isDecided).catch(() => undefined)
  if (program.url !== '') return program
  await program.kill()
  throw new Error(`it did not start:\n${program.lines.join('\n')}`)
}

export async function launch(
  settings: Settings,
  cli?: string,
  under: string[] = [],
): Promise<Program> {
  const [command, ...args] = [...under, process.execPath, cli ?? (await builtCli()), 'serve']
  const child = spawn(command, args, {
    env: { PATH: process.env['PATH'], ...settings },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  return watched(child)
}

/** A process that is, or leads to, the service. */
export function watched(child: ChildProcess): Program {
  const ended = new Promise<Awaited<Program['ended']>>((resolve) => {
    child.once('close', (code, signal) => resolve({ code, signal }))
  })
  const kill = async () => {
    child.kill('SIGKILL')
    await ended
  }
  const program: Program = { url: '', child, lines: [], ended, kill }
  readLines(child, (line) => {
    program.lines.push(line)
    program.url ||= /"message":"started","url":"([^"]+)"/u.exec(line)?.[1] ?? ''
  })
  return program
}

function readLines(child: ChildProcess, take: (line: string) => void) {
  let rest = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    lines.forEach(take)
  })
}

type Truthy<T> = Exclude<T, false | null | undefined>

/** Resolves with what `condition` returns as soon as that is truthy; asks every 20 ms. */
export async function until<T>(
  condition: () => T | Promise<T>,
  ms = PATIENCE_MS,
): Promise<Truthy<T>> {
  const giveUpAt = Date.now() + ms
  for (;;) {
    const value = await condition()
    if (value) return value as Truthy<T>
    if (Date.now() > giveUpAt) throw new Error(`not within ${ms} ms: ${condition.toString()}`)
    await delay(20)
  }
}
