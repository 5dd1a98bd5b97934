/** The host that a link names, as fairness between hosts counts it; empty where it is no URL. */
export const hostOf = (url: string) => (URL.canParse(url) ? new URL(url).host : '')

/**
 * Two links name the same image when all but their query strings are equal: signatures change,
 * pictures do not.
 */
export const withoutQuery = (url: string) => url.replace(/[?#].*$/su, '')

const YEAR_2000_MS = Date.UTC(2000, 0)
const TEN_YEARS_MS = 10 * 365 * 24 * 3600 * 1000

/** Amazon, Google, Alibaba, Huawei and Volcano: each has a date and a number of seconds after it. */
const DATED_SIGNERS = ['amz', 'goog', 'oss', 'obs', 'tos']

/**
 * When the link dies, in milliseconds since the epoch: what it says itself, and else
 * `offeredAt + lifetimeMs`. The result may lie before `offeredAt`.
 */
export function linkExpiresAt(url: string, offeredAt: number, lifetimeMs: number): number {
  return statedExpiry(url, offeredAt) ?? offeredAt + lifetimeMs
}

/**
 * When the link dies by what its query says in the words of a signer that is known: the earliest
 * where several stand, null where none does. A time before 2000 or over ten years past `offeredAt`
 * is not believed.
 */
export function statedExpiry(url: string, offeredAt: number): number | null {
  const isBelievable = (at: number) => at >= YEAR_2000_MS && at <= offeredAt + TEN_YEARS_MS
  const stated = statedIn(queryOf(url)).filter(isBelievable)
  return stated.length > 0 ? Math.min(...stated) : null
}

function queryOf(url: string) {
  if (!url.includes('?') || !URL.canParse(url)) return new Map<string, string>()
  return new Map([...new URL(url).searchParams].map(([name, value]) => [name.toLowerCase(), value]))
}

type Query = ReadonlyMap<string, string>

/** NaN, which no comparison believes, where the query does not say; so with all below. */
const statedIn = (query: Query): number[] => [
  // CloudFront, S3's version 2, and whoever took it over from them.
  seconds(query.get('expires')),
  ...DATED_SIGNERS.map(
    (signer) =>
      basicIsoTime(query.get(`x-${signer}-date`)) + seconds(query.get(`x-${signer}-expires`)),
  ),
  query.has('sig') ? isoTime(query.get('se')) : NaN,
  query.has('hm') ? hexSeconds(query.get('ex')) : NaN,
  ...['q-sign-time', 'q-key-time'].map((name) => endOfPeriod(query.get(name))),
  ...[...query.values()].map(endOfToken),
]

function seconds(value = '') {
  return /^\d{1,12}$/u.test(value) ? Number(value) * 1000 : NaN
}

/** `20260131T235959Z`, ISO 8601's basic form, which Date.parse does not read. */
function basicIsoTime(value = '') {
  return Date.parse(
    value.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/u, '$1-$2-$3T$4:$5:$6Z'),
  )
}

/** Azure: a day, or a time of it down to as much as the signer liked. */
function isoTime(value = '') {
  return /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,7})?)?Z)?$/u.test(value)
    ? Date.parse(value)
    : NaN
}

/** Discord. */
function hexSeconds(value = '') {
  return /^[\da-f]{1,9}$/iu.test(value) ? Number.parseInt(value, 16) * 1000 : NaN
}

/** Tencent's COS: begin and end. */
function endOfPeriod(value = '') {
  return seconds(/^\d+;(\d+)$/u.exec(value)?.[1])
}

/** Akamai, under whatever name its token goes: `st=…~exp=…~acl=…~hmac=…`. */
function endOfToken(value: string) {
  return seconds(/(?:^|~)exp=(\d+)(?:~|$)/u.exec(value)?.[1])
}
