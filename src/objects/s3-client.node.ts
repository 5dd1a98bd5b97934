import { S3Client } from '@aws-sdk/client-s3'

const CONNECT_TIMEOUT_MS = 5_000
/**
 * Until the answer begins. 25 MiB at 10 Mbit/s fit; and two tries, beside a download of a minute,
 * in a lease of two.
 */
const ANSWER_TIMEOUT_MS = 25_000
/** Of a socket on which nothing moves, also within a body. */
const IDLE_TIMEOUT_MS = 30_000
/**
 * One more try covers a kept-alive socket that the server had closed. All other patience is the
 * ledger's.
 */
const MAX_ATTEMPTS = 2

export interface S3Place {
  /** Left out for AWS itself. */
  endpoint?: string | undefined
  /** Left out, the SDK's own chain names it (`AWS_REGION`, profile) or the first request fails. */
  region?: string | undefined
  forcePathStyle?: boolean | undefined
}

/**
 * A client with bounded connections of its own and bounded patience, that says nothing to the
 * console. Credentials by the SDK's own chain.
 */
export function s3Client({ endpoint, region, forcePathStyle }: S3Place, maxSockets: number) {
  return new S3Client({
    ...(endpoint !== undefined && { endpoint }),
    ...(region !== undefined && { region }),
    forcePathStyle: forcePathStyle ?? false,
    maxAttempts: MAX_ATTEMPTS,
    // Servers other than AWS refuse the checksums that the SDK adds by default, or answer without
    // them.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // With `Expect: 100-continue` the SDK takes a connection of its own for each body over 2 MiB,
    // outside of our bound.
    expectContinueHeader: false,
    requestHandler: {
      httpAgent: { maxSockets },
      httpsAgent: { maxSockets },
      connectionTimeout: CONNECT_TIMEOUT_MS,
      requestTimeout: ANSWER_TIMEOUT_MS,
      throwOnRequestTimeout: true,
      socketTimeout: IDLE_TIMEOUT_MS,
    },
  })
}

/**
 * What a place has for a region, by the SDK's own chain.
 * @throws where there is none, or one that can be no part of a host's name
 */
export const regionOf = (place: S3Place) => s3Client(place, 1).config.region()
