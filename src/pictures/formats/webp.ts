import { hasText, viewOf, type Format } from './format.ts'

/** RFC 9649. The first chunk says which of three headers holds the size. */
export const webp: Format = {
  contentType: 'image/webp',
  extension: 'webp',
  matches: (head) => hasText(head, 0, 'RIFF') && hasText(head, 8, 'WEBP'),
  size,
  isWhole: (bytes) => viewOf(bytes).getUint32(4, true) + 8 <= bytes.byteLength,
}

function size(head: Uint8Array) {
  if (head.byteLength < 30) return null
  if (hasText(head, 12, 'VP8X')) return canvasSize(viewOf(head))
  if (hasText(head, 12, 'VP8L') && head[20] === 0x2f) return losslessSize(viewOf(head))
  if (hasText(head, 12, 'VP8 ') && hasText(head, 23, '\x9d\x01\x2a')) return lossySize(viewOf(head))
  return null
}

function canvasSize(view: DataView) {
  return {
    width: (view.getUint32(24, true) & 0xffffff) + 1,
    height: (view.getUint32(26, true) >>> 8) + 1,
  }
}

function losslessSize(view: DataView) {
  const bits = view.getUint32(21, true)
  return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 }
}

/** RFC 6386, section 9.1: the two highest bits of each are a scale. */
function lossySize(view: DataView) {
  return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff }
}
