import { parseArgs } from 'node:util'
import { readKnob } from './knobs/knob-words.ts'
import { knobNames, type Knobs } from './knobs/knobs.ts'
import { startSimulator, type SimulatorOptions } from './simulator.ts'
import { banner, optionName, usage } from './usage.ts'

const DEFAULT_PORT = 9100

/** Where the command line reads and writes. */
export interface Terminal {
  out: (text: string) => void
  err: (text: string) => void
  /** Resolves when the user, or the system, wants the command to end. */
  interrupted: () => Promise<void>
}

type Flags = Record<string, string | boolean | undefined>

/**
/**
 * `afterimage simulator`. `argv` holds what follows the command's name, `call` is how a command of
 * ours is called. Resolves with the exit code: 0 when it was interrupted, 1 where a port cannot be
 * had, 2 for options that make no sense.
 */
export async function runSimulator(
  argv: string[],
  call: string,
  terminal: Terminal,
): Promise<number> {
  let options: SimulatorOptions
  try {
    const flags = readFlags(argv)
    if (flags.help) {
      terminal.out(usage(call))
      return 0
    }
    options = readOptions(flags)
  } catch (error) {
    terminal.err(`${messageOf(error)}\n${call} simulator --help lists the options.\n`)
    return 2
  }
  return serve(options, call, terminal)
}

async function serve(options: SimulatorOptions, call: string, terminal: Terminal) {
  const log = (line: string) => terminal.err(`${new Date().toISOString().slice(11, 19)} ${line}\n`)
  // Listens before it starts: an interruption may come while the ports are being opened.
  const interrupted = terminal.interrupted()
  try {
    const simulator = await startSimulator({ ...options, log })
    terminal.err(banner(simulator, call, options.key))
    await interrupted
    await simulator.close()
    return 0
  } catch (error) {
    const advice = isTaken(error)
      ? `, perhaps by another simulator. Any free ports: ${call} simulator --port 0`
      : ''
    terminal.err(`The simulator cannot start: ${messageOf(error)}${advice}\n`)
    return 1
  }
}

/** Throws what parseArgs throws for an option that is not known. */
function readFlags(argv: string[]): Flags {
  const named = [
    'port',
    'output-port',
    'proxy-port',
    'key',
    'max-queued',
    ...knobNames.map(optionName),
  ]
  const options = Object.fromEntries(named.map((name) => [name, { type: 'string' as const }]))
  return parseArgs({ args: argv, options: { ...options, help: { type: 'boolean', short: 'h' } } })
    .values
}

/** Throws for a value that is out of range, naming what is allowed. */
function readOptions(flags: Flags): SimulatorOptions {
  const apiPort = readInteger(flags, 'port', 0, 65_535) ?? DEFAULT_PORT
  const beside = (distance: number) => (apiPort === 0 ? 0 : apiPort + distance)
  return {
    apiPort,
    outputPort: readInteger(flags, 'output-port', 0, 65_535) ?? beside(1),
    proxyPort: readInteger(flags, 'proxy-port', 0, 65_535) ?? beside(2),
    maxQueued: readInteger(flags, 'max-queued', 1, 1_000_000),
    key: typeof flags.key === 'string' ? flags.key : undefined,
    knobs: readKnobFlags(flags),
  }
}

function readKnobFlags(flags: Flags): Partial<Knobs> {
  const asked = knobNames.flatMap((name) => {
    const text = flags[optionName(name)]
    return typeof text === 'string' ? [[name, readKnob(name, text)] as const] : []
  })
  return Object.fromEntries(asked)
}

function readInteger(flags: Flags, name: string, least: number, most: number) {
  const text = flags[name]
  if (typeof text !== 'string') return undefined
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= least && value <= most) return value
  throw new Error(`--${name} ${text} is not an integer from ${least} to ${most}.`)
}

function isTaken(error: unknown) {
  return error instanceof Error && 'code' in error && error.code === 'EADDRINUSE'
}

function messageOf(error: unknown) {
  return error instanceof Error ? error.message : String(error)
}
