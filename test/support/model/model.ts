/**
 * The states that the contract promises, once more and in other words: what a generation must be
 * after everything that was told of it. It knows nothing of how the program decides, and does not
 * say when things happen, only what follows.
 */

export const HOUR_MS = 3_600_000
export const DAY_MS = 24 * HOUR_MS

export type Road = 'reply' | 'callback' | 'fetch'
export type Source = 'output' | 'proxy'

/** A message of the provider that can be read. */
export interface Message {
  says: 'success' | 'processing' | 'failed'
  outputs: string[]
  /** Null: the message has no such field. */
  proxies: string[] | null
  /** Undefined: the message has no such field. */
  nsfw: boolean | null | undefined
  /** Links that may show something later. */
  future: string[]
  providerId: string | null
}

export type Unusable = 'unreadable' | 'mismatched' | 'too_large'

/** What came of one download. */
export type Downloaded = 'whole' | 'short' | 'failed' | 'refused' | 'not stored'

interface Place {
  url: string
  expiresAt: number
  exhausted: boolean
}

interface Picture {
  source: Source
  position: number
  state: 'pending' | 'archived' | 'lost'
  places: Place[]
  /** Waits for the fetch that asks for fresh links. */
  parked: boolean
  asked: boolean
  hasShortCopy: boolean
  isTruncated: boolean
  /** The link that its copy came from. */
  from: string | null
}

export interface Story {
  id: string
  requestedAt: number
  status: 'requested' | 'processing' | 'unconfirmed' | 'succeeded' | 'failed'
  failure: string | null
  providerId: string | null
  /** Where the submission is: in our queue, on its way, or answered (or of another ledger). */
  submission: 'held' | 'out' | 'over'
  /** Submissions since it was last held back: more than one was paid twice. */
  sent: number
  tries: number
  departures: number
  /** Refusals of its own, and behind whom they put it in line. */
  refusals: number
  behind: string | null
  /** Links of which nobody said yet that they show something. */
  promised: string[]
  reports: ('flagged' | 'clear' | 'unknown')[]
  pictures: Picture[]
  /** Links that only contradicted so far. */
  suspects: { source: Source; position: number; url: string; expiresAt: number }[]
  callbacks: { text: string; decision: string; count: number }[]
  isFetchOwed: boolean
}

export const begun = (id: string, requestedAt: number): Story => ({
  id,
  requestedAt,
  status: 'requested',
  failure: null,
  providerId: null,
  submission: 'held',
  sent: 0,
  tries: 0,
  departures: 0,
  refusals: 0,
  behind: null,
  promised: [],
  reports: [],
  pictures: [],
  suspects: [],
  callbacks: [],
  isFetchOwed: false,
})

/** Our ledger was restored from a backup: somebody submitted it, and not this ledger. */
export const adopted = (id: string, requestedAt: number): Story => ({
  ...begun(id, requestedAt),
  status: 'unconfirmed',
  submission: 'over',
})

const hasEnded = ({ status }: Story) => status === 'succeeded' || status === 'failed'
const endedByTime = ({ failure }: Story) =>
  failure !== null && ['rate_limited', 'submission_unconfirmed', 'no_result'].includes(failure)
const withoutQuery = (url: string) => url.split('?')[0] ?? ''
/** As a link is shown, and remembered once its picture is archived. */
export const shownUrl = (url: string) => url.replace(/=[^&]*/gu, '=***')

/**
 * Requests that wait for their turn; one that has received a callback reached the provider after
 * all.
 */
export const waits = ({ status, submission, callbacks }: Story) =>
  status === 'requested' && submission === 'held' && callbacks.length === 0

/** Whether the provider may be asked: a result is awaited, or an answer is owed. */
export const mayBeAsked = (story: Story) =>
  story.providerId !== null &&
  (story.status === 'processing' || story.isFetchOwed || !hasEnded(story))

/**
 * It waits again; each third refusal of its own puts it behind those who are in line by then.
 */
export function heldBack(story: Story, isOwn: boolean, all: Story[]) {
  if (story.submission !== 'out' || story.status !== 'requested') return
  Object.assign(story, { submission: 'held', sent: 0 })
  if (!isOwn) return
  story.refusals += 1
  if (story.refusals % 3 > 0) return
  const line = all.filter((one) => one !== story && isHeld(one)).map(placeOf)
  story.behind = line.toSorted().at(-1) ?? null
}

const isHeld = ({ status, submission }: Story) => status === 'requested' && submission === 'held'
const placeOf = ({ behind, id }: Story) => behind ?? id

/** Whether the turn of one comes before that of another. */
export function goesBefore(one: Story, other: Story) {
  if (placeOf(one) !== placeOf(other)) return placeOf(one) < placeOf(other)
  return one.refusals === other.refusals ? one.id < other.id : one.refusals < other.refusals
}

/** No readable answer came, or nobody lives who would have heard it. */
export function unanswered(story: Story) {
  if (story.submission === 'out' && story.status === 'requested') story.status = 'unconfirmed'
  story.submission = 'over'
}

/** Whether that is what ends it. */
export function outOfTime(story: Story, now: number) {
  const isOut = story.status === 'requested' && story.submission === 'out'
  if (hasEnded(story) || isOut || story.requestedAt >= now - DAY_MS) return false
  // What was promised is tried before.
  if (story.promised.length > 0 && story.pictures.length === 0) return false
  if (story.pictures.some(({ state, parked }) => state === 'pending' && !parked)) return false
  forgetTried(story)
  story.failure =
    story.status === 'requested'
      ? 'rate_limited'
      : story.status === 'unconfirmed'
        ? 'submission_unconfirmed'
        : 'no_result'
  story.status = 'failed'
  story.isFetchOwed = false
  return true
}

function forgetTried(story: Story) {
  Object.assign(story, { promised: [], pictures: [] })
}

/** Links that were only promised are tried, until not long past the deadline. */
export function tryPromised(story: Story, at: number) {
  const latest = Math.max(story.requestedAt + DAY_MS, at) + HOUR_MS
  story.pictures = story.promised.map((url, position) => ({
    ...pictured('output', position),
    asked: true,
    places: [{ url, expiresAt: Math.min(expiryOf(url, at), latest), exhausted: false }],
  }))
  story.promised = []
}

/** A callback that cannot be followed is kept, and the provider is asked instead. */
export function unusable(story: Story, what: Unusable) {
  if (story.providerId !== null) story.isFetchOwed = true
  return what
}

/** Takes a message and returns what a callback that says so is called. */
export function hear(story: Story, road: Road, message: Message, at: number): string {
  if (road === 'reply') story.submission = 'over'
  if (message.says === 'success' || message.nsfw !== undefined)
    story.reports.push(verdictOf(message))
  if (message.says === 'failed') return hearFailure(story, road, message)
  const shows = message.outputs.length + (message.proxies ?? []).length > 0 || message.nsfw === true
  if (message.says === 'success' && (shows || story.status === 'succeeded'))
    return hearSuccess(story, road, message, at)
  const decision = hearProcessing(story, road, message)
  // A success that names no other links has these.
  const isPromise = message.says === 'success' && message.future.length > 0
  if (isPromise && !hasEnded(story) && story.pictures.length === 0) tryPromised(story, at)
  return decision
}

const verdictOf = ({ nsfw }: Message) =>
  nsfw === true ? 'flagged' : nsfw === false ? 'clear' : 'unknown'

function hearProcessing(story: Story, road: Road, { providerId, future }: Message) {
  if (!hasEnded(story)) {
    story.status = 'processing'
    if (future.length > 0) story.promised = future
  }
  story.providerId ??= providerId
  // "Not yet" is an answer to whoever asked for fresh links of an old result.
  const isAnswer = hasEnded(story) && story.pictures.some(({ parked }) => parked)
  if (road === 'fetch' && isAnswer) answered(story)
  return 'processing'
}

function hearFailure(story: Story, road: Road, { providerId }: Message) {
  if (story.status === 'succeeded') return contradiction(story, road)
  if (story.status === 'failed') {
    if (road === 'fetch') answered(story)
    return endedByTime(story) ? 'late' : 'duplicate'
  }
  forgetTried(story)
  story.status = 'failed'
  story.failure = road === 'reply' ? 'provider_refused' : 'provider_failed'
  story.providerId ??= providerId
  answered(story)
  return 'accepted'
}

function contradiction(story: Story, road: Road) {
  if (road === 'fetch') answered(story)
  else if (story.providerId !== null) story.isFetchOwed = true
  return 'contradicts'
}

/** The owed fetch was answered; what waited for fresh links in vain is lost. */
function answered(story: Story) {
  story.isFetchOwed = false
  const lost = story.pictures.filter(({ parked }) => parked)
  for (const picture of lost) Object.assign(picture, { state: 'lost', parked: false })
  if (lost.length > 0)
    forget(
      story,
      story.pictures.flatMap(({ places }) => places),
    )
}

interface Link {
  source: Source
  /** Null: it is of no picture that stands. */
  position: number | null
  index: number
  url: string
}

function hearSuccess(story: Story, road: Road, message: Message, at: number) {
  const isFirst = story.status !== 'succeeded'
  const wasLate = endedByTime(story)
  if (isFirst) forgetTried(story)
  const links = located(story, road, message)
  const strange = links.filter(({ position }) => position === null)
  if (isFirst) Object.assign(story, { status: 'succeeded', failure: null })
  if (strange.length > 0) return hearContradiction(story, road, links, at)
  const isNews = offer(story, links, at)
  story.providerId ??= message.providerId
  if (road === 'fetch') answered(story)
  else if (road === 'callback' && tellsTooLittle(story, message)) owe(story)
  if (isFirst) return wasLate ? 'late' : 'accepted'
  return isNews ? 'accepted' : 'duplicate'
}

/**
 * Changes nothing, unless the provider was asked: then what it names beside the contradiction is
 * true.
 */
function hearContradiction(story: Story, road: Road, links: Link[], at: number) {
  if (road !== 'fetch') {
    suspect(story, links, at)
    return contradiction(story, road)
  }
  const strange = links.filter(({ position }) => position === null)
  offer(story, links, at)
  const isNews = suspect(story, strange, at)
  answered(story)
  // What only this fetch named is asked about once more.
  if (isNews) owe(story)
  return 'contradicts'
}

function owe(story: Story) {
  if (story.providerId !== null) story.isFetchOwed = true
}

function tellsTooLittle(story: Story, message: Message) {
  const knowsMirrors =
    message.proxies !== null || story.pictures.some(({ source }) => source === 'proxy')
  return !knowsMirrors || verdict(story).verdict === 'unknown'
}

/**
 * Which picture each link of a message shows: outputs by their URL, proxies by the output of their
 * index.
 */
function located(story: Story, road: Road, { outputs, proxies }: Message): Link[] {
  const known = story.pictures.filter(({ source }) => source === 'output')
  let free = 1 + Math.max(-1, ...story.pictures.map(({ position }) => position))
  const found = likest(known, outputs)
  const positions = outputs.map((url, index) => {
    const best = found[index]
    if (best) return best.position
    const isAwaited =
      road === 'fetch' && known.some(({ parked, position }) => parked && position === index)
    if (known.length === 0 || isAwaited) return index
    const isConfirmed = story.suspects.some((one) => withoutQuery(one.url) === withoutQuery(url))
    return road === 'fetch' && isConfirmed ? free++ : null
  })
  return [
    ...outputs.map((url, index) => ({
      source: 'output' as const,
      position: positions[index] ?? null,
      index,
      url,
    })),
    ...(proxies ?? []).map((url, index) => {
      const position = index < outputs.length ? (positions[index] ?? null) : index
      return { source: 'proxy' as const, position, index, url }
    }),
  ]
}

function likeness({ places, position }: Picture, url: string, index: number) {
  const isSame = places.some((one) => one.url === url)
  const mayBeSame = places.some((one) => one.url === shownUrl(url))
  return (isSame ? 4 : mayBeSame ? 2 : 0) + (position === index ? 1 : 0)
}

/** The known picture of each link: the likest first, and each for one link while there are enough. */
function likest(known: Picture[], urls: string[]) {
  const pairs = urls
    .flatMap((url, index) =>
      known
        .filter(({ places }) => places.some((one) => withoutQuery(one.url) === withoutQuery(url)))
        .map((picture) => ({ index, picture, likeness: likeness(picture, url, index) })),
    )
    .toSorted((a, b) => b.likeness - a.likeness)
  const found: Picture[] = []
  for (const { index, picture } of pairs)
    if (!found[index] && !found.includes(picture)) found[index] = picture
  for (const { index, picture } of pairs) found[index] ??= picture
  return found
}

/** As much of a link as is remembered for a picture: what is archived needs no more of any. */
const remembered = (picture: Picture | undefined, url: string) =>
  picture?.state === 'archived' ? shownUrl(url) : url
const isAmong = (places: Place[], url: string) =>
  places.some((one) => one.url === url || shownUrl(one.url) === url)

/** Those of them that belong to an archived picture. */
export function forget(story: Story, places: { url: string }[]) {
  const urls = new Set(places.map(({ url }) => url))
  for (const picture of story.pictures.filter(({ state }) => state === 'archived')) {
    const { from } = picture
    if (from !== null && urls.has(from)) picture.from = shownUrl(from)
    const shown = picture.places.map((one) =>
      urls.has(one.url) ? { ...one, url: shownUrl(one.url) } : one,
    )
    picture.places = shown.filter((one, n) => shown.findIndex(({ url }) => url === one.url) === n)
  }
}

/** What a link says of its own end, or else a day. */
function expiryOf(url: string, at: number) {
  const stated = statedExpiry(url)
  return stated === Infinity ? at + DAY_MS : stated
}

function statedExpiry(url: string) {
  const said = /[?&]Expires=(\d+)/u.exec(url)?.[1]
  return said === undefined ? Infinity : Number(said) * 1000
}

/** Adds places, and pictures that were not known. Whether anything of it was new. */
function offer(story: Story, links: Link[], at: number) {
  const news = links.flatMap(({ source, position, url: named }) => {
    if (position === null) return []
    const picture = story.pictures.find((one) => one.source === source && one.position === position)
    const url = remembered(picture, named)
    if (picture && isAmong(picture.places, url)) return []
    const first = story.suspects.find(
      (one) => one.source === source && one.position === position && one.url === url,
    )?.expiresAt
    const expiresAt = first ?? expiryOf(named, at)
    return [{ source, position, place: { url, expiresAt, exhausted: false } }]
  })
  for (const { source, position, place } of news.toSorted(
    (a, b) => a.place.expiresAt - b.place.expiresAt,
  )) {
    const known = story.pictures.find((one) => one.source === source && one.position === position)
    const picture = known ?? pictured(source, position)
    if (!known) story.pictures.push(picture)
    if (picture.places.some(({ url }) => url === place.url)) continue
    picture.places.push(place)
    picture.parked = false
    if (
      news.some(
        (one) =>
          one.place.expiresAt < place.expiresAt &&
          one.source === source &&
          one.position === position,
      )
    )
      continue
    const twin = story.pictures.find((one) => one.state === 'archived' && one.from === place.url)
    if (twin && picture.state === 'pending') archive(picture, place.url, twin.isTruncated)
  }
  return news.length > 0
}

const pictured = (source: Source, position: number): Picture => ({
  source,
  position,
  state: 'pending',
  places: [],
  parked: false,
  asked: false,
  hasShortCopy: false,
  isTruncated: false,
  from: null,
})

function archive(picture: Picture, from: string, isTruncated: boolean) {
  Object.assign(picture, { state: 'archived', from, isTruncated, parked: false })
}

/** Keeps what contradicts as evidence. Whether anything of it was new. */
function suspect(story: Story, links: Link[], at: number) {
  const before = story.suspects.length
  for (const { source, position, index, url } of links) {
    const here = { source, position: position ?? index, url: shownUrl(url) }
    const isHere = (one: typeof here) =>
      one.source === source && one.position === here.position && one.url === here.url
    const picture = story.pictures.find((one) => one.source === source && one.position === position)
    const stands = picture && isAmong(picture.places, remembered(picture, url))
    if (!stands && !story.suspects.some(isHere))
      story.suspects.push({ ...here, expiresAt: expiryOf(url, at) })
  }
  return story.suspects.length > before
}

/** A download of one picture from one of its places, that began at `at`. */
export function tried(story: Story, picture: Picture, url: string, what: Downloaded, at: number) {
  const place = picture.places.find((one) => one.url === url)
  if (!place || place.exhausted || picture.state !== 'pending')
    throw new Error(
      `${picture.source} ${picture.position} must not be copied from ${url}: ${JSON.stringify(picture)}`,
    )
  if (what === 'whole') {
    cameHome(story, url)
    return
  }
  if (what === 'short') picture.hasShortCopy = true
  const patience = what === 'not stored' ? DAY_MS : 0
  place.exhausted = what === 'refused' || place.expiresAt + patience <= at
  if (picture.places.some(({ exhausted }) => !exhausted)) return
  if (picture.hasShortCopy) {
    archive(picture, url, true)
    hasPicture(story)
  } else if (story.providerId === null || picture.asked) picture.state = 'lost'
  else {
    Object.assign(picture, { parked: true, asked: true })
    story.isFetchOwed = true
  }
}

/** One download serves every picture that was offered the same link. */
export function cameHome(story: Story, url: string) {
  for (const picture of story.pictures)
    if (picture.state === 'pending' && picture.places.some((one) => one.url === url))
      archive(picture, url, false)
  hasPicture(story)
}

/** What was only promised is a result once it shows something. */
function hasPicture(story: Story) {
  const shows = story.pictures.some(({ state }) => state === 'archived')
  if (hasEnded(story) || !shows) return
  Object.assign(story, { status: 'succeeded', promised: [] })
  owe(story)
}

/**
 * Lost pictures are due again, and a result that time alone denied is asked for; nothing is
 * submitted. Links that said themselves that they would be dead by now wait for fresh ones, where
 * those can be had.
 */
export function retried(story: Story, now: number) {
  const lost = story.pictures.filter(({ state, parked }) => state === 'lost' || parked)
  for (const picture of lost) {
    for (const place of picture.places)
      if (story.providerId === null || statedExpiry(place.url) > now) place.exhausted = false
    const waits = picture.places.every(({ exhausted }) => exhausted)
    Object.assign(picture, { state: 'pending', parked: waits, asked: waits })
    if (waits) owe(story)
  }
  if (story.failure === 'no_result') owe(story)
}

export function verdict({ reports }: Story) {
  const isFlagged = reports.includes('flagged')
  const isClear = reports.includes('clear')
  return {
    verdict: isFlagged ? 'flagged' : isClear ? 'clear' : 'unknown',
    disputed: isFlagged && isClear,
  }
}

export function archiveStatus({ pictures }: Story) {
  const positions = [...new Set(pictures.map(({ position }) => position))]
  const fates = positions.map((position) =>
    fateOf(pictures.filter((one) => one.position === position)),
  )
  if (fates.length === 0) return 'none'
  if (fates.includes('open')) return 'pending'
  if (fates.every((fate) => fate === 'kept')) return 'archived'
  return fates.every((fate) => fate === 'gone') ? 'lost' : 'partial'
}

function fateOf(copies: Picture[]) {
  const primary = copies.find(({ source }) => source === 'output') ?? copies[0]
  const other = copies.find((one) => one !== primary)
  if (primary?.state === 'archived') return 'kept'
  if (primary?.state === 'pending') return 'open'
  return other?.state === 'archived' ? 'substituted' : other?.state === 'pending' ? 'open' : 'gone'
}

/** Whether nothing more is to come of it by itself. */
export const isAtRest = (story: Story) =>
  hasEnded(story) && !story.isFetchOwed && story.pictures.every(({ state }) => state !== 'pending')
