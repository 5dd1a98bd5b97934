import type { ImageFailureCode, ImageSource } from './image.ts'

/** An image whose lease we hold. */
export interface ClaimedImage {
  generationId: string
  source: ImageSource
  position: number
  host: string
  /** Including the one that the claim begins. */
  attempts: number
  freshLinksAsked: boolean
  providerId: string | null
  leasedUntil: number
  /** Of the best cut-short copy that is stored, 0 where there is none. */
  keptBytes: number
}

/** Where an image may be had. */
export interface Place {
  url: string
  attempts: number
  expiresAt: number
  /** Refused for good, or tried once more after its link had died. */
  exhausted: boolean
  /** An earlier image that is still pending has it too. */
  shared: boolean
}

/** The object that an attempt stored. */
export interface KeptObject {
  sha256: string
  bytes: number
  contentType: string
  width: number | null
  height: number | null
  objectKey: string
}

/** What becomes of an image after an attempt that did not bring it home whole. */
export type Sequel =
  | { kind: 'again'; place: Place; dueAt: number }
  /** Waits for one fetch that asks for fresh links. */
  | { kind: 'parked' }
  | { kind: 'lost' }
  /** The best cut-short copy is what there is. */
  | { kind: 'truncated' }

export interface FailedAttempt {
  at: number
  place: Place
  /** Whether this was the last try of this place. */
  exhausted: boolean
  failure: { code: ImageFailureCode; message: string }
  /** A cut-short copy that this attempt stored, if it is the best so far. */
  kept: KeptObject | null
  sequel: Sequel
  /** How many places the decision was made from. */
  placesSeen: number
}

/**
 * Untried places first, then those whose deadline has passed and that get their last try, then the
 * least tried: each time the one that dies first. What another image tries already comes last.
 */
export function nextPlace(places: readonly Place[], at: number): Place | undefined {
  const urgency = ({ attempts, expiresAt }: Place) =>
    attempts === 0 ? -2 : expiresAt <= at ? -1 : attempts
  return places
    .filter(({ exhausted }) => !exhausted)
    .toSorted(
      (a, b) =>
        Number(a.shared) - Number(b.shared) || urgency(a) - urgency(b) || a.expiresAt - b.expiresAt,
    )
    .at(0)
}
