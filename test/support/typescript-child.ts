import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { fileURLToPath, pathToFileURL } from 'node:url'

// Node 20 runs no TypeScript: each `.ts` that the child loads goes through the compiler on its way
// in (node:module, hooks).
const compiler = pathToFileURL(createRequire(import.meta.url).resolve('typescript'))
const hooks = `
import { readFile } from 'node:fs/promises'
import ts from '${compiler.href}'

const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023 }

export async function load(url, context, next) {
  if (!url.endsWith('.ts')) return next(url, context)
  const { outputText } = ts.transpileModule(await readFile(new URL(url), 'utf8'), { compilerOptions })
  return { format: 'module', source: outputText, shortCircuit: true }
}`
const register = `import { register } from 'node:module'; register(${JSON.stringify(moduleOf(hooks))})`

/**
 * One of our TypeScript files in a process of its own, to be killed or to be watched. stdout and
 * stderr are pipes.
 */
export function spawnTypeScript(file: URL, args: string[], env: NodeJS.ProcessEnv = process.env) {
  const command = ['--import', moduleOf(register), fileURLToPath(file), ...args]
  return spawn(process.execPath, command, { env, stdio: ['ignore', 'pipe', 'pipe'] })
}

function moduleOf(source: string) {
  return `data:text/javascript,${encodeURIComponent(source)}`
}
