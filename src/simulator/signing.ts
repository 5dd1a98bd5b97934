import { createHash } from 'node:crypto'
import type { Knobs } from './knobs.ts'

/**
 * The link as a message names it at `now`: as it is, or with a query that says when it dies, in
 * whole seconds.
 */
export function sign(link: string, { signed, lifetime }: Knobs, now: number) {
  if (signed === 'no') return link
  const url = new URL(link)
  const from = Math.floor(now / 1000)
  const until = Math.ceil(now / 1000 + lifetime)
  const signature = signatureOf(url, until)
  const query = signed === 'expires' ? cloudFront(until, signature) : s3(from, until, signature)
  return `${link}?${new URLSearchParams(query).toString()}`
}

/** Whether `url` carries a query that `sign` made, and that has not run out. */
export function isSigned(url: URL, now: number) {
  const query = url.searchParams
  const until = query.has('Expires') ? Number(query.get('Expires')) : s3Until(query)
  const signature = query.get('Signature') ?? query.get('X-Amz-Signature')
  return signature === signatureOf(url, until) && now < until * 1000
}

function cloudFront(until: number, signature: string) {
  return { Expires: String(until), Signature: signature, 'Key-Pair-Id': 'KSIMULATOR' }
}

function s3(from: number, until: number, signature: string) {
  const date = new Date(from * 1000).toISOString().replace(/-|:|\.\d+/g, '')
  return {
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': `AKIASIMULATOR/${date.slice(0, 8)}/auto/s3/aws4_request`,
    'X-Amz-Date': date,
    'X-Amz-Expires': String(until - from),
    'X-Amz-SignedHeaders': 'host',
    'X-Amz-Signature': signature,
  }
}

function s3Until(query: URLSearchParams) {
  const date = query.get('X-Amz-Date') ?? ''
  const iso = date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z')
  return Date.parse(iso) / 1000 + Number(query.get('X-Amz-Expires'))
}

// No secret is in it: it is there to notice a query that was changed or left out.
function signatureOf({ pathname }: URL, until: number) {
  return createHash('sha256').update(`${pathname}\n${until}`).digest('hex')
}
