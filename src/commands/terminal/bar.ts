import type { Output } from './output.ts'
import { grouped } from './words.ts'

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
