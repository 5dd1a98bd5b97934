import type { Config } from '../config.ts'
import type { Get } from '../deps.ts'
import { ImageFailure } from '../errors.ts'
import { download } from '../net/download.ts'
import { pictureBytes } from './base64.ts'
import { inflated } from './inflate.ts'
import { inspect, type Picture } from './inspect.ts'

export const MAX_IMAGE_BYTES = 25 * 1024 * 1024

export type DownloadConfig = Pick<
  Config,
  'allowedPrivateOrigins' | 'imageHosts' | 'publicUrl' | 'downloadTimeoutMs'
>

export interface FetchedPicture {
  /** The file of the picture itself. */
  bytes: Uint8Array
  picture: Picture
  /** There should be more of it. */
  short: boolean
}

/**
 * The picture that a link shows, however it is wrapped: what it is, its bytes decide, and no label.
 * Throws ImageFailure: every code but `store_failed`.
 */
export async function fetchPicture(
  { get, config }: { get: Get; config: DownloadConfig },
  url: string,
): Promise<FetchedPicture> {
  const { allowedPrivateOrigins, imageHosts, downloadTimeoutMs, publicUrl } = config
  const sent = await download(get, url, {
    maxBytes: MAX_IMAGE_BYTES,
    timeoutMs: downloadTimeoutMs,
    allowedPrivateOrigins,
    imageHosts,
    ownOrigin: new URL(publicUrl).origin,
  })
  const bytes = pictureBytes(url, await inflated(sent.bytes, sent.encoding, MAX_IMAGE_BYTES))
  const picture = inspect(bytes)
  if (!picture)
    throw new ImageFailure('not_an_image', 'The bytes are no PNG, JPEG, WebP, GIF or AVIF.')
  return { bytes, picture, short: sent.short || !picture.whole }
}
