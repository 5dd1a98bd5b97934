import { createHash } from 'node:crypto'
import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const CACHE = join(ROOT, 'node_modules', '.cache', 'afterimage-process')
const STALE_MS = 60 * 60 * 1000

/** tsconfig.build.json, without its checks. */
const compilerOptions: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2023,
  module: ts.ModuleKind.ESNext,
  verbatimModuleSyntax: true,
  isolatedModules: true,
  rewriteRelativeImportExtensions: true,
}

interface Source {
  name: string
  text: string
}

/** One change to the sources: what a control breaks on purpose. */
export interface Break {
  file: string
  from: string
  to: string
}

/**
 * What `npm run build` makes of the sources as they are now; returns its `cli.js`. Its folder is
 * named by their hash, so that test files share it and a half-written `dist` disturbs nobody.
 * Throws for a break that does not fit the sources.
 */
export async function builtCli(...breaks: Break[]) {
  const sources = breaks.reduce(broken, await readSources(join(ROOT, 'src')))
  const hash = createHash('sha256').update(JSON.stringify(sources)).digest('hex').slice(0, 16)
  const folder = join(CACHE, hash)
  const isThere = await stat(folder).catch(() => null)
  if (!isThere) await build(sources, folder)
  return join(folder, 'dist', 'cli.js')
}

function broken(sources: Source[], { file, from, to }: Break): Source[] {
  const parts = sources.find(({ name }) => name === file)?.text.split(from) ?? []
  if (parts.length !== 2) throw new Error(`${file} does not have it exactly once: ${from}`)
  return sources.map((source) =>
    source.name === file ? { name: file, text: parts.join(to) } : source,
  )
}

async function readSources(folder: string): Promise<Source[]> {
  const names = (await readdir(folder, { recursive: true }))
    .filter((name) => name.endsWith('.ts'))
    .toSorted()
  return Promise.all(
    names.map(async (name) => ({ name, text: await readFile(join(folder, name), 'utf8') })),
  )
}

async function build(sources: Source[], folder: string) {
  await mkdir(CACHE, { recursive: true })
  await removeStale()
  const temp = await mkdtemp(join(CACHE, 'new-'))
  await Promise.all(sources.map((source) => emit(join(temp, 'dist'), source)))
  await symlink(join(ROOT, 'migrations'), join(temp, 'migrations'))
  await symlink(join(ROOT, 'package.json'), join(temp, 'package.json'))
  // Whoever was faster built the same.
  await rename(temp, folder).catch(() => rm(temp, { recursive: true }))
}

async function emit(folder: string, { name, text }: Source) {
  const path = join(folder, name.replace(/\.ts$/u, '.js'))
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, ts.transpileModule(text, { compilerOptions, fileName: name }).outputText)
}

async function removeStale() {
  for (const name of await readdir(CACHE)) {
    const path = join(CACHE, name)
    const stats = await stat(path).catch(() => null)
    if (stats && stats.mtimeMs < Date.now() - STALE_MS)
      await rm(path, { recursive: true, force: true })
  }
}
