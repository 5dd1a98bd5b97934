import { hasText, viewOf, type Format } from './format.ts'

const SIGNATURE = '\x89PNG\r\n\x1a\n'
const IEND = 0x49454e44
// libpng writes 8 KiB a chunk: 25 MiB are 3,200.
const MAX_CHUNKS = 20_000

/** PNG, third edition: https://www.w3.org/TR/png-3/ */
export const png: Format = {
  contentType: 'image/png',
  extension: 'png',
  matches: (head) => hasText(head, 0, SIGNATURE),
  size,
  isWhole,
}

function size(head: Uint8Array) {
  if (head.byteLength < 24 || !hasText(head, 12, 'IHDR')) return null
  const view = viewOf(head)
  return { width: view.getUint32(16), height: view.getUint32(20) }
}

/**
 * A chunk is its length, its type, its data and a checksum: twelve bytes and the data. What follows
 * IEND is not asked about.
 */
function isWhole(bytes: Uint8Array) {
  const view = viewOf(bytes)
  let at = SIGNATURE.length
  for (let i = 0; i < MAX_CHUNKS && at + 12 <= bytes.byteLength; i++) {
    if (view.getUint32(at + 4) === IEND) return true
    at += 12 + view.getUint32(at)
  }
  return false
}
