import { ImageFailure } from '../errors.ts'
import type { Get, GetResponse } from '../deps.ts'
import { judgeUrl, type UrlPolicy } from './image-url.ts'
import { readBody, type Download } from './read-body.ts'

const MAX_REDIRECTS = 3
const REDIRECTS = new Set([301, 302, 303, 307, 308])
const WHOLE = new Set([200, 201, 203])
const ABSENT = new Set([403, 404, 410])

export interface DownloadPolicy extends UrlPolicy {
  maxBytes: number
  /** For everything together: all hops, and the body to its last byte. */
  timeoutMs: number
}

/**
 * The bytes behind `url`, as they were sent. `get` must give up when its signal aborts, the body
 * included. Throws ImageFailure: every code but `store_failed`. Final are a refused URL, its
 * refused address, and a declared length over `maxBytes`; what a redirect leads to may be another
 * thing the next time.
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
  return new ImageFailure('refused_redirect', message, { cause })
}

async function take(response: GetResponse, maxBytes: number, signal: AbortSignal) {
  try {
    judgeStatus(response)
    return await readBody(response, maxBytes, signal)
  } finally {
    response.discard()
  }
}

function judgeStatus(response: GetResponse) {
  if (ABSENT.has(response.status))
    throw new ImageFailure('not_found', `The host answered ${response.status}.`)
  if (!WHOLE.has(response.status) && !isWholeRange(response))
    throw new ImageFailure('unreachable', `The host answered ${response.status}.`)
}

/**
 * A 206 that nobody asked for, of everything from the first byte to the last (RFC 9110, section
 * 14.4). Where it does not say how much everything is, the picture tells.
 */
function isWholeRange({ status, header }: GetResponse) {
  const range = /^bytes\s+0-(\d{1,15})\/(\d{1,15}|\*)$/iu.exec(
    header('content-range')?.trim() ?? '',
  )
  if (status !== 206 || range === null) return false
  const [, last, all] = range
  return all === '*' || Number(last) + 1 === Number(all)
}
