import { ImageFailure } from '../errors.ts'
import type { GetResponse } from '../deps.ts'

const UNDECLARED_CAPACITY = 64 * 1024

export interface Download {
  bytes: Uint8Array
  /** Fewer bytes than were declared, or the connection broke after some had come. */
  short: boolean
  /** What the host says that it did to the bytes; empty where it says nothing. */
  encoding: string
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
  const { bytes, broken } = await collect(
    response.body,
    { capacity: declared ?? UNDECLARED_CAPACITY, maxBytes },
    signal,
  )
  if (bytes.byteLength === 0) throw new ImageFailure('not_an_image', 'The body is empty.')
  return {
    bytes,
    short: broken || bytes.byteLength < (declared ?? 0),
    encoding: response.header('content-encoding') ?? '',
  }
}

/** Told twice, and twice the same, it is told (RFC 9110, section 8.6). */
function declaredLength(response: GetResponse) {
  const values =
    response
      .header('content-length')
      ?.split(',')
      .map((one) => one.trim()) ?? []
  const [first = '', ...others] = values
  if (!others.every((one) => one === first))
    throw new ImageFailure('unreachable', 'The host declares two lengths.')
  return /^\d{1,15}$/.test(first) ? Number(first) : undefined
}

/**
 * What comes of `parts`, and whether they broke off. Throws ImageFailure `too_large`, and what broke
 * them before the first byte or by `signal`.
 */
export async function collect(
  parts: AsyncIterable<Uint8Array>,
  { capacity = UNDECLARED_CAPACITY, maxBytes }: { capacity?: number; maxBytes: number },
  signal?: AbortSignal,
) {
  const body = new BoundedBytes(capacity, maxBytes)
  let broken = false
  try {
    for await (const part of parts) body.add(part)
  } catch (error) {
    const isOurs = signal?.aborted || (error instanceof ImageFailure && error.code === 'too_large')
    if (isOurs || body.length === 0) throw error
    broken = true
  }
  return { bytes: body.bytes(), broken }
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
