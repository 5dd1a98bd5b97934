import { AppError } from '../../errors.ts'
import { parseExactly } from '../../model/exact-json.ts'
import { readBody } from './body.ts'

/**
 * The JSON of a request's body, which may be gzipped; inflated it has at most `maxBytes`, too. A
 * whole number that JavaScript would round is a bigint.
 * @throws AppError `body_too_large`, `body_incomplete`, `invalid_request`
 */
export async function readJson(request: Request, maxBytes: number): Promise<unknown> {
  const { bytes, tooLarge } = await readBody(request, maxBytes)
  if (tooLarge) throw tooLong(maxBytes)
  try {
    const plain = isGzip(bytes) ? await inflated(bytes, maxBytes) : bytes
    return parseExactly(new TextDecoder('utf-8', { fatal: true }).decode(plain), BigInt)
  } catch (cause) {
    throw cause instanceof AppError ? cause : notJson(request.headers, cause)
  }
}

/** No JSON begins so. What the header says may be of a proxy that has inflated it already. */
const isGzip = ([first, second]: Uint8Array) => first === 0x1f && second === 0x8b

/** Stops where it is too long, whatever it would have become. */
async function inflated(bytes: Uint8Array, maxBytes: number) {
  const chunks: Uint8Array[] = []
  let length = 0
  const body = new Blob([new Uint8Array(bytes)]).stream()
  const plain: ReadableStream<Uint8Array> = body.pipeThrough(new DecompressionStream('gzip'))
  for await (const chunk of plain) {
    length += chunk.byteLength
    if (length > maxBytes) throw tooLong(maxBytes)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

const tooLong = (maxBytes: number) =>
  new AppError('body_too_large', `Expected a body of at most ${maxBytes} bytes.`)

function notJson(headers: Headers, cause: unknown) {
  const encoding = headers.get('content-encoding')?.trim().toLowerCase() ?? 'identity'
  const fields = ['identity', 'gzip', 'x-gzip'].includes(encoding)
    ? [{ pointer: '', message: 'expected a JSON object' }]
    : [{ pointer: 'Content-Encoding', message: 'expected gzip, or none' }]
  return new AppError('invalid_request', 'The body is not JSON.', { cause, fields })
}
