import {
  constants,
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createInflateRaw,
  createZstdDecompress,
} from 'node:zlib'
import { ImageFailure } from '../errors.ts'
import { collect } from '../net/read-body.ts'
import { unframed } from './aws-chunked.ts'
import { isPicture } from './inspect.ts'

/** A host and each proxy before it may compress what the last one compressed. */
const MOST_LAYERS = 3
/** What a browser lends to zstd: RFC 9659. */
const ZSTD_WINDOW_LOG = 23
const OPTIONS = { chunkSize: 64 * 1024 }

interface Method {
  /** As Content-Encoding calls it. */
  label: string
  /** Whether its bytes begin like this; left out where they begin like anything. */
  begins?: (bytes: Uint8Array) => boolean
  open: () => NodeJS.ReadWriteStream
}

const starts =
  (...signature: number[]) =>
  (bytes: Uint8Array) =>
    signature.every((byte, n) => bytes[n] === byte)

/** RFC 1950, section 2.2: deflate with a window of at most 32 KiB, and a sum that divides by 31. */
const isZlib = ([method = 0, flags = 0]: Uint8Array) =>
  (method & 0x8f) === 0x08 && (method * 256 + flags) % 31 === 0

const METHODS: Method[] = [
  { label: 'gzip', begins: starts(0x1f, 0x8b, 0x08), open: () => createGunzip(OPTIONS) },
  { label: 'zstd', begins: starts(0x28, 0xb5, 0x2f, 0xfd), open: openZstd },
  { label: 'deflate', begins: isZlib, open: () => createInflate(OPTIONS) },
  { label: 'deflate', open: () => createInflateRaw(OPTIONS) },
  { label: 'br', open: () => createBrotliDecompress(OPTIONS) },
]

function openZstd() {
  return createZstdDecompress({
    ...OPTIONS,
    params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG },
  })
}

/** The first that the bytes begin like; only where there is none, the label is believed. */
const methodOf = (bytes: Uint8Array, label: string) =>
  METHODS.find(({ begins }) => begins?.(bytes)) ??
  METHODS.find((method) => method.begins === undefined && method.label === label)

/** Whether there may be more in it than its length. A download needs room for both. */
export const isCompressed = (head: Uint8Array, encoding: string) =>
  !isPicture(head) &&
  ['', ...labelsOf(encoding)].some((label) => methodOf(head, label) !== undefined)

/** Those that say what the bytes themselves may not. */
const labelsOf = (encoding: string) =>
  encoding
    .split(',')
    .map((label) => label.trim().toLowerCase())
    .filter((label) => METHODS.some((method) => method.label === label))

/**
 * What `bytes` hold once nothing is compressed or framed any more; the very same where that is a
 * picture already, or neither. `encoding` is what the host calls them, the last that was done last.
 * Throws ImageFailure `too_large` as soon as more than `maxBytes` come out.
 */
export async function inflated(bytes: Uint8Array, encoding: string, maxBytes: number) {
  const labels = labelsOf(encoding)
  let shown = bytes
  for (let layer = 0; layer < MOST_LAYERS && !isPicture(shown); layer++) {
    const inner =
      withoutFrames(shown, encoding) ?? (await inflatedOnce(shown, labels.pop() ?? '', maxBytes))
    if (!inner) break
    shown = inner
  }
  return shown
}

/** Text may begin like a frame: where nobody speaks of frames, there has to be a picture in them. */
function withoutFrames(bytes: Uint8Array, encoding: string) {
  const inner = unframed(bytes)
  return inner && (/aws-chunked/iu.test(encoding) || isPicture(inner)) ? inner : null
}

/**
 * Null where it is not compressed. What broke off is worth having only if it is a picture: its
 * own structure tells that it is cut short.
 */
async function inflatedOnce(bytes: Uint8Array, label: string, maxBytes: number) {
  const stream = methodOf(bytes, label)?.open()
  if (stream === undefined) return null
  // Two steps: what ends too early in a single one brings nothing but the error.
  stream.write(bytes)
  stream.end()
  try {
    const { bytes: inner, broken } = await collect(stream as AsyncIterable<Uint8Array>, {
      maxBytes,
    })
    return inner.byteLength > 0 && (!broken || isPicture(inner)) ? inner : null
  } catch (error) {
    if (error instanceof ImageFailure) throw error
    return null
  }
}
