import { ImageFailure } from '../../../src/errors.ts'
import type { Reply as Answer } from '../../../src/model/outcome.ts'
import type { GetResponse } from '../../../src/deps.ts'
import { readReply } from '../../../src/modelslab/read.ts'
import { png } from '../world.ts'
import type { Downloaded, Message } from './model.ts'
import type { Body, LinkName, Page, Reply, Told } from './steps.ts'

const MEBIBYTE = 1024 * 1024
export const FULL_SECONDS = 30

export const PROCESSING: Told = {
  says: 'processing',
  outputs: [],
  proxies: null,
  nsfw: undefined,
  hasId: true,
  n: 0,
}
export const FAILED: Told = { ...PROCESSING, says: 'failed' }

/** Whether a fetch that says so ends all asking. */
export const isDecisive = ({ says, outputs, proxies }: Told) =>
  says === 'failed' || (says === 'success' && outputs.length + (proxies?.length ?? 0) > 0)

// An hour after a story begins.
const SOON = Date.UTC(2026, 0, 31, 13) / 1000
const QUERIES: Record<string, string> = { soon: `?Expires=${SOON}`, dead: '?Expires=1500000000' }

/** Every generation has links of its own. */
function urlOf(id: string, link: LinkName) {
  const [name = '', query = ''] = link.split('?')
  const host = name === 'm' || name === 'n' ? 'cdn2.example.com' : 'pub-1.r2.dev'
  return `https://${host}/${id}/${name}.png${QUERIES[query] ?? ''}`
}

const nameIn = (url: string) => /(\w)\.png/u.exec(url)?.[1] ?? ''

export function linkIn(url: string) {
  const query = Object.keys(QUERIES).find((one) => url.endsWith(QUERIES[one] ?? ''))
  return (query === undefined ? nameIn(url) : `${nameIn(url)}?${query}`) as LinkName
}

export function messageOf(id: string, told: Told): Message {
  const { says, outputs, proxies, nsfw, future = [], hasId } = told
  return {
    says,
    outputs: outputs.map((link) => urlOf(id, link)),
    proxies: proxies && proxies.map((link) => urlOf(id, link)),
    nsfw,
    future: future.map((link) => urlOf(id, link)),
    providerId: hasId ? `p-${id}` : null,
  }
}

export function textOf(id: string, told: Told) {
  const { says, outputs, proxies, nsfw, future, providerId } = messageOf(id, told)
  return JSON.stringify({
    status: says,
    id: providerId ?? '',
    track_id: id,
    ...(says === 'failed' ? { message: 'Failed, Try Again' } : { output: outputs }),
    ...(proxies && { proxy_links: proxies }),
    ...(nsfw !== undefined && { nsfw_content_detected: nsfw }),
    ...(future.length > 0 && { future_links: future }),
    n: told.n,
  })
}

export function noiseOf({ noise, n }: Exclude<Body, Told>, id: string) {
  if (noise === 'unreadable') return `<h1>${n}</h1>`
  if (noise === 'too_large') return String(n).repeat(MEBIBYTE + 1)
  const output = ['https://elsewhere.example.com/x.png']
  return JSON.stringify({
    status: 'success',
    track_id: `not ${id}`,
    output,
    nsfw_content_detected: true,
    n,
  })
}

/** How a submission is answered without a word that is of the generation. */
export function answerOf(reply: Exclude<Reply, Told | 'hesitates'>): Answer {
  const message = 'Rate limit exceeded. Maximum 5 queued requests allowed.'
  switch (reply) {
    case 'full':
      return readReply(429, '', FULL_SECONDS)
    case 'limited':
      return readReply(
        200,
        JSON.stringify({ status: 'error', message, retry_after: FULL_SECONDS }),
        null,
      )
    case 'not there':
      return {
        status: 'held',
        retryAfterSeconds: null,
        full: false,
        unsent: true,
        reason: 'connect ECONNREFUSED',
      }
    case 'wall':
      return readReply(403, '<h1>Just a moment…</h1>', null)
    case 'lost':
      return { status: 'unreadable', reason: 'The operation was aborted due to timeout' }
    case 'page':
      return readReply(503, '<h1>Service Unavailable</h1>', null)
    case 'odd':
      return readReply(200, '{"status":"thinking"}', null)
    case 'cut':
      return readReply(200, '{"status":"succ', null)
  }
}

/** What a download of a page brings. */
export const DOWNLOADED: Record<Page, Downloaded> = {
  whole: 'whole',
  short: 'short',
  absent: 'failed',
  html: 'failed',
  hangs: 'failed',
  refused: 'refused',
}

const red = await png('red')
const PICTURES: Record<string, Uint8Array> = {
  a: red,
  b: await png('green'),
  c: await png('blue'),
  m: red,
  n: await png('black'),
}

export function pageOf(url: string, page: Page): GetResponse {
  const picture = PICTURES[nameIn(url)] ?? new Uint8Array()
  switch (page) {
    case 'whole':
      return responded(200, picture)
    case 'short':
      return responded(200, picture.subarray(0, -20))
    case 'html':
      return responded(200, new TextEncoder().encode('<html>soon</html>'))
    case 'absent':
      return responded(404, new Uint8Array())
    case 'refused':
      throw new ImageFailure('refused_address', 'not public', { final: true })
    case 'hangs':
      throw new ImageFailure('timeout', 'too slow')
  }
}

const responded = (status: number, bytes: Uint8Array): GetResponse => ({
  status,
  header: (name) => (name === 'content-length' ? String(bytes.byteLength) : undefined),
  body: ReadableStream.from([bytes]),
  discard: () => undefined,
})
