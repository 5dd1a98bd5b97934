import { writeFileSync } from 'node:fs'
import { arch, cpus, platform, release } from 'node:os'

/** One line of the table: a figure beside its reference, both from this run. */
export interface Row {
  name: string
  ours: string
  reference: string
  /** Of the medians, or what else the aim is about. */
  value: number
  unit: string
  aim: string
  met: boolean
}

const atLeast = (least: number, unit = '×') => ({
  aim: `≥ ${least}${unit}`,
  unit,
  meets: (value: number) => value >= least,
})
const atMost = (most: number, unit = '×') => ({
  aim: `≤ ${most}${unit}`,
  unit,
  meets: (value: number) => value <= most,
})
/** Nothing is aimed at: the figure is there to be known. */
const none = (unit = '×') => ({ aim: '—', unit, meets: () => true })
export const aims = { atLeast, atMost, none }

export function row(
  name: string,
  ours: string,
  reference: string,
  value: number,
  { aim, unit, meets }: ReturnType<typeof atLeast>,
): Row {
  return { name, ours, reference, value, unit, aim, met: meets(value) }
}

export function printTable(rows: readonly Row[]) {
  const cells = [
    ['', 'ours', 'reference', 'value', 'aim', ''],
    ...rows.map(({ name, ours, reference, value, unit, aim, met }) => [
      name,
      ours,
      reference,
      `${value >= 100 ? value.toFixed(0) : value.toPrecision(3)}${unit}`,
      aim,
      met ? 'met' : 'MISSED',
    ]),
  ]
  const widths =
    cells[0]?.map((_, column) => Math.max(...cells.map((line) => line[column]?.length ?? 0))) ?? []
  for (const line of cells)
    process.stdout.write(
      `${line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd()}\n`,
    )
}

export function writeJson(path: string, rows: readonly Row[]) {
  const machine = `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, ${platform()} ${release()} ${arch()}, node ${process.version}`
  writeFileSync(
    path,
    `${JSON.stringify({ at: new Date().toISOString(), machine, rows }, null, 2)}\n`,
  )
}

/** Messages go to stderr: stdout is for the table. */
export const say = (text: string) => process.stderr.write(`${text}\n`)
