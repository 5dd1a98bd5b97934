export type ImageSource = 'output' | 'proxy'
export type ImageStatus = 'pending' | 'archived' | 'lost'

/** One URL that the provider named for one image. */
export interface OfferedImage {
  source: ImageSource
  position: number
  url: string
}

export type ImageFailureCode =
  | 'refused_url'
  | 'refused_address'
  | 'refused_redirect'
  | 'too_large'
  | 'not_found'
  | 'not_an_image'
  | 'unreachable'
  | 'timeout'
  | 'store_failed'
