import type { ImageFailureCode } from './model/image.ts'

/**
 * Failures that a caller may read. Anything else that is thrown is `internal`: logged whole, shown
 * as nothing.
 */
const STATUS_BY_CODE = {
  invalid_request: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  not_archived_yet: 404,
  nothing_to_retry: 409,
  image_lost: 410,
  body_too_large: 413,
  range_not_satisfiable: 416,
  idempotency_key_reused: 422,
  rate_limited: 429,
  internal: 500,
  body_incomplete: 503,
  unavailable: 503,
} as const

export type ErrorCode = keyof typeof STATUS_BY_CODE

/**
 * One field at fault: `pointer` is a JSON Pointer (RFC 6901) into the body, or the name of a query
 * parameter or setting.
 */
export interface FieldError {
  pointer: string
  message: string
}

interface AppErrorOptions extends ErrorOptions {
  fields?: FieldError[]
  /** Seconds, sent as `Retry-After`. */
  retryAfterSeconds?: number
}

export class AppError extends Error {
  override readonly name = 'AppError'
  readonly code: ErrorCode
  readonly fields: FieldError[]
  readonly retryAfterSeconds: number | undefined

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    super(message, options)
    this.code = code
    this.fields = options.fields ?? []
    this.retryAfterSeconds = options.retryAfterSeconds
  }

  get status() {
    return STATUS_BY_CODE[this.code]
  }
}

/**
 * The ledger could not take a write: disk full, database locked, D1 away. What was handed to it is
 * not kept.
 */
export class LedgerUnavailable extends AppError {
  constructor(cause: unknown) {
    super('unavailable', 'The ledger cannot be written right now.', { cause, retryAfterSeconds: 5 })
  }
}

/**
 * How loud a failure is: whoever watches the ledger says once a minute that it is away, and under
 * load each thing that fails for that would say it again.
 */
export const loudness = (error: unknown) => (isOfLedger(error) ? 'debug' : 'error')

/** Causes may go in a circle. */
const MOST_CAUSES = 8

const isOfLedger = (error: unknown, depth = 0): boolean =>
  error instanceof LedgerUnavailable ||
  (error instanceof Error && depth < MOST_CAUSES && isOfLedger(error.cause, depth + 1))

/**
 * One attempt at one image failed. `final` means that the same place would be refused again for the
 * same reason.
 */
export class ImageFailure extends Error {
  override readonly name = 'ImageFailure'
  readonly code: ImageFailureCode
  readonly final: boolean

  constructor(
    code: ImageFailureCode,
    message: string,
    options: ErrorOptions & { final?: boolean } = {},
  ) {
    super(message, options)
    this.code = code
    this.final = options.final ?? false
  }
}
