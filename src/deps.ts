import type { Ledger } from './ledger/ledger.ts'
import type { CallbackReading, Reply } from './model/outcome.ts'
import type { InpaintRequest } from './model/request.ts'
import type { Config } from './config.ts'

/** What every verb is handed: its whole world, as first argument. */
export interface Deps {
  ledger: Ledger
  objects: ObjectStore
  /**
   * Where a callback waits that the ledger does not take in time. Left out where the ledger is on
   * this machine.
   */
  spool?: ObjectStore
  provider: Provider
  get: Get
  /** A hint that work is due. Losing it costs delay, never an image. */
  wake: () => void
  /** Milliseconds since the epoch. */
  now: () => number
  /**
   * Runs `task` after `delayMs`, unless the process ends first: for what may be lost, and is better
   * not.
   */
  later: (delayMs: number, task: () => Promise<void>) => void
  /** Work that goes on after its request was answered. Its failure is logged. */
  track: (work: Promise<void>) => void
  /** The webhook URL of a generation: a capability, and as such a secret. */
  callbackUrl: (id: string) => string
  /** Whether `mac` proves that we made the callback URL of `id`. */
  verifiesCallback: (id: string, mac: string) => boolean
  /** The HMAC by which the text of a record is known to be ours; null where no secret is set. */
  signRecord: ((text: string) => string) | null
  /** Whether `mac` proves that we wrote `text`. */
  verifiesRecord: (text: string, mac: string) => boolean
  /** What must not be stored or shown of messages about a generation. */
  secretsOf: (id: string) => readonly string[]
  log: Log
  health: Health
  config: Config
}

/** The provider, as far as we use it. Whatever happens is told as a reading: nothing is thrown. */
export interface Provider {
  /**
   * Submits once and never again by itself. A reply that does not come within `timeoutMs` is
   * `unreadable`.
   */
  submit: (
    request: InpaintRequest,
    to: { trackId: string; webhook: string },
    timeoutMs: number,
  ) => Promise<Reply>
  /** Asks for the result of a job that was accepted. */
  fetch: (providerId: string, timeoutMs: number) => Promise<Reply>
  /** Reads the body of a callback. */
  readCallback: (text: string) => CallbackReading
}

/**
 * Bytes by key. Adapters translate: no policy, no logging, no retries; they throw what went wrong.
 */
export interface ObjectStore {
  /**
   * Resolves once the bytes are durable under `key`, to null. With `ifAbsent` an object that is
   * already there stays as it is, and what the store knows of it comes back: whether it is the
   * same is for the caller to judge. The store itself checks `sha256` (lower-case hex of `bytes`)
   * where it can, and refuses other bytes.
   */
  put(key: string, bytes: Uint8Array, options: PutOptions): Promise<ObjectFacts | null>
  /**
   * The object, or the part of it that `range` names (both ends inclusive, inside the object); null
   * where there is none. Of an object that is shorter than it should be, what there is.
   */
  get(key: string, range?: ByteRange): Promise<StoredObject | null>
  head(key: string): Promise<ObjectFacts | null>
  /** Deleting what is not there is no error. */
  delete(key: string): Promise<void>
  /** Every object whose key starts with `prefix`, in no promised order. */
  list(prefix: string): AsyncIterable<{ key: string; bytes: number }>
  /**
   * A URL that gives the object to whoever has it, with the type and disposition that we say. Not
   * every store can.
   */
  presign?(key: string, options: PresignOptions): Promise<string>
}

export interface PresignOptions {
  expiresSeconds: number
  contentType: string
  disposition: string
}

export interface PutOptions {
  sha256: string
  contentType: string
  ifAbsent: boolean
}

export interface ByteRange {
  start: number
  end: number
}

/** What a store tells of an object without giving it. */
export interface ObjectFacts {
  /** Null where the store does not say. */
  bytes: number | null
  /** Lower-case hex; left out where the store knows none, or was not asked for it. */
  sha256?: string
}

export interface StoredObject {
  /** Of the whole object, also where only a part is read; null where the store does not say. */
  bytes: number | null
  /** To be read to its end or cancelled: an unread body can hold a connection for good. */
  body: ReadableStream<Uint8Array>
}

/**
 * One GET, one hop: follows no redirect, inflates nothing, sends no header that identifies us.
 * Addresses are judged where the connection is made; one that may not be reached throws
 * ImageFailure `refused_address`.
 */
export type Get = (url: URL, signal: AbortSignal) => Promise<GetResponse>

export interface GetResponse {
  status: number
  /**
   * The first value of a header, by lower-case name; where the home cannot tell them apart, all of
   * them with commas between. Bytes beyond ASCII come percent-encoded, as a URL has them.
   */
  header: (name: string) => string | undefined
  body: AsyncIterable<Uint8Array>
  /** Drops the connection. To be called wherever the body is not read to its end. */
  discard: () => void
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** One JSON line each. Implementations replace every known secret by `***`. */
export type Log = (level: LogLevel, message: string, fields?: Record<string, unknown>) => void

/** Which parts are away; `/readyz` reads here those that may be without a callback being lost. */
export interface Health {
  /** The part answered, or failed for a reason. True where it was away and answers again. */
  objects: (ok: boolean, reason?: unknown) => boolean
  ledger: (ok: boolean, reason?: unknown) => boolean
  /** `answer`: what came instead, which `/readyz` may show. */
  provider: (ok: boolean, reason?: unknown, answer?: string) => boolean
  /** `ok`, or `down since <RFC 3339>`, and after a colon what the provider answered instead. */
  read: () => { objects: string; provider: string }
}
