import { hasText, viewOf, type Format } from './format.ts'

// Real files have tens of segments, a few hundred where a large colour profile is cut into many.
const MAX_STEPS = 20_000
// Cameras and editors append previews and padding after the end marker.
const TAIL_BYTES = 64 * 1024
const START_OF_SCAN = 0xda
const END_OF_IMAGE = 0xd9
const NOT_FRAMES = new Set([0xc4, 0xc8, 0xcc])

interface Segment {
  marker: number
  /** Of its contents, past the two bytes of length. */
  start: number
  end: number
}

/** ITU-T T.81, annex B. */
export const jpeg: Format = {
  contentType: 'image/jpeg',
  extension: 'jpg',
  matches: (head) => hasText(head, 0, '\xff\xd8\xff'),
  size,
  isWhole,
}

function size(head: Uint8Array) {
  for (const { marker, start } of segments(head)) {
    if (!isFrame(marker)) continue
    if (start + 5 > head.byteLength) return null
    const view = viewOf(head)
    return { width: view.getUint16(start + 3), height: view.getUint16(start + 1) }
  }
  return null
}

/**
 * An end marker after the scan began. One before it belongs to an embedded thumbnail, and inside a
 * scan none can occur: there every 0xff is followed by a zero or a restart marker.
 */
function isWhole(bytes: Uint8Array) {
  for (const { marker, end } of segments(bytes)) {
    if (marker === START_OF_SCAN) return endsAfter(bytes, end)
  }
  return false
}

function endsAfter(bytes: Uint8Array, scanStart: number) {
  const from = Math.max(scanStart, bytes.byteLength - TAIL_BYTES)
  for (let at = bytes.byteLength - 2; at >= from; at--) {
    if (bytes[at] === 0xff && bytes[at + 1] === END_OF_IMAGE) return true
  }
  return false
}

/**
 * The segments up to the first scan, which has no length; the last one may reach past the bytes.
 */
function* segments(bytes: Uint8Array): Generator<Segment> {
  const view = viewOf(bytes)
  let at = 2
  for (let i = 0; i < MAX_STEPS && at + 4 <= bytes.byteLength && bytes[at] === 0xff; i++) {
    const marker = view.getUint8(at + 1)
    // Any number of 0xff may stand before a marker (B.1.1.2), and a few markers have no length.
    if (marker === 0xff || isBare(marker)) {
      at += marker === 0xff ? 1 : 2
      continue
    }
    const end = at + 2 + view.getUint16(at + 2)
    yield { marker, start: at + 4, end }
    if (marker === START_OF_SCAN || marker === END_OF_IMAGE) return
    at = end
  }
}

function isFrame(marker: number) {
  return marker >= 0xc0 && marker <= 0xcf && !NOT_FRAMES.has(marker)
}

function isBare(marker: number) {
  return marker === 0x01 || (marker >= 0xd0 && marker <= 0xd7)
}
