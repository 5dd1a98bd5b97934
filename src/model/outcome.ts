import type { OfferedImage } from './image.ts'
import type { Seed } from './seed.ts'
import type { NsfwVerdict } from './verdict.ts'

/** The three roads by which the provider tells an outcome. */
export type Road = 'reply' | 'callback' | 'fetch'

/** Links that show nothing yet, of the last message that named any, and the road it came by. */
export interface Promised {
  by: Road
  links: OfferedImage[]
}

/** What a message told besides its status. */
export interface Facts {
  providerId: string | null
  etaSeconds: number | null
  generationTimeSeconds: number | null
  seed: Seed | null
  meta: Record<string, unknown> | null
  tip: string | null
  webhookStatus: string | null
  /** Undefined where the message does not have the field at all. */
  nsfw: { value: unknown; verdict: NsfwVerdict } | undefined
  /** Whether the message has a `proxy_links` field, be it empty. */
  mentionsProxies: boolean
  /** Links that may show something later. */
  promised: OfferedImage[]
  /** How many links more it names than one message may. */
  cutOff: number
}

/** What the provider says of a generation, by any of the three roads. */
export type Outcome = Facts &
  (
    | { status: 'processing' }
    | { status: 'succeeded'; images: OfferedImage[] }
    | { status: 'failed'; message: string }
  )

/** What came of asking the provider: an outcome, or none. */
export type Reply =
  | Outcome
  /**
   * Nothing was accepted; try again later. Null: the provider did not say when. `full`: it refused
   * because enough is out already; else its API was not reached, and `unsent`: nor was anybody.
   */
  | ({
      status: 'held'
      retryAfterSeconds: number | null
      full: boolean
      unsent?: boolean
      reason: string
    } & Answer)
  /** Sent, and no readable answer: the job may be running or not. */
  | ({ status: 'unreadable'; reason: string } & Answer)

interface Answer {
  /** HTTP status and path of what was answered instead; neither is a secret. */
  answer?: string
}

/** Whether the provider itself spoke. */
export const answered = (reply: Reply) =>
  reply.status !== 'unreadable' && (reply.status !== 'held' || reply.full)

/** What a callback says; no outcome where it cannot be read. */
export interface CallbackReading {
  outcome: Outcome | null
  trackId: string | null
}
