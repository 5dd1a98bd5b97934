import { describe, expect, it } from 'vitest'
import { jsonLog } from '../../src/observe/log.ts'
import type { LogLevel } from '../../src/deps.ts'

const LEVELS: LogLevel[] = ['debug', 'info', 'warn', 'error']

/** A log and the lines it wrote. */
function logging({
  level = 'debug',
  secrets = ['hunter2'],
}: { level?: LogLevel; secrets?: string[] } = {}) {
  const lines: string[] = []
  const log = jsonLog({
    level,
    secrets,
    now: () => Date.UTC(2026, 0, 31, 12),
    write: (line) => lines.push(line),
  })
  return { log, lines, last: () => JSON.parse(lines.at(-1) ?? '') as Record<string, unknown> }
}

describe('jsonLog', () => {
  it('writes one JSON object a line, with its time, level and message first', () => {
    const { log, lines } = logging()

    log('info', 'two\nlines', { generation: 'x', n: 1 })

    expect(lines).toEqual([
      '{"time":"2026-01-31T12:00:00.000Z","level":"info","message":"two\\nlines","generation":"x","n":1}',
    ])
  })

  it.each([
    ['debug', LEVELS],
    ['info', ['info', 'warn', 'error']],
    ['warn', ['warn', 'error']],
    ['error', ['error']],
  ] as const)('at %s writes %j', (level, expected) => {
    const { log, lines } = logging({ level })

    for (const at of LEVELS) log(at, 'x')

    expect(lines.map((line) => (JSON.parse(line) as { level: string }).level)).toEqual(expected)
  })

  it('writes errors whole: name, message, stack, code and causes', () => {
    const { log, last } = logging()
    const cause = Object.assign(new TypeError('no route'), { code: 'EHOSTUNREACH' })

    log('error', 'x', { error: new Error('cannot', { cause }) })

    expect(last()['error']).toMatchObject({
      name: 'Error',
      message: 'cannot',
      stack: expect.stringContaining('log.test.ts') as string,
      cause: { name: 'TypeError', message: 'no route', code: 'EHOSTUNREACH' },
    })
  })

  it('writes every one of several errors in one', () => {
    const { log, last } = logging()

    log('error', 'x', { error: new AggregateError([new Error('by IPv6'), new Error('by IPv4')]) })

    expect(last()['error']).toMatchObject({
      errors: [{ message: 'by IPv6' }, { message: 'by IPv4' }],
    })
  })

  it('replaces secrets wherever they stand: message, fields, names, errors', () => {
    const { log, lines } = logging({ secrets: ['hunter2', 'se/"cret'] })

    log('error', 'hunter2', {
      hunter2: 'a hunter2 b',
      deep: [{ x: 'se/"cret' }],
      error: new Error('hunter2'),
    })

    expect(lines[0]).toContain('***')
    expect(lines[0]).not.toContain('hunter2')
    expect(lines[0]).not.toContain('cret')
  })

  it('shows no query of a link, wherever it stands', () => {
    const { log, lines, last } = logging()
    const link = 'https://cdn.test/1.png?X-Goog-Signature=5f5f&never-heard-of=5f5f'
    const shown = 'https://cdn.test/1.png?X-Goog-Signature=***&never-heard-of=***'

    log('error', `no ${link}`, {
      url: link,
      deep: [{ words: `"${link}" again` }],
      error: new Error(`cannot ask for ${link}`, { cause: new Error(link) }),
    })

    expect(lines[0]).not.toContain('5f5f')
    expect(last()).toMatchObject({
      message: `no ${shown}`,
      url: shown,
      deep: [{ words: `"${shown}" again` }],
      error: { message: `cannot ask for ${shown}`, cause: { message: shown } },
    })
  })

  it('is not slow on a megabyte of beginnings of links', () => {
    const { log } = logging()
    const startedAt = performance.now()
    log('error', 'https:'.repeat(200_000), { a: `?${'http:'.repeat(200_000)}` })
    expect(performance.now() - startedAt).toBeLessThan(5000)
  })

  const circular: Record<string, unknown> = {}
  circular['self'] = circular
  const selfCaused = new Error('x')
  selfCaused.cause = selfCaused
  it.each([
    ['a circle', circular],
    ['an error that is its own cause', selfCaused],
    [
      'a getter that throws',
      {
        get: Object.defineProperty({}, 'x', {
          enumerable: true,
          get: () => {
            throw new Error('no')
          },
        }),
      },
    ],
  ])('does not throw for %s, and keeps the message', (_what, field) => {
    const { log, last } = logging()

    log('error', 'kept', { field })

    expect(last()).toMatchObject({ level: 'error', message: 'kept', unreadable: ['field'] })
  })

  it('writes big integers as text', () => {
    const { log, last } = logging()

    log('info', 'x', { n: 2n ** 64n })

    expect(last()['n']).toBe('18446744073709551616')
  })
})
