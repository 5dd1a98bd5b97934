import { randomInt } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { table } from '../../src/commands/terminal/table.ts'
import { runChaos } from './chaos.ts'

const USAGE = `npm run chaos -- [--rounds N] [--generations N] [--seed N]

  --rounds N        how many times the service is killed (20)
  --generations N   how many requests have to be answered (300)
  --seed N          decides stories and moments (any)
`

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))

async function main(argv: string[]): Promise<number> {
  let options
  try {
    options = readOptions(argv)
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`)
    return 2
  }
  if (options.help) {
    process.stdout.write(USAGE)
    return 0
  }
  const folder = await mkdtemp(join(tmpdir(), 'afterimage-chaos-'))
  say(`seed ${options.seed}`, '\n')
  const { problems, figures } = await runChaos({ ...options, folder, cli: CLI, say })
  if (process.stderr.isTTY) say('')
  process.stdout.write(`${table([['seed', String(options.seed)], ...figures])}\n`)
  if (problems.length === 0) {
    await rm(folder, { recursive: true })
    process.stdout.write('\nNothing was lost, and nothing was done twice.\n')
    return 0
  }
  process.stdout.write(
    `\nWrong (the files are left in ${folder}):\n${problems.map((one) => `  ${one}\n`).join('')}`,
  )
  return 1
}

/** Throws what parseArgs throws, and for a number that is none. */
function readOptions(argv: string[]) {
  const text = { type: 'string' } as const
  const { values } = parseArgs({
    args: argv,
    options: { rounds: text, generations: text, seed: text, help: { type: 'boolean', short: 'h' } },
  })
  return {
    rounds: wholeNumber('rounds', values.rounds) ?? 20,
    generations: wholeNumber('generations', values.generations) ?? 300,
    seed: wholeNumber('seed', values.seed) ?? randomInt(2 ** 31),
    help: values.help ?? false,
  }
}

function wholeNumber(name: string, text: string | undefined) {
  if (text === undefined) return undefined
  if (/^\d{1,9}$/u.test(text)) return Number(text)
  throw new Error(`--${name} ${text} is not a whole number.`)
}

/** One line that changes in place on a terminal, plain lines elsewhere. */
function say(text: string, end = process.stderr.isTTY ? '' : '\n') {
  process.stderr.write(process.stderr.isTTY ? `\r\x1b[2K${text}${end}` : `${text}${end}`)
}

process.exitCode = await main(process.argv.slice(2))
