import { ImageFailure } from '../errors.ts'
import type { GetResponse } from '../deps.ts'

const UNDECLARED_CAPACITY = 64 * 1024

export interface Download {
  bytes: Uint8Array
  /** Fewer bytes than were declared, or the connection broke after some had come. */
  short: boolean
}

/**
 * The whole body, or what came of it. Throws ImageFailure `too_large` (final only where it was
 * declared, and then without reading), `not_an_image` where nothing came, and whatever broke the
 * body before its first byte or by `signal`.
 */
export async function readBody(
  response: GetResponse,
  maxBytes: number,
  signal: AbortSignal,
): Promise<Download> {
  const declared = declaredLength(response)
  if (declared !== undefined && declared > maxBytes) {
    throw new ImageFailure(
      'too_large',
      `${declared} bytes are declared, ${maxBytes} are allowed.`,
      { final: true },
    )
  }
  const body = new BoundedBytes(declared ?? UNDECLARED_CAPACITY, maxBytes)
  const broken = await fill(body, response.body, signal)
  if (body.length === 0) throw new ImageFailure('not_an_image', 'The body is empty.')
  return { bytes: body.bytes(), short: broken || body.length < (declared ?? 0) }
}

function declaredLength(response: GetResponse) {
  const value = response.header('content-length')?.trim() ?? ''
  return /^\d{1,15}$/.test(value) ? Number(value) : undefined
}

/** Whether the body broke off. */
async function fill(into: BoundedBytes, body: AsyncIterable<Uint8Array>, signal: AbortSignal) {
  try {
    for await (const chunk of body) into.add(chunk)
    return false
  } catch (error) {
    const isOurs = signal.aborted || (error instanceof ImageFailure && error.code === 'too_large')
    if (isOurs || into.length === 0) throw error
    return true
  }
}

/**
 * One buffer that doubles: a list of chunks could be made of a million one-byte pieces, at a
 * hundred bytes each.
 */
class BoundedBytes {
  length = 0
  #buffer: Uint8Array
  readonly #maxBytes: number

  constructor(capacity: number, maxBytes: number) {
    this.#buffer = new Uint8Array(Math.min(capacity, maxBytes))
    this.#maxBytes = maxBytes
  }

  add(chunk: Uint8Array) {
    const length = this.length + chunk.byteLength
    if (length > this.#maxBytes)
      throw new ImageFailure('too_large', `More than ${this.#maxBytes} bytes came.`)
    if (length > this.#buffer.byteLength) this.#grow(length)
    this.#buffer.set(chunk, this.length)
    this.length = length
  }

  bytes() {
    return this.#buffer.subarray(0, this.length)
  }

  #grow(atLeast: number) {
    const larger = new Uint8Array(
      Math.min(this.#maxBytes, Math.max(atLeast, this.#buffer.byteLength * 2)),
    )
    larger.set(this.bytes())
    this.#buffer = larger
  }
}
