import { hasText, viewOf, type Format } from './format.ts'

// 25 MiB in full sub-blocks are about 103,000.
const MAX_BLOCKS = 120_000
const EXTENSION = 0x21
const IMAGE = 0x2c
const TRAILER = 0x3b

/** GIF89a: https://www.w3.org/Graphics/GIF/spec-gif89a.txt */
export const gif: Format = {
  contentType: 'image/gif',
  extension: 'gif',
  matches: (head) => hasText(head, 0, 'GIF87a') || hasText(head, 0, 'GIF89a'),
  size,
  isWhole,
}

function size(head: Uint8Array) {
  if (head.byteLength < 10) return null
  const view = viewOf(head)
  return { width: view.getUint16(6, true), height: view.getUint16(8, true) }
}

/**
 * The blocks are walked to the trailer: a 0x3b that merely stands last may be a pixel of a file cut
 * short.
 */
function isWhole(bytes: Uint8Array) {
  let at = 13 + colourTableBytes(bytes[10])
  let isData = false
  for (let i = 0; i < MAX_BLOCKS && at < bytes.byteLength; i++) {
    const first = bytes[at] ?? 0
    if (!isData && first === TRAILER) return true
    if (!isData && first !== EXTENSION && first !== IMAGE) return false
    at += isData ? 1 + first : headBytes(bytes, at)
    isData = !isData || first !== 0
  }
  return false
}

/** Of a block's head, up to its first sub-block; those end with an empty one. */
function headBytes(bytes: Uint8Array, at: number) {
  return bytes[at] === EXTENSION ? 2 : 11 + colourTableBytes(bytes[at + 9])
}

function colourTableBytes(flags = 0) {
  return flags & 0x80 ? 3 * 2 ** ((flags & 0x07) + 1) : 0
}
