import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { command } from '../support/process/command.ts'

/** Runs before the program: a Node that says it is another, and that lists the files it loads. */
const pretending = (version: string) => `
import { registerHooks } from 'node:module'
const files = []
registerHooks({
  load: (url, context, next) => {
    if (url.startsWith('file:')) files.push(url)
    return next(url, context)
  },
})
Object.defineProperty(process, 'version', { value: 'v${version}' })
Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${version}' } })
process.on('exit', () => process.stdout.write('loaded ' + files.join(' ')))`

async function helpOn(version: string) {
  const preload = `data:text/javascript,${encodeURIComponent(pretending(version))}`
  const { code, out, err } = await command(['--help'], { NODE_OPTIONS: `--import=${preload}` })
  const [said, loaded = ''] = out.split('loaded ')
  return { code, said, err, loaded: loaded.split(' ').map((url) => basename(url)) }
}

describe('a Node that the program', () => {
  it.each(['20.20.2', '22.18.0', '23.11.1', '25.9.0'])(
    'does not run on is told what it needs, and nothing else is loaded (%s)',
    async (version) => {
      expect(await helpOn(version)).toEqual({
        code: 2,
        said: '',
        err: `afterimage needs Node 22 from 22.19 on, Node 24, or Node 26 and later, and this is v${version}.\n`,
        loaded: ['cli.js'],
      })
    },
  )

  it.each(['22.19.0', '24.0.0', '26.0.0'])('runs on is not kept from it (%s)', async (version) => {
    const { code, said, err } = await helpOn(version)
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(said).toContain('Usage: npm run -s afterimage -- COMMAND')
  })
})

it('says in package.json what it needs', async () => {
  const text = await readFile(join(import.meta.dirname, '../../package.json'), 'utf8')
  const { engines } = JSON.parse(text) as { engines: { node: string } }
  expect(engines.node).toBe('^22.19.0 || ^24.0.0 || >=26.0.0')
})
