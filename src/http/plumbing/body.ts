import { AppError } from '../../errors.ts'

/**
 * For 1 MiB at 50 kB/s. Node's own patience is longer, and ends in a 408, after which senders do
 * not try again.
 */
const ARRIVAL_MS = 20_000

interface Body {
  bytes: Uint8Array
  tooLarge: boolean
}

/**
 * Reads at most `maxBytes` of a request's body. What goes on beyond is `tooLarge`: `bytes` are its
 * first ones, and the rest is not read.
 * @throws AppError `body_incomplete` where it breaks off, or is not there within 20 s
 */
export async function readBody(request: Request, maxBytes: number): Promise<Body> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(incomplete('The body takes too long to arrive.')), ARRIVAL_MS)
  })
  try {
    return await Promise.race([arriving(request, maxBytes).catch(brokenOff), late])
  } finally {
    clearTimeout(timer)
  }
}

async function arriving(request: Request, maxBytes: number): Promise<Body> {
  const declared = Number(request.headers.get('content-length') ?? Number.NaN)
  // HTTP itself ends a body at its declared length, so that this needs no counting.
  if (declared <= maxBytes)
    return { bytes: new Uint8Array(await request.arrayBuffer()), tooLarge: false }
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of chunksOf(request)) {
    chunks.push(chunk)
    length += chunk.byteLength
    if (length > maxBytes || (declared > maxBytes && length >= KEPT_OF_TOO_LARGE))
      return { bytes: join(chunks, KEPT_OF_TOO_LARGE), tooLarge: true }
  }
  return { bytes: join(chunks, maxBytes), tooLarge: declared > maxBytes }
}

/** A body that is missing is an empty one. */
function chunksOf(request: Request): AsyncIterable<Uint8Array> | Iterable<Uint8Array> {
  return request.body ?? []
}

const KEPT_OF_TOO_LARGE = 4096

function join(chunks: Uint8Array[], most: number) {
  return new Uint8Array(Buffer.concat(chunks).subarray(0, most))
}

const incomplete = (message: string, cause?: unknown) =>
  new AppError('body_incomplete', message, { cause, retryAfterSeconds: 5 })

function brokenOff(cause: unknown): never {
  throw incomplete('The body broke off.', cause)
}
