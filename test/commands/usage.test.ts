import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { command } from '../support/process/command.ts'

const COMMANDS = ['serve', 'demo', 'simulator', 'verify', 'completeness', 'rebuild']
const { version } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
) as { version: string }

const tooWide = (text: string) => text.split('\n').filter(({ length }) => length > 80)

it.each([[], ['--help']])('lists the commands when called with %j', async (...argv) => {
  const { code, out, err } = await command(argv)

  expect([code, err, tooWide(out)]).toEqual([0, '', []])
  for (const name of COMMANDS) expect(out).toMatch(new RegExp(`^ {2}${name} `, 'mu'))
  expect(out).toContain('Usage: npm run -s afterimage -- COMMAND')
})

it.each(['version', '--version'])('tells its version: %s', async (word) => {
  expect(await command([word])).toMatchObject({ code: 0, out: `${version}\n`, err: '' })
})

it('ends with 2 where it has no such command, and lists those that it has', async () => {
  const { code, out, err } = await command(['verfy'])

  expect([code, out]).toEqual([2, ''])
  expect(err).toMatch(/^afterimage: there is no command "verfy"\n[^]*\n {2}verify /u)
})

it.each(COMMANDS)('%s --help says what it does on a terminal of 80 columns', async (name) => {
  const { code, out, err } = await command([name, '--help'], { S3_ENDPOINT: 'nowhere' })

  expect([code, err, tooWide(out)]).toEqual([0, '', []])
  expect(out).toContain(` ${name} `)
})

it('serve ends with 2 for an option, since it has none, before it does anything', async () => {
  const { code, out, err } = await command(['serve', '--port', '1'])

  expect([code, out, err]).toEqual([2, '', expect.stringContaining("Unknown option '--port'")])
})
