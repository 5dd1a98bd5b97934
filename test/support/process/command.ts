import { spawn } from 'node:child_process'
import { builtCli } from './built.ts'
import type { Settings } from './program.ts'

/** A command of ours as users run it, to its end. `under`: as for `start`. */
export async function command(
  argv: string[],
  settings: Settings = {},
  cwd = process.cwd(),
  under: string[] = [],
) {
  const [file = '', ...args] = [...under, process.execPath, await builtCli(), ...argv]
  const child = spawn(file, args, {
    cwd,
    env: { PATH: process.env['PATH'], ...settings },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const said = { out: '', err: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said.out += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said.err += text))
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { ...said, code, lines: said.out.split('\n').filter(Boolean) }
}
