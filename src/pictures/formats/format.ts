export interface Size {
  width: number
  height: number
}

/**
 * How one format is known, measured and found whole. Nothing here may throw or loop on crafted
 * bytes: every walk has a limit on its steps, chosen to stay well under 10 ms.
 */
export interface Format {
  contentType: string
  extension: string
  matches: (head: Uint8Array) => boolean
  size: (head: Uint8Array) => Size | null
  isWhole: (bytes: Uint8Array) => boolean
}

/** Numbers at offsets; reading past the end throws, so compare with `byteLength` first. */
export function viewOf(bytes: Uint8Array) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Whether `text`, one byte a character, stands at `at`. */
export function hasText(bytes: Uint8Array, at: number, text: string) {
  for (let i = 0; i < text.length; i++) {
    if (bytes[at + i] !== text.charCodeAt(i)) return false
  }
  return true
}
