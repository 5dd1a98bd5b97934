import { resolve } from 'node:path'
import { parseArgs, type ParseArgsConfig } from 'node:util'
import type { Config } from '../config.ts'
import type { Output } from './terminal/progress.ts'

/** A command as it was called: its words, and where it says what. */
export interface Call {
  argv: string[]
  /** Data: one line. */
  out: (line: string) => void
  /** Messages and progress. */
  err: Output
  /** Aborted by Ctrl-C. */
  signal: AbortSignal
}

export const INTERRUPTED = 130

/**
 * What was asked for; else the code to end with: 0 where it was help, 2 where the words cannot be
 * understood.
 */
export function readOptions<const Options extends NonNullable<ParseArgsConfig['options']>>(
  { argv, out, err }: Pick<Call, 'argv' | 'out' | 'err'>,
  usage: string,
  options: Options,
) {
  try {
    const { values } = parseArgs({
      args: argv,
      options: { ...options, help: { type: 'boolean', short: 'h' } },
    })
    if (!(values as { help?: boolean }).help) return values
    out(usage.trimEnd())
    return 0
  } catch (error) {
    err.write(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`)
    return 2
  }
}

/** Which ledger is looked at: in another folder, the same settings name another one. */
export const ledgerLine = ({ databasePath }: Pick<Config, 'databasePath'>) =>
  `ledger  ${resolve(databasePath)}\n`

/** Which store is looked at. */
export const storeLine = ({ s3, objectsDir }: Pick<Config, 's3' | 'objectsDir'>) =>
  `store   ${s3 ? `the bucket ${s3.bucket} at ${s3.endpoint ?? 'AWS'}` : resolve(objectsDir)}\n`

const EVERY_MS = 100
const EVERY_PLAIN_MS = 10_000
const BAR = 24

/** A bar that fills, on a terminal; elsewhere a plain line every ten seconds. */
export function showBar(err: Output, env: Record<string, string | undefined>, now: () => number) {
  const isTerminal = err.isTTY === true && env['TERM'] !== 'dumb'
  let shown = ''
  let nextAt = isTerminal ? 0 : now() + EVERY_PLAIN_MS
  return {
    show: (what: string, done: number, of: number | null) => {
      const at = now()
      if (at < nextAt && done !== of) return
      const text =
        of === null ? `${what}: ${grouped(done)}` : `${what}: ${grouped(done)} of ${grouped(of)}`
      if (!isTerminal) {
        if (at < nextAt) return
        err.write(`${text}\n`)
        nextAt = at + EVERY_PLAIN_MS
        return
      }
      nextAt = at + EVERY_MS
      shown = (of === null || of === 0 ? text : `${bar(done / of)} ${text}`).slice(
        0,
        (err.columns || 80) - 1,
      )
      err.write(`\r\x1b[2K${shown}`)
    },
    /** Makes room for a line of something else. */
    clear: () => {
      if (shown !== '') err.write('\r\x1b[2K')
      shown = ''
    },
  }
}

function bar(share: number) {
  const full = Math.floor(share * BAR)
  return `${'█'.repeat(full)}${'░'.repeat(BAR - full)} ${String(Math.floor(share * 100)).padStart(3)} %`
}

/** With a comma between thousands. */
export const grouped = (count: number) => count.toLocaleString('en-US')

/** `1 image`, `1,204 images`. */
export const counted = (count: number, one: string, many = `${one}s`) =>
  `${grouped(count)} ${count === 1 ? one : many}`

const SIZES = [
  ['GiB', 2 ** 30],
  ['MiB', 2 ** 20],
  ['KiB', 2 ** 10],
] as const

export function size(bytes: number) {
  const [unit, one] = SIZES.find(([, one]) => bytes >= one) ?? ['bytes', 1]
  return `${one === 1 ? grouped(bytes) : (bytes / one).toFixed(1)} ${unit}`
}

/** Fields of one line; what could end a field or a line is a space. */
export const tabbed = (...fields: string[]) =>
  fields.map((field) => field.replace(/[\t\r\n]+/gu, ' ')).join('\t')
