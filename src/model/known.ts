import type { Generation } from './generation.ts'
import type { ImageSource, ImageStatus, OfferedImage } from './image.ts'
import type { NsfwVerdict } from './verdict.ts'
import type { Road } from './outcome.ts'

/** The facts of a generation that a message may change. A decision states each of them. */
export const SETTLED = [
  'status',
  'providerId',
  'finishedAt',
  'generationTimeS',
  'etaS',
  'seed',
  'seedDigits',
  'meta',
  'tip',
  'webhookStatus',
  'promised',
  'failureCode',
  'failureMessage',
  'nsfwVerdict',
  'nsfwDisputed',
  'fetchDueAt',
  'fetches',
  'fetchOwed',
] as const satisfies readonly (keyof Generation)[]

export type Settled = Pick<Generation, (typeof SETTLED)[number]>

/** Those facts of a row, and nothing else of it. */
export const settledOf = (row: Settled): Settled =>
  Object.fromEntries(SETTLED.map((name) => [name, row[name]])) as unknown as Settled

export interface KnownImage {
  source: ImageSource
  position: number
  status: ImageStatus
  /** Every known place is exhausted, and fresh links have been asked for. */
  parked: boolean
}

export interface KnownOffer extends OfferedImage {
  contradicts: boolean
}

/** Whether a message that nothing contradicted offered it as an output. */
export const isStandingOutput = ({ source, contradicts }: KnownOffer) =>
  source === 'output' && !contradicts

/** A generation as a decision needs to see it. */
export interface Known {
  generation: Settled & Pick<Generation, 'id' | 'version' | 'archiveStatus'>
  images: KnownImage[]
  offers: KnownOffer[]
  /** The delivery that first brought the very body that is at hand; null where none did. */
  firstDelivery: string | null
}

export interface NewOffer extends OfferedImage {
  expiresAt: number
  contradicts: boolean
}

export interface NsfwReport {
  value: unknown
  verdict: NsfwVerdict
}

export const CALLBACK_DECISIONS = [
  'accepted',
  'duplicate',
  'late',
  'processing',
  'contradicts',
  'recovered',
  'unreadable',
  'mismatched',
  'too_large',
] as const
/** What became of a callback. */
export type CallbackDecision = (typeof CALLBACK_DECISIONS)[number]

/** A callback as it is kept. */
export interface CallbackEvidence {
  id: string
  receivedAt: number
  body: Uint8Array
  bodySha256: string
}

/** What happens to a generation and has no row of its own. */
export type EventName =
  | 'requested'
  | 'submitted'
  | 'held'
  | 'replied'
  | 'fetched'
  | 'attempt'
  | 'archived'
  | 'lost'
  | 'failed'
  | 'retried'
  | 'record_written'

/** Everything that one message changes, made from one version of the generation. */
export interface Decision {
  road: Road
  at: number
  next: Settled
  offers: NewOffer[]
  /** Links that were only promised, to be tried. */
  tries: NewOffer[]
  /** Whether what came of such links is forgotten. */
  forgetsTried: boolean
  report: NsfwReport | null
  /** The outputs that an answered fetch left out; null where there was none. */
  unnamed: KnownOffer[] | null
  /** Parked images for which no fresh link came. */
  lost: Pick<KnownImage, 'source' | 'position'>[]
  events: { event: EventName; detail: Record<string, unknown> }[]
  callback: (CallbackEvidence & { decision: CallbackDecision }) | null
}
