const YEAR_2000_MS = Date.UTC(2000, 0)
const TEN_YEARS_MS = 10 * 365 * 24 * 3600 * 1000

/**
 * When the link dies, in milliseconds since the epoch: what its query says (`Expires`, as
 * CloudFront and S3's version 2 write it, or `X-Amz-Date` with `X-Amz-Expires`; the earlier where
 * both stand), and else `offeredAt + lifetimeMs`. A time before 2000 or over ten years past
 * `offeredAt` is not believed. The result may lie before `offeredAt`.
 */
export function linkExpiresAt(url: string, offeredAt: number, lifetimeMs: number): number {
  const query = queryOf(url)
  const isBelievable = (at: number) => at >= YEAR_2000_MS && at <= offeredAt + TEN_YEARS_MS
  const stated = [epochExpiry(query), signedExpiry(query)].filter(isBelievable)
  return stated.length > 0 ? Math.min(...stated) : offeredAt + lifetimeMs
}

function queryOf(url: string) {
  if (!url.includes('?') || !URL.canParse(url)) return new Map<string, string>()
  return new Map([...new URL(url).searchParams].map(([name, value]) => [name.toLowerCase(), value]))
}

/** NaN, which no comparison believes, where the query does not say; so with all below. */
function epochExpiry(query: Map<string, string>) {
  return wholeNumber(query.get('expires')) * 1000
}

function signedExpiry(query: Map<string, string>) {
  return basicIsoTime(query.get('x-amz-date')) + wholeNumber(query.get('x-amz-expires')) * 1000
}

function wholeNumber(value = '') {
  return /^\d{1,12}$/.test(value) ? Number(value) : NaN
}

/** `20260131T235959Z`, ISO 8601's basic form, which Date.parse does not read. */
function basicIsoTime(value = '') {
  return Date.parse(
    value.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'),
  )
}
