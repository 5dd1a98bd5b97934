import { avif } from './formats/avif.ts'
import type { Format } from './formats/format.ts'
import { gif } from './formats/gif.ts'
import { jpeg } from './formats/jpeg.ts'
import { png } from './formats/png.ts'
import { webp } from './formats/webp.ts'

const HEAD_BYTES = 64 * 1024
const FORMATS: Format[] = [png, jpeg, webp, gif, avif]

export interface Picture {
  contentType: string
  /** Without a dot. */
  extension: string
  /** Pixels, as the header states them however absurd; null where its first 64 KiB do not say. */
  width: number | null
  height: number | null
  /**
   * The file reaches the end that its format demands. Pixels are not decoded: they may still be
   * broken.
   */
  whole: boolean
}

/**
 * What the bytes are by their first bytes alone; null for everything that is not PNG, JPEG, WebP,
 * GIF or AVIF. Never throws.
 */
export function inspect(bytes: Uint8Array): Picture | null {
  const head = bytes.subarray(0, HEAD_BYTES)
  const format = FORMATS.find((each) => each.matches(head))
  if (format === undefined) return null
  const size = format.size(head)
  return {
    contentType: format.contentType,
    extension: format.extension,
    width: size?.width ?? null,
    height: size?.height ?? null,
    whole: format.isWhole(bytes),
  }
}
