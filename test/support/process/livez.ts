import { setTimeout as delay } from 'node:timers/promises'
import { ask } from './client.ts'
import type { Program } from './program.ts'

/**
 * Asks `/livez` again and again until it is asked how long an answer took at most. Throws where one
 * is not 200.
 */
export function pollLivez(program: Pick<Program, 'url'>) {
  let over = false
  const poll = async () => {
    let longest = 0
    while (!over) {
      const asked = performance.now()
      const { status } = await ask(program, '/livez')
      if (status !== 200) throw new Error(`/livez answered ${status}`)
      longest = Math.max(longest, performance.now() - asked)
      await delay(20)
    }
    return longest
  }
  const polling = poll()
  // Told to whoever asks in the end.
  polling.catch(() => undefined)
  return {
    longestGapMs: () => {
      over = true
      return polling
    },
  }
}
