import { ImageFailure } from '../errors.ts'
import type { Get, GetResponse } from '../deps.ts'
import { judgeUrl, type UrlPolicy } from './image-url.ts'
import { readBody, type Download } from './read-body.ts'

const MAX_REDIRECTS = 3
const REDIRECTS = new Set([301, 302, 303, 307, 308])
const ABSENT = new Set([403, 404, 410])

export interface DownloadPolicy extends UrlPolicy {
  maxBytes: number
  /** For everything together: all hops, and the body to its last byte. */
  timeoutMs: number
}

/**
 * The bytes behind `url`, as they were sent. `get` must give up when its signal aborts, the body
 * included. Throws ImageFailure: every code but `store_failed`. Final are a refused URL, address or
 * redirect and a declared length over `maxBytes`. A 204 or 206 is no whole picture: `unreachable`,
 * like every status but 200, 403, 404 and 410.
 */
export async function download(get: Get, url: string, policy: DownloadPolicy): Promise<Download> {
  const limit = new AbortController()
  const timer = setTimeout(() => limit.abort(), policy.timeoutMs)
  try {
    const response = await follow(get, judgeUrl(url, policy), policy, limit.signal)
    return await take(response, policy.maxBytes, limit.signal)
  } catch (cause) {
    if (!limit.signal.aborted) throw cause
    throw new ImageFailure('timeout', `Not done within ${policy.timeoutMs} ms.`, { cause })
  } finally {
    clearTimeout(timer)
  }
}

async function follow(get: Get, first: URL, policy: DownloadPolicy, signal: AbortSignal) {
  const seen = new Set([first.href])
  let at = first
  let response = await get(at, signal)
  while (REDIRECTS.has(response.status)) {
    response.discard()
    if (seen.size > MAX_REDIRECTS) throw refusedRedirect(`More than ${MAX_REDIRECTS} redirects.`)
    at = nextHop(response, at, policy)
    if (seen.has(at.href)) throw refusedRedirect('The redirects go in a circle.')
    seen.add(at.href)
    response = await get(at, signal).catch(refuseAsRedirect)
  }
  return response
}

function nextHop(response: GetResponse, from: URL, policy: DownloadPolicy) {
  const location = response.header('location')
  if (location === undefined) throw refusedRedirect('A redirect without a Location.')
  try {
    return judgeUrl(location, policy, from)
  } catch (error) {
    return refuseAsRedirect(error)
  }
}

function refuseAsRedirect(error: unknown): never {
  if (!(error instanceof ImageFailure) || !error.final) throw error
  throw refusedRedirect(`A redirect to what is refused: ${error.message}`, error)
}

function refusedRedirect(message: string, cause?: ImageFailure) {
  return new ImageFailure('refused_redirect', message, { cause, final: true })
}

async function take(response: GetResponse, maxBytes: number, signal: AbortSignal) {
  try {
    judgeHead(response)
    return await readBody(response, maxBytes, signal)
  } finally {
    response.discard()
  }
}

function judgeHead(response: GetResponse) {
  if (ABSENT.has(response.status))
    throw new ImageFailure('not_found', `The host answered ${response.status}.`)
  if (response.status !== 200)
    throw new ImageFailure('unreachable', `The host answered ${response.status}.`)
  const encoding = response.header('content-encoding')?.trim().toLowerCase() ?? ''
  // We asked for identity. Inflating would let a few kilobytes become gigabytes, and store what was
  // not sent.
  if (encoding !== '' && encoding !== 'identity')
    throw new ImageFailure('not_an_image', 'The body is encoded.')
}
