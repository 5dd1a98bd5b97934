import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { S3Server } from './bucket.ts'

/** What becomes of the requests to a store. */
export type Manner = (incoming: IncomingMessage, outgoing: ServerResponse, pass: () => void) => void

const error = (status: number, code: string): Manner => {
  return (incoming, outgoing) => {
    incoming.resume().once('end', () => {
      outgoing.writeHead(status, { 'content-type': 'application/xml' })
      outgoing.end(
        `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`,
      )
    })
  }
}

export const MANNERS = {
  fine: (_incoming, _outgoing, pass) => pass(),
  'answers 500': error(500, 'InternalError'),
  'answers 503 SlowDown': error(503, 'SlowDown'),
  'never answers': (incoming) => incoming.resume(),
  'cuts the connection half way': (incoming) =>
    incoming.once('data', () => incoming.socket.destroy()),
  'cuts its own answer': (incoming, outgoing) => {
    incoming.resume().once('end', () => {
      outgoing.writeHead(200, { 'content-length': 900 })
      outgoing.write('<', () => outgoing.destroy())
    })
  },
} satisfies Record<string, Manner>

/**
 * Stands before a real S3 server and spoils its answers. The signature stays right: it covers the
 * name asked for, not the port.
 */
export class Front {
  manner: Manner = MANNERS.fine
  /** When each upload was asked for. */
  readonly puts: number[] = []
  private readonly server = createServer((incoming, outgoing) => {
    if (incoming.method === 'PUT') this.puts.push(Date.now())
    // Whoever asks gives up by closing the connection.
    incoming.on('error', () => undefined)
    outgoing.on('error', () => undefined)
    this.manner(incoming, outgoing, () => this.pass(incoming, outgoing))
  })
  private readonly behind: S3Server

  constructor(behind: S3Server) {
    this.behind = behind
  }

  async open(): Promise<S3Server> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve))
    const { port } = this.server.address() as AddressInfo
    return { ...this.behind, endpoint: `http://127.0.0.1:${port}` }
  }

  close() {
    this.server.closeAllConnections()
    this.server.close()
  }

  private pass(incoming: IncomingMessage, outgoing: ServerResponse) {
    const { method, url, headers } = incoming
    const passed = request(
      new URL(url ?? '/', this.behind.endpoint),
      { method, headers },
      (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, { ...answer.headers, ...this.spoiled(answer) })
        answer.pipe(outgoing)
      },
    )
    passed.on('error', () => outgoing.destroy())
    incoming.pipe(passed)
  }

  /** A store that checked the SHA-256 of what it took may call it what it likes. */
  private spoiled({ headers: { etag } }: IncomingMessage) {
    return etag === undefined ? {} : { etag: '"not-the-md5-of-anything"' }
  }
}
