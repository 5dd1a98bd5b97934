import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/**
 * One of our TypeScript files in a process of its own, to be killed or to be watched. stdout and
 * stderr are pipes.
 */
export function spawnTypeScript(file: URL, args: string[]) {
  return spawn(process.execPath, [fileURLToPath(file), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}
