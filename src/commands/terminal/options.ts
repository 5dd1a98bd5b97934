import { parseArgs, type ParseArgsConfig } from 'node:util'
import type { Output } from './output.ts'

interface Words {
  argv: string[]
  /** Data: one line. */
  out: (line: string) => void
  err: Output
}

/**
 * What was asked for; else the code to end with: 0 where it was help, 2 where the words cannot be
 * understood.
 */
export function readOptions<const Options extends NonNullable<ParseArgsConfig['options']>>(
  { argv, out, err }: Words,
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
