import { hasText, viewOf, type Format, type Size } from './format.ts'

const MAX_BOXES = 1000
const BRANDS = ['avif', 'avis']

interface Box {
  type: string
  /** Of its contents. */
  start: number
  end: number
}

/** AV1 Image File Format, in the boxes of ISO/IEC 14496-12; properties by ISO/IEC 23008-12. */
export const avif: Format = {
  contentType: 'image/avif',
  extension: 'avif',
  matches,
  size,
  isWhole,
}

/** The major brand, or for a file whose major brand is the general `mif1` a compatible one. */
function matches(head: Uint8Array) {
  if (head.byteLength < 12 || !hasText(head, 4, 'ftyp')) return false
  const end = Math.min(viewOf(head).getUint32(0), head.byteLength, 1024)
  for (let at = 8; at + 4 <= Math.max(end, 12); at += 4) {
    // Between the major brand and the compatible ones stands a version.
    if (at !== 12 && BRANDS.some((brand) => hasText(head, at, brand))) return true
  }
  return false
}

/**
 * The largest `ispe`: a grid's tiles and a thumbnail have theirs beside the picture's, and are
 * smaller.
 */
function size(head: Uint8Array) {
  const properties = find(head, ['meta', 'iprp', 'ipco'])
  if (properties === undefined) return null
  let largest: Size | null = null
  for (const { type, start } of boxes(head, properties.start, properties.end)) {
    if (type !== 'ispe' || start + 12 > head.byteLength) continue
    const view = viewOf(head)
    const one = { width: view.getUint32(start + 4), height: view.getUint32(start + 8) }
    if (largest === null || one.width * one.height > largest.width * largest.height) largest = one
  }
  return largest
}

/** Every top-level box lies inside the bytes, and the media is among them. */
function isWhole(bytes: Uint8Array) {
  let reached = 0
  let hasMedia = false
  for (const { type, end } of boxes(bytes, 0, bytes.byteLength)) {
    reached = end
    hasMedia ||= type === 'mdat'
  }
  return hasMedia && reached === bytes.byteLength
}

function find(bytes: Uint8Array, path: string[]): Box | undefined {
  let inside: Box | undefined = { type: '', start: 0, end: bytes.byteLength }
  for (const type of path) {
    inside = boxes(bytes, inside.start, inside.end).find((box) => box.type === type)
    if (inside === undefined) return undefined
    // `meta` alone of these is a full box: four bytes of version and flags come before its
    // contents.
    if (type === 'meta') inside.start += 4
  }
  return inside
}

/** The boxes that begin between `from` and `to`; the last may end past the bytes. */
function boxes(bytes: Uint8Array, from: number, to: number): Box[] {
  const view = viewOf(bytes)
  const found: Box[] = []
  let at = from
  while (found.length < MAX_BOXES && at + 8 <= Math.min(to, bytes.byteLength)) {
    const box = boxAt(view, at)
    if (box === undefined) break
    found.push(box)
    at = box.end
  }
  return found
}

/**
 * Length 1 means that 64 bits of length follow, length 0 that the box is the last and reaches to
 * the end.
 */
function boxAt(view: DataView, at: number): Box | undefined {
  const short = view.getUint32(at)
  if (short === 1 && at + 16 > view.byteLength) return undefined
  const length =
    short === 1 ? Number(view.getBigUint64(at + 8)) : short === 0 ? view.byteLength - at : short
  const start = at + (short === 1 ? 16 : 8)
  if (at + length < start) return undefined
  return { type: textAt(view, at + 4), start, end: at + length }
}

function textAt(view: DataView, at: number) {
  return String.fromCharCode(
    view.getUint8(at),
    view.getUint8(at + 1),
    view.getUint8(at + 2),
    view.getUint8(at + 3),
  )
}
