import { execFileSync, spawn } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { until } from './program.ts'

/**
 * One system call, as strace(1) shows it. Where it began and ended is told by the number of its
 * line.
 */
export interface Call {
  name: string
  /** What its first argument, a descriptor, stands for: a path, or `socket:[inode]`. */
  on: string
  /** Everything else that is shown of it: what was written or read, and the result. */
  text: string
  began: number
  ended: number
}

const TRACED = [
  'read',
  'write',
  'writev',
  'sendto',
  'sendmsg',
  'pwrite64',
  'pwritev',
  'fsync',
  'fdatasync',
]

/**
 * The calls of a process from now until `stop`. Null, said aloud, where it may not be watched; with
 * `CI=true` that throws.
 */
export async function watchCalls(pid: number, log: string) {
  // Longer than a page of the database.
  const options = [
    '-f',
    '-y',
    '-qq',
    '-s',
    '8192',
    '-e',
    `trace=${TRACED.join(',')}`,
    '-o',
    log,
    '-p',
    String(pid),
  ]
  const strace = spawn('strace', options, { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  strace.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const ended = new Promise<void>((resolve) =>
    strace.once('close', () => resolve()).once('error', () => resolve()),
  )
  await until(
    async () => (await isTraced(pid)) || strace.exitCode !== null || strace.pid === undefined,
  )
  if (!(await isTraced(pid))) return notPermitted(said)
  return {
    stop: async () => {
      strace.kill('SIGINT')
      await ended
      return callsIn(await readFile(log, 'latin1'))
    },
  }
}

/**
 * What a program is to be started under so that strace follows it with these options from its first
 * call, and ends with it. Null as above.
 */
export function straced(...options: string[]): string[] | null {
  try {
    execFileSync('strace', ['-qq', '-o', '/dev/null', 'true'], { stdio: 'pipe' })
  } catch (error) {
    return notPermitted(String(error))
  }
  return ['strace', '-D', '-f', '-qq', ...options]
}

/** Whether all its threads are, one of which writes the ledger: proc(5). */
async function isTraced(pid: number) {
  const threads = await readdir(`/proc/${pid}/task`)
  const untraced = await Promise.all(
    threads.map((thread) => isUntraced(`/proc/${pid}/task/${thread}`)),
  )
  return !untraced.includes(true)
}

/** A thread that ends just then has no more to say. */
const isUntraced = (task: string) =>
  readFile(`${task}/status`, 'utf8').then(
    (status) => /^TracerPid:\s*0$/mu.test(status),
    () => false,
  )

function notPermitted(said: string) {
  const message = `SKIPPED: system calls cannot be watched without strace and the right to use it. ${said}`
  if (process.env['CI'] === 'true') throw new Error(message)
  console.warn(message)
  return null
}

/** Calls that other threads' lines interrupt are shown in two parts. */
export function callsIn(log: string): Call[] {
  const calls: Call[] = []
  const unfinished = new Map<string, Call>()
  for (const [line, text] of log.split('\n').entries()) {
    const resumed = /^(\d+) +<\.\.\. \w+ resumed>(.*)$/su.exec(text)
    const begun = /^(\d+) +(\w+)\(\d+<(.*?)>(.*)$/su.exec(text)
    if (resumed) {
      const [, thread = '', rest = ''] = resumed
      const call = unfinished.get(thread)
      unfinished.delete(thread)
      if (call) Object.assign(call, { text: call.text + rest, ended: line })
    } else if (begun) {
      const [, thread = '', name = '', on = '', rest = ''] = begun
      const call = { name, on, text: rest, began: line, ended: line }
      calls.push(call)
      if (rest.endsWith('<unfinished ...>'))
        unfinished.set(thread, Object.assign(call, { ended: Infinity }))
    }
  }
  return calls
}
