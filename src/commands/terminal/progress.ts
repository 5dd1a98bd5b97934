import type { Output } from './output.ts'

/** One line a generation. */
export interface Progress {
  /** What is to be seen of the line `index` now. */
  show: (index: number, text: string, tone: Tone) => void
  /** Leaves what is shown, and the cursor below it. */
  end: () => void
}

export type Tone = 'waiting' | 'good' | 'bad'

const COLOURS: Record<Tone, string> = { waiting: '\x1b[2m', good: '\x1b[32m', bad: '\x1b[31m' }

/**
 * Lines that change in place on a terminal that is high enough; elsewhere one plain line for each
 * change.
 */
export function showProgress(
  names: string[],
  output: Output,
  env: Record<string, string | undefined>,
): Progress {
  const isTerminal =
    output.isTTY === true && env['TERM'] !== 'dumb' && (output.rows || 24) > names.length + 2
  return isTerminal ? live(names, output, !env['NO_COLOR']) : plain(names, output)
}

function plain(names: string[], output: Output): Progress {
  const began = Date.now()
  const last = new Map<number, string>()
  return {
    show: (index, text) => {
      if (last.get(index) === text) return
      last.set(index, text)
      output.write(
        `${((Date.now() - began) / 1000).toFixed(1).padStart(5)} s  ${names[index] ?? ''}: ${text}\n`,
      )
    },
    end: () => undefined,
  }
}

const HIDE_CURSOR = '\x1b[?25l'
const SHOW_CURSOR = '\x1b[?25h'

function live(names: string[], output: Output, coloured: boolean): Progress {
  const width = Math.max(...names.map(({ length }) => length))
  const lines = names.map((name) => `  ${name}`)
  const draw = () => lines.map((line) => `\x1b[2K${line}\n`).join('')
  output.write(HIDE_CURSOR + draw())
  return {
    show: (index, text, tone) => {
      const plainLine = `  ${(names[index] ?? '').padEnd(width)}  ${text}`.slice(
        0,
        (output.columns || 80) - 1,
      )
      const line = coloured ? `${COLOURS[tone]}${plainLine}\x1b[0m` : plainLine
      if (lines[index] === line) return
      lines[index] = line
      output.write(`\x1b[${lines.length}A${draw()}`)
    },
    end: () => output.write(SHOW_CURSOR),
  }
}
