import { hasText, viewOf, type Format } from './format.ts'

/**
 * Real files have tens of segments. In a scan each 0xff is a step: one byte of 256, or 100,000 of 25
 * MiB.
 */
const MAX_STEPS = 200_000
/** As far as the end is first looked for: where it is near, no pixel needs to be walked. */
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
 * An end marker after a scan began. One before it belongs to an embedded thumbnail, and inside a
 * scan none can occur: there every 0xff is followed by a zero or a restart marker. What cameras and
 * editors append may be of any length, and is not asked about.
 */
function isWhole(bytes: Uint8Array) {
  let hasScan = false
  for (const { marker, end } of segments(bytes)) {
    if (marker === END_OF_IMAGE) return hasScan
    if (marker === START_OF_SCAN && !hasScan && endsNear(bytes, end)) return true
    hasScan ||= marker === START_OF_SCAN
  }
  return false
}

function endsNear(bytes: Uint8Array, scanStart: number) {
  const from = Math.max(scanStart, bytes.byteLength - TAIL_BYTES)
  for (let at = bytes.byteLength - 2; at >= from; at--) {
    if (bytes[at] === 0xff && bytes[at + 1] === END_OF_IMAGE) return true
  }
  return false
}

/**
 * Every marker with its segment, up to the end marker; the last one may reach past the bytes. What
 * stands between two, such as the pixels of a scan, is skipped, as decoders do.
 */
function* segments(bytes: Uint8Array): Generator<Segment> {
  // Of Uint8Array, indexOf takes ten times as long.
  const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 2
  for (let i = 0; i < MAX_STEPS; i++) {
    if (all[at] !== 0xff) at = all.indexOf(0xff, at)
    if (at < 0 || at + 2 > all.length) return
    const marker = all.readUInt8(at + 1)
    // Any number of 0xff may stand before a marker (B.1.1.2), and a few markers have no length.
    if (marker === 0xff || isBare(marker)) {
      at += marker === 0xff ? 1 : 2
      continue
    }
    const isEnd = marker === END_OF_IMAGE
    if (!isEnd && at + 4 > all.length) return
    const end = at + 2 + (isEnd ? 0 : all.readUInt16BE(at + 2))
    yield { marker, start: at + 4, end }
    if (isEnd) return
    at = end
  }
}

function isFrame(marker: number) {
  return marker >= 0xc0 && marker <= 0xcf && !NOT_FRAMES.has(marker)
}

function isBare(marker: number) {
  return marker <= 0x01 || (marker >= 0xd0 && marker <= 0xd7)
}
