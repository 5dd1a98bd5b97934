import { stripVTControlCharacters } from 'node:util'
import { describe, expect, it } from 'vitest'
import type { Output } from '../../../src/commands/terminal/output.ts'
import { showProgress } from '../../../src/commands/terminal/progress.ts'

const ESCAPE = '\x1b'

describe('showProgress', () => {
  const screen = (size: Omit<Output, 'write'>, env: Record<string, string> = {}) => {
    let written = ''
    const progress = showProgress(
      ['one', 'two'],
      { ...size, write: (text) => (written += text) },
      env,
    )
    progress.show(1, 'succeeded, archived ■■', 'good')
    progress.end()
    return written
  }

  it.each([
    ['a size', { isTTY: true, rows: 40, columns: 120 }],
    ['a size that nobody told', { isTTY: true, rows: 0, columns: 0 }],
  ])('draws on a terminal with %s', (_what, size) => {
    expect(screen(size)).toContain(`  two  succeeded, archived ■■${ESCAPE}[0m\n`)
  })

  it('keeps each line within the terminal', () => {
    expect(stripVTControlCharacters(screen({ isTTY: true, rows: 40, columns: 12 }))).toContain(
      '\n  two  succ\n',
    )
  })

  it.each([
    ['in a pipe', {}, {}],
    ['on a terminal too low for all lines', { isTTY: true, rows: 4, columns: 80 }, {}],
    ['on a dumb terminal', { isTTY: true, rows: 40, columns: 80 }, { TERM: 'dumb' }],
  ])('writes plain lines %s', (_what, size, env) => {
    expect(screen(size, env)).toMatch(/^ +0\.0 s {2}two: succeeded, archived ■■\n$/u)
  })
})
