import type { Promised } from './outcome.ts'
import type { NsfwVerdict } from './verdict.ts'

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

export type GenerationFailureCode =
  'provider_refused' | 'rate_limited' | 'submission_unconfirmed' | 'no_result' | 'provider_failed'

/** The failures that only time decided: no message of the provider said so. */
export const DEADLINE_FAILURES: readonly GenerationFailureCode[] = [
  'rate_limited',
  'submission_unconfirmed',
  'no_result',
]

export const isTerminal = (status: GenerationStatus) =>
  status === 'succeeded' || status === 'failed'

/** A generation as the ledger keeps it. Times are in milliseconds since the epoch. */
export interface Generation {
  /** A UUIDv7: the order of ids is the order of requests. The provider knows it as `track_id`. */
  id: string
  /** Raised by every write; a decision is written only over the version it was made from. */
  version: number
  status: GenerationStatus
  archiveStatus: ArchiveStatus
  providerId: string | null
  finishedAt: number | null
  generationTimeS: number | null
  etaS: number | null
  seed: number | null
  /** Of a seed that a number would round; that is null then. */
  seedDigits: string | null
  meta: Record<string, unknown> | null
  tip: string | null
  webhookStatus: string | null
  promised: Promised | null
  failureCode: GenerationFailureCode | null
  failureMessage: string | null
  nsfwVerdict: NsfwVerdict
  nsfwDisputed: boolean
  /** When to ask the provider next; null where nothing is to be asked. */
  fetchDueAt: number | null
  /** Fetches since the last news that told nothing. */
  fetches: number
  /** One answered fetch is owed although the generation may have ended. */
  fetchOwed: boolean
}
