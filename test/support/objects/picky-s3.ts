import type { S3Options } from '../../../src/objects/s3-requests.node.ts'
import { refuse, type Seen, storeOver } from './scripted-s3.ts'

/** Why a request is refused: status, code and words; undefined where it is not. */
export type Refusal = (
  request: Seen,
  isThere: boolean,
) => [status: number, code: string, message?: string] | undefined

/**
 * Our store over a server that keeps what it takes, heeds no condition by itself, and refuses what
 * `refusal` says. `requests`: what was asked of it, in short: `PUT*+` is one with a condition and a
 * checksum.
 */
export async function pickyStore(refusal: Refusal, more: Partial<S3Options> = {}) {
  const kept = new Map<string, { bytes: number; checksum: string | undefined }>()
  const given = await storeOver((request, response) => {
    const key = request.url.split('?')[0] ?? ''
    const found = kept.get(key)
    const refused = refusal(request, found !== undefined)
    if (refused) refuse(response, ...refused)
    else if (request.method === 'PUT') {
      kept.set(key, {
        bytes: request.bytes,
        checksum: request.headers['x-amz-checksum-sha256'] as string | undefined,
      })
      response.end()
    } else if (!found) response.writeHead(404).end()
    else {
      const tells = request.headers['x-amz-checksum-mode'] === 'ENABLED' && found.checksum
      response.writeHead(200, {
        'content-length': found.bytes,
        ...(tells && { 'x-amz-checksum-sha256': found.checksum }),
      })
      response.end()
    }
  }, more)
  const inShort = ({ method, headers }: Seen) =>
    `${method}${headers['if-none-match'] ?? ''}${headers['x-amz-checksum-sha256'] ? '+' : ''}` +
    (headers['content-md5'] ? '5' : '')
  return { ...given, kept, requests: () => given.server.seen.map(inShort) }
}
