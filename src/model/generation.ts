/** The nouns of Afterimage and the rules that need no I/O. */

export const GENERATION_STATUSES = [
  'requested',
  'processing',
  'unconfirmed',
  'succeeded',
  'failed',
] as const
/** The provider's story. `unconfirmed`: sent, and no readable answer came. */
export type GenerationStatus = (typeof GENERATION_STATUSES)[number]

export const ARCHIVE_STATUSES = ['none', 'pending', 'archived', 'partial', 'lost'] as const
/** Our story: what became of the images, derived position by position. */
export type ArchiveStatus = (typeof ARCHIVE_STATUSES)[number]

export const NSFW_VERDICTS = ['flagged', 'clear', 'unknown'] as const
/** Silence is `unknown`, never `clear`. */
export type NsfwVerdict = (typeof NSFW_VERDICTS)[number]

export type ImageSource = 'output' | 'proxy'
export type ImageStatus = 'pending' | 'archived' | 'lost'

/** The three roads by which the provider tells an outcome. */
export type Road = 'reply' | 'callback' | 'fetch'

export type GenerationFailureCode =
  'provider_refused' | 'rate_limited' | 'submission_unconfirmed' | 'no_result' | 'provider_failed'

/** The failures that only time decided: no message of the provider said so. */
export const DEADLINE_FAILURES: readonly GenerationFailureCode[] = [
  'rate_limited',
  'submission_unconfirmed',
  'no_result',
]

/**
 * An inpaint request as ModelsLab's schema describes it, normalised: numbers are numbers, absences
 * are nulls.
 */
export interface InpaintRequest {
  model_id: string
  prompt: string | null
  negative_prompt: string | null
  init_image: string
  mask_image: string
  width: number
  height: number
  samples: number
  steps: number
  guidance_scale: number
  strength: number
  scheduler: string
  use_karras_sigmas: 'yes' | 'no'
  algorithm_type: string
  clip_skip: number
  safety_checker: 'yes' | 'no'
  seed: number | null
}

/** One URL that the provider named for one image. */
export interface OfferedImage {
  source: ImageSource
  position: number
  url: string
}

/** What a message told besides its status. */
export interface Facts {
  providerId: string | null
  etaSeconds: number | null
  generationTimeSeconds: number | null
  seed: number | null
  meta: Record<string, unknown> | null
  tip: string | null
  webhookStatus: string | null
  /** Undefined where the message does not have the field at all. */
  nsfw: { value: unknown; verdict: NsfwVerdict } | undefined
  /** Whether the message has a `proxy_links` field, be it empty. */
  mentionsProxies: boolean
}

/** What the provider says of a generation, by any of the three roads. */
export type Outcome = Facts &
  (
    | { status: 'processing' }
    /** `cutOff`: how many links more it named than one message may. */
    | { status: 'succeeded'; images: OfferedImage[]; cutOff: number }
    | { status: 'failed'; message: string }
  )

/** What came of asking the provider: an outcome, or none. */
export type Reply =
  | Outcome
  /**
   * Nothing was accepted; try again later. Null: the provider did not say when. `full`: it refused
   * because enough is out already; else it was not reached at all.
   */
  | { status: 'held'; retryAfterSeconds: number | null; full: boolean; reason: string }
  /** Sent, and no readable answer: the job may be running or not. */
  | { status: 'unreadable'; reason: string }

/** Whether the provider itself spoke. */
export const answered = (reply: Reply) =>
  reply.status !== 'unreadable' && (reply.status !== 'held' || reply.full)

/** What a callback says; no outcome where it cannot be read. */
export interface CallbackReading {
  outcome: Outcome | null
  trackId: string | null
}

export const isTerminal = (status: GenerationStatus) =>
  status === 'succeeded' || status === 'failed'

/**
 * `flagged` if any report says so, else `clear` if any does: the order of the reports does not
 * matter.
 */
export function withReport(
  current: { verdict: NsfwVerdict; disputed: boolean },
  reported: NsfwVerdict,
) {
  const said = (verdict: NsfwVerdict) =>
    reported === verdict ||
    current.verdict === verdict ||
    (current.disputed && verdict !== 'unknown')
  const verdict: NsfwVerdict = said('flagged') ? 'flagged' : said('clear') ? 'clear' : 'unknown'
  return { verdict, disputed: said('flagged') && said('clear') }
}

/**
 * Two links name the same image when all but their query strings are equal: signatures change,
 * pictures do not.
 */
export const withoutQuery = (url: string) => url.replace(/[?#].*$/su, '')

const RETRY_SECONDS = [1, 2, 4, 8, 15, 30]
const LONGEST_RETRY_SECONDS = 30 * 60

/**
 * Milliseconds to wait after the `attempts`-th failed attempt (1, 2, …): 1, 2, 4, 8, 15, 30 s, then
 * doubling to 30 min, scaled by `baseSeconds`, with 20 % of jitter.
 */
export function retryDelayMs(attempts: number, baseSeconds: number, random = Math.random()) {
  const beyond = attempts - RETRY_SECONDS.length
  const seconds =
    RETRY_SECONDS[Math.max(attempts, 1) - 1] ??
    Math.min(30 * 2 ** Math.min(beyond, 10), LONGEST_RETRY_SECONDS)
  return Math.round(seconds * baseSeconds * 1000 * (0.8 + 0.4 * random))
}

const LONGEST_FETCH_DELAY_SECONDS = 600

/**
 * Milliseconds to wait before the next fetch when `fetches` of them told nothing: the grace,
 * doubling to 10 min.
 */
export function fetchDelayMs(fetches: number, graceSeconds: number) {
  const grace = Math.max(graceSeconds, 0.05)
  return Math.round(
    Math.min(grace * 2 ** Math.min(fetches, 20), LONGEST_FETCH_DELAY_SECONDS) * 1000,
  )
}
