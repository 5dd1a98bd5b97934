import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { expect, it } from 'vitest'

const SRC = join(import.meta.dirname, '../src')
const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) =>
  file.endsWith('.ts'),
)
const importsOf = (file: string) => importsIn(readFileSync(join(SRC, file), 'utf8'), file)
const importsIn = (text: string, file: string) =>
  [...text.matchAll(/(?:from|import\()\s*'([^']+)'/gu)].map(([, name = '']) =>
    name.startsWith('.') ? relative(SRC, join(SRC, dirname(file), name)) : name,
  )
const folderOf = (file: string) => (file.includes('/') ? file.split('/')[0] : '')

const WIRING = ['cli.ts', 'commands/main.ts', 'node.ts', 'worker.ts']
const ONLY_NODE = [
  'better-sqlite3',
  '@hono/node-server',
  'undici',
  'node:fs',
  'node:http',
  'node:net',
  'node:dns',
  'sharp',
]
const onlyOnNode = (file: string) =>
  WIRING.includes(file) || /\.node\.ts$|^demo\/|^simulator\//u.test(file)

it.each(files.filter((file) => !WIRING.includes(file) && !file.startsWith('demo/')))(
  '%s is wired by node.ts, worker.ts and cli.ts alone',
  (file) => {
    expect(importsOf(file).filter((name) => WIRING.includes(name))).toEqual([])
  },
)

/**
 * Every module and package that `file` reaches, by whatever way; types that are erased do not
 * count.
 */
function reachedFrom(file: string, reached = new Set<string>()) {
  if (reached.has(file)) return reached
  reached.add(file)
  if (file.endsWith('.ts')) for (const name of runtimeImportsOf(file)) reachedFrom(name, reached)
  return reached
}

const runtimeImportsOf = (file: string) => {
  const text = readFileSync(join(SRC, file), 'utf8').replaceAll(
    /^(?:import|export) type [^;']*?from '[^']+'$/gmu,
    '',
  )
  return importsIn(text, file)
}

it('has a Worker that reaches nothing of what runs on Node alone', () => {
  const reached = [...reachedFrom('worker.ts')]
  expect(reached).toContain('ledger/settle.ts')
  expect(reached.filter((name) => onlyOnNode(name) && name !== 'worker.ts')).toEqual([])
  expect(
    reached.filter((name) => ONLY_NODE.some((one) => name === one || name.startsWith(`${one}/`))),
  ).toEqual([])
})

it.each(files.filter((file) => !onlyOnNode(file)))('%s runs on Workers too', (file) => {
  const needs = importsOf(file).filter(
    (name) =>
      ONLY_NODE.some((one) => name === one || name.startsWith(`${one}/`)) ||
      /\.node\.ts$/u.test(name),
  )
  expect(needs).toEqual([])
})

const ADAPTERS = ['ledger', 'objects', 'modelslab', 'http', 'simulator']
it.each(files.filter((file) => ADAPTERS.includes(folderOf(file) ?? '')))(
  '%s imports no other adapter',
  (file) => {
    const others = ADAPTERS.filter((folder) => folder !== folderOf(file))
    const names = importsOf(file).filter((name) => others.includes(folderOf(name) ?? ''))
    // What doors show is read from the ledger directly: a service in between would only forward.
    expect(
      names.filter((name) => !(file.startsWith('http/') && name.startsWith('ledger/'))),
    ).toEqual([])
  },
)

it('has a verb that reaches no adapter but by its port', () => {
  const verbs = files.filter((file) => file.startsWith('work/'))
  const reached = verbs
    .flatMap(importsOf)
    .filter((name) => /^(?:http|objects|simulator)\//u.test(name))
  expect(reached).toEqual([])
})

it('keeps the simulator apart: a stand-in that shares code with what it stands in for proves nothing', () => {
  const reached = files.filter((file) => file.startsWith('simulator/')).flatMap(importsOf)
  expect(reached.filter((name) => name.endsWith('.ts') && !name.startsWith('simulator/'))).toEqual(
    [],
  )
})
