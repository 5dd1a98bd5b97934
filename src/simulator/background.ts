import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'

/** Work that outlives the request that began it. All of it ends when `end` is called. */
export class Background {
  readonly #ending = new AbortController()
  readonly #running = new Set<Promise<void>>()
  readonly #failed: (error: unknown) => void

  /** `failed` hears of work that threw for any other reason than the end. */
  constructor(failed: (error: unknown) => void) {
    this.#failed = failed
    // Every waiting job listens for the end.
    setMaxListeners(0, this.#ending.signal)
  }

  get over() {
    return this.#ending.signal.aborted
  }

  run(work: Promise<void>) {
    const running = work
      .catch((error: unknown) => {
        if (!this.over) this.#failed(error)
      })
      .finally(() => this.#running.delete(running))
    this.#running.add(running)
  }

  /** Rejects at the end. */
  async sleep(seconds: number) {
    await sleep(seconds * 1000, undefined, { signal: this.#ending.signal })
  }

  /**
   * A signal of its own, aborted after `seconds` or at the end; `free` is to be called when it has
   * served.
   */
  deadline(seconds: number, reason: string) {
    const deadline = new AbortController()
    const abort = () => deadline.abort(new Error(reason))
    // Not AbortSignal.any: Node 20 lets its timeout signals be collected before they fire
    // (nodejs/node#54614).
    const timer = setTimeout(abort, seconds * 1000)
    this.#ending.signal.addEventListener('abort', abort)
    if (this.over) abort()
    const free = () => {
      clearTimeout(timer)
      this.#ending.signal.removeEventListener('abort', abort)
    }
    return { signal: deadline.signal, free }
  }

  async end() {
    this.#ending.abort()
    await Promise.all(this.#running)
  }
}
