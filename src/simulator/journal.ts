/** One POST of a callback to a webhook. */
export interface Delivery {
  /** Milliseconds since the epoch, when the answer was in or given up. */
  at: number
  status: 'success' | 'failed' | 'processing'
  /** The HTTP status that the webhook answered; null where it answered nothing. */
  answer: number | null
  /** Why there is no answer. */
  problem: string | null
}

/** A link that was handed out, with the HTTP status of every GET it had. */
export interface Link {
  source: 'output' | 'proxy'
  position: number
  /** Links of one job that have it in common show the same. */
  picture: number
  /** Without what signs it. */
  url: string
  /** Named only where a message is to contradict the result. */
  other: boolean
  gets: number[]
}

/**
 * One POST to the inpaint door, and all that came of it. Times are milliseconds since the epoch.
 */
export interface Submission {
  receivedAt: number
  trackId: string | null
  webhook: string | null
  /** `refused` until it is accepted. */
  state: 'refused' | 'processing' | 'success' | 'failed'
  endedAt: number | null
  /** Null for what was refused. */
  providerId: number | string | null
  /**
   * The HTTP code and the status in the body (null where there is none), or `cut`; null while it is
   * still unanswered.
   */
  reply: { code: number; status: string | null } | 'cut' | null
  links: Link[]
  callbacks: Delivery[]
  /** What each fetch of it was answered; status is as in `reply`. */
  fetches: { at: number; code: number; status: string | null }[]
}

/** So many submissions are remembered; older ones are forgotten, with their links. */
export const REMEMBERED = 20_000

/** What a search of the journal returns when it has found nothing yet. */
export type Nothing = undefined | null | false | 0 | ''

/** Everything the simulator was asked and what it did, oldest first. */
export class Journal {
  readonly #submissions: Submission[] = []
  readonly #watchers = new Set<() => void>()

  /** As it is now; what happens later does not show in it. */
  submissions(): Submission[] {
    return structuredClone(this.#submissions)
  }

  received(submission: Submission): Submission {
    this.#submissions.push(submission)
    if (this.#submissions.length > REMEMBERED) this.#submissions.shift()
    this.changed()
    return submission
  }

  /** To be called after every change to a submission. */
  changed() {
    for (const look of this.#watchers) look()
  }

  /**
   * Resolves with what `find` finds, as soon as that is truthy. `find` is run now and after every
   * change, on the live entries. Rejects after `timeoutMs`, saying what the journal held.
   */
  until<T>(
    find: (submissions: readonly Submission[]) => T | Nothing,
    timeoutMs = 5000,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        clearTimeout(timer)
        this.#watchers.delete(look)
        act()
      }
      const look = () => {
        try {
          const found = find(this.#submissions)
          if (found) settle(() => resolve(found))
        } catch (error) {
          settle(() => reject(error instanceof Error ? error : new Error(String(error))))
        }
      }
      const timer = setTimeout(() => settle(() => reject(this.#notFound(timeoutMs))), timeoutMs)
      this.#watchers.add(look)
      look()
    })
  }

  #notFound(timeoutMs: number) {
    const latest = JSON.stringify(this.#submissions.slice(-5), null, 1)
    return new Error(`not found within ${timeoutMs} ms; the journal's latest entries: ${latest}`)
  }
}
