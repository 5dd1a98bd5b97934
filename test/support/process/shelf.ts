import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import type { S3Server } from './bucket.ts'
import { sha256 } from './stand-in.ts'

/** What such a server says to `If-None-Match`; undefined: it stores. */
export type Condition = (
  key: string,
  isThere: boolean,
) => { status: number; code: string } | undefined

/** Knows no conditional write at all. */
export const refuses: Condition = () => ({ status: 501, code: 'NotImplemented' })

/** Answers the first write of every key as if another were under way. */
export function conflicts(): Condition {
  const tried = new Set<string>()
  return (key, isThere) => {
    if (!tried.has(key)) {
      tried.add(key)
      return { status: 409, code: 'ConditionalRequestConflict' }
    }
    return isThere ? { status: 412, code: 'PreconditionFailed' } : undefined
  }
}

/**
 * A second S3 server, that keeps objects in memory: radosgw always knows conditional writes.
 * Loopback only.
 */
export class Shelf implements S3Server {
  readonly bucket = 'shelf'
  readonly credentials = { accessKeyId: 'anyone', secretAccessKey: 'anything' }
  endpoint = ''
  /** Method and key of every request, in order, and `If-None-Match` where it was sent. */
  readonly seen: string[] = []
  readonly objects = new Map<string, { bytes: Buffer; type: string }>()
  private readonly server = createServer((request, response) => void this.serve(request, response))
  private readonly condition: Condition

  constructor(condition: Condition) {
    this.condition = condition
  }

  async open() {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve))
    this.endpoint = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }

  close() {
    this.server.closeAllConnections()
    this.server.close()
  }

  private async serve(request: IncomingMessage, response: ServerResponse) {
    const { method = '', url = '', headers } = request
    const { pathname, searchParams } = new URL(url, this.endpoint)
    const key = decodeURIComponent(pathname).slice(`/${this.bucket}/`.length)
    const body = await buffer(request)
    this.seen.push(`${method} ${key}${headers['if-none-match'] ?? ''}`)
    if (method === 'PUT') this.put(key, body, headers, response)
    else if (searchParams.has('list-type')) this.list(searchParams.get('prefix') ?? '', response)
    else this.show(key, method, response)
  }

  private put(
    key: string,
    bytes: Buffer,
    headers: IncomingMessage['headers'],
    response: ServerResponse,
  ) {
    const refused = headers['if-none-match']
      ? this.condition(key, this.objects.has(key))
      : undefined
    if (refused) {
      refuse(response, refused.status, refused.code)
      return
    }
    if (headers['x-amz-content-sha256'] !== sha256(bytes)) {
      refuse(response, 400, 'XAmzContentSHA256Mismatch')
      return
    }
    this.objects.set(key, { bytes, type: headers['content-type'] ?? '' })
    response.writeHead(200, { etag: '"of no interest"' }).end()
  }

  private show(key: string, method: string, response: ServerResponse) {
    const found = this.objects.get(key)
    if (!found) {
      refuse(response, 404, 'NoSuchKey')
      return
    }
    response.writeHead(200, {
      'content-type': found.type,
      'content-length': found.bytes.byteLength,
    })
    response.end(method === 'HEAD' ? undefined : found.bytes)
  }

  private list(prefix: string, response: ServerResponse) {
    const contents = [...this.objects]
      .filter(([key]) => key.startsWith(prefix))
      .map(
        ([key, { bytes }]) =>
          `<Contents><Key>${key}</Key><Size>${bytes.byteLength}</Size></Contents>`,
      )
    response.writeHead(200, { 'content-type': 'application/xml' })
    response.end(
      `<ListBucketResult><IsTruncated>false</IsTruncated>${contents.join('')}</ListBucketResult>`,
    )
  }
}

function refuse(response: ServerResponse, status: number, code: string) {
  response
    .writeHead(status, { 'content-type': 'application/xml' })
    .end(`<Error><Code>${code}</Code></Error>`)
}
