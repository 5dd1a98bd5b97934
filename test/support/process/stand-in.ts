import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { picture } from './picture.ts'

type Json = Record<string, unknown>

/** One accepted or refused submission, as the provider saw it. */
export interface Job {
  id: number
  trackId: string
  webhook: string
  body: Json
  at: number
  /** What its images are, by position. */
  pictures: Buffer[]
  /** The path of each on both image hosts. */
  paths: string[]
  /** What a fetch says. A script changes it when the result is there. */
  fetched: Json
}

/** How a submission is answered, once. */
export interface Answer {
  json: (body: Json, status?: number) => void
  /** Ends the connection in the middle of a reply. */
  cut: () => void
}

/** What the provider does with a submission: a story told by the test. */
export type Script = (job: Job, answer: Answer, provider: StandIn) => Promise<void> | void

export interface Delivery {
  at: number
  trackId: string
  sha256: string
  /** Undefined where nobody answered. */
  status: number | undefined
  retryAfter: string | null
}

export const sha256 = (bytes: Uint8Array | string) =>
  createHash('sha256').update(bytes).digest('hex')

/** The usual story: accepted, and done a moment later. */
export const usual: Script = async (job, answer, provider) => {
  answer.json(provider.processing(job))
  await delay(30)
  await provider.finish(job)
}

/** A ModelsLab made for tests, beside our simulator and sharing nothing with it. Loopback only. */
export class StandIn {
  script: Script
  readonly submissions: Job[] = []
  readonly fetches: { at: number; id: number }[] = []
  readonly gets: { at: number; url: string; status: number }[] = []
  readonly deliveries: Delivery[] = []
  /** Image URLs that answer 404 so many times before they show their picture. */
  readonly late = new Map<string, number>()
  /** How long each image takes to come. */
  imageDelayMs = 0
  /** What went wrong in a script: nothing should. */
  readonly failures: unknown[] = []

  private readonly api = createServer((request, response) => void this.serveApi(request, response))
  private readonly hosts = [0, 1].map((host) =>
    createServer((request, response) => void this.serveImage(host, request, response)),
  )
  private ports: number[] = []
  private isOpen = true

  /** `script` is what happens to every submission, until a test sets another. */
  constructor(script: Script) {
    this.script = script
  }

  async open() {
    const servers = [this.api, ...this.hosts]
    this.ports = await Promise.all(servers.map((server, n) => listen(server, this.ports[n] ?? 0)))
    this.isOpen = true
  }

  async close() {
    this.isOpen = false
    await Promise.all([this.api, ...this.hosts].map(shut))
  }

  /** Nobody listens on the API's port, until `answerAgain`. */
  async goAway() {
    await shut(this.api)
  }

  async answerAgain() {
    await listen(this.api, this.ports[0] ?? 0)
  }

  /** What the service must be told to use us. */
  settings() {
    return {
      MODELSLAB_BASE_URL: `http://127.0.0.1:${this.ports[0]}`,
      ALLOWED_PRIVATE_ORIGINS: `${this.origin(0)},${this.origin(1)}`,
    }
  }

  processing(job: Job): Json {
    return {
      status: 'processing',
      id: job.id,
      eta: 0.05,
      messege: 'Try to fetch request after seconds estimated',
      output: [],
      webhook_status: '',
      fetch_result: `http://127.0.0.1:${this.ports[0]}/api/v6/images/fetch/${job.id}`,
      // ModelsLab echoes what it was sent, our webhook URL included.
      meta: { ...job.body, key: undefined, W: job.body['width'] },
    }
  }

  success(job: Job): Json {
    return {
      status: 'success',
      id: job.id,
      track_id: job.trackId,
      generationTime: 1.5,
      output: job.paths.map((path) => this.origin(0) + path),
      proxy_links: Object.fromEntries(
        job.paths.map((path, n) => [String(n), this.origin(1) + path]),
      ),
      nsfw_content_detected: false,
      meta: { ...job.body, key: undefined, seed: 4139316548 },
    }
  }

  /**
   * The result is there: fetches say so, and the webhook is called once, and again until somebody
   * takes it.
   */
  async finish(job: Job, body = this.success(job)) {
    job.fetched = body
    await this.callUntilTaken(job, body)
  }

  async callUntilTaken(job: Job, body: Json) {
    while (this.isOpen) {
      const { status } = await this.call(job, body)
      if (status !== undefined && status < 300) return
      await delay(50)
    }
  }

  /** One delivery to a webhook. */
  async call(
    { trackId, webhook }: Pick<Job, 'trackId' | 'webhook'>,
    body: unknown,
  ): Promise<Delivery> {
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    const answered = await post(webhook, text)
    const delivery = { at: Date.now(), trackId, sha256: sha256(text), ...answered }
    this.deliveries.push(delivery)
    return delivery
  }

  /**
   * So many deliveries of one body that all arrive in the same instant, each on a connection of its
   * own.
   */
  async callAtOnce({ webhook }: Job, body: unknown, times: number) {
    const sockets = await Promise.all(Array.from({ length: times }, () => connected(webhook)))
    const request = rawPost(webhook, JSON.stringify(body))
    const answers = sockets.map(statusOf)
    for (const socket of sockets) socket.write(request)
    return Promise.all(answers)
  }

  origin(host: number) {
    return `http://127.0.0.1:${this.ports[host + 1]}`
  }

  private async serveApi(request: IncomingMessage, response: ServerResponse) {
    const body = JSON.parse(await textOf(request)) as Json
    const fetched = /^\/api\/v6\/images\/fetch\/(\d+)$/u.exec(request.url ?? '')?.[1]
    if (fetched) {
      this.fetches.push({ at: Date.now(), id: Number(fetched) })
      const job = this.submissions.find(({ id }) => id === Number(fetched))
      respond(response, 200, job?.fetched ?? { status: 'error', message: 'Request not found' })
    } else if (request.url === '/api/v6/images/inpaint') {
      await this.submitted(body, response)
    } else {
      respond(response, 404, { status: 'error', message: `no such path: ${request.url ?? ''}` })
    }
  }

  private async submitted(body: Json, response: ServerResponse) {
    const id = 134_712_000 + this.submissions.length
    const samples = Array.from({ length: Number(body['samples']) }, (_, position) => position)
    const job: Job = {
      id,
      trackId: String(body['track_id']),
      webhook: String(body['webhook']),
      body,
      at: Date.now(),
      pictures: samples.map((position) => picture(id * 4 + position)),
      paths: samples.map((position) => `/generations/${position}-${id}.png`),
      fetched: { status: 'processing', messege: 'try again later.', output: '' },
    }
    this.submissions.push(job)
    const answer: Answer = {
      json: (json, status = 200) => respond(response, status, json),
      cut: () => {
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': 900 })
        response.write('{"status":"processing","id":13', () => response.destroy())
      },
    }
    try {
      await this.script(job, answer, this)
    } catch (error) {
      this.failures.push(error)
    }
  }

  private async serveImage(host: number, request: IncomingMessage, response: ServerResponse) {
    const path = request.url ?? ''
    const bytes = this.submissions.flatMap(
      ({ paths, pictures }) => pictures[paths.indexOf(path)] ?? [],
    )[0]
    const status = bytes && !this.isMissing(this.origin(host) + path) ? 200 : 404
    this.gets.push({ at: Date.now(), url: this.origin(host) + path, status })
    await delay(this.imageDelayMs)
    response
      .writeHead(status, { 'content-type': 'text/plain' })
      .end(status === 200 ? bytes : '<html>no such file</html>')
  }

  private isMissing(url: string) {
    const times = this.late.get(url) ?? 0
    this.late.set(url, times - 1)
    return times > 0
  }
}

function respond(response: ServerResponse, status: number, body: Json) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

async function textOf(request: IncomingMessage) {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}

async function post(url: string, body: string) {
  try {
    const response = await fetch(url, {
      method: 'POST',
      body,
      headers: { 'content-type': 'text/plain' },
    })
    await response.arrayBuffer()
    return { status: response.status, retryAfter: response.headers.get('retry-after') }
  } catch {
    return { status: undefined, retryAfter: null }
  }
}

const rawPost = (url: string, body: string) =>
  `POST ${new URL(url).pathname} HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`

function connected(url: string) {
  const { port } = new URL(url)
  return new Promise<Socket>((resolve, reject) => {
    const socket = connect(Number(port), '127.0.0.1', () => resolve(socket)).once('error', reject)
  })
}

async function statusOf(socket: Socket) {
  let answer = ''
  for await (const chunk of socket) answer += String(chunk)
  return Number(answer.slice('HTTP/1.1 '.length).slice(0, 3))
}

function listen(server: Server, port: number) {
  return new Promise<number>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => resolve((server.address() as AddressInfo).port))
  })
}

function shut(server: Server) {
  return new Promise<void>((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}
