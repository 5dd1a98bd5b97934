import { DEADLINE_FAILURES, isTerminal } from './generation.ts'
import { fetchDelayMs, LONGEST_ETA_SECONDS, LONGEST_HOLD_MS } from './backoff.ts'
import type { Outcome, Road } from './outcome.ts'
import { withReport } from './verdict.ts'
import { settledOf, type CallbackDecision } from './known.ts'
import type { Decision, Known, KnownImage, KnownOffer, NewOffer, Settled } from './known.ts'
import { linkExpiresAt } from './link.ts'
import { promisedPlaces, withoutTried } from './promise.ts'
import { seedColumns } from './seed.ts'
import { redactUrl } from './shown-url.ts'
import { isNew, leftOut, placed } from './offers.ts'

/** A message that says nothing of the generation: no answer, or one that cannot be read. */
export interface Silence {
  status: 'unreadable'
  reason: string
  /** The provider asked not to be asked before. */
  retryAfterSeconds?: number | null
}

/** A callback that can be kept and not be followed. */
export interface Unusable {
  status: 'unusable'
  decision: 'unreadable' | 'mismatched' | 'too_large'
}

export type Said = Outcome | Silence | Unusable

/** The settings that a decision goes by. */
interface Rules {
  linkLifetimeMs: number
  reconcileGraceSeconds: number
  resultDeadlineMs: number
}

/** A decision, without the callback that it may be about. */
type Draft = Omit<Decision, 'callback'> & { callbackDecision: CallbackDecision }

/** What a message changes. Pure, so that every sequence of messages can be tried. */
export function decide(known: Known, said: Said, road: Road, at: number, rules: Rules): Draft {
  const draft = untouched(known, road, at)
  noteRoad(draft, said)
  switch (said.status) {
    case 'unreadable':
      silent(known, draft, rules, said.retryAfterSeconds ?? 0)
      return draft
    case 'unusable':
      draft.callbackDecision = said.decision
      if (draft.next.providerId !== null) oweFetch(draft, at)
      return draft
    case 'processing':
      processing(known, draft, said, rules)
      break
    case 'failed':
      failed(known, draft, said, rules)
      break
    case 'succeeded':
      if (showsNothing(known, said)) {
        processing(known, draft, said, rules)
        tryPromised(known, draft, said, rules)
      } else succeeded(known, draft, said, rules)
  }
  report(draft, said)
  return draft
}

/**
 * A success without any URL is not one yet, unless the images were withheld as NSFW or are known
 * already.
 */
const showsNothing = ({ generation }: Known, said: Outcome & { status: 'succeeded' }) =>
  said.images.length === 0 && said.nsfw?.verdict !== 'flagged' && generation.status !== 'succeeded'

function untouched({ generation }: Known, road: Road, at: number): Draft {
  return {
    road,
    at,
    next: settledOf(generation),
    offers: [],
    tries: [],
    forgetsTried: false,
    report: null,
    unnamed: null,
    lost: [],
    events: [],
    callbackDecision: 'duplicate',
  }
}

/** A callback is on record by its own row; a reply and a fetch are by an event. */
function noteRoad(draft: Draft, said: Said) {
  if (draft.road === 'callback') return
  const detail =
    'reason' in said ? { status: said.status, reason: said.reason } : { status: said.status }
  draft.events.push({ event: draft.road === 'reply' ? 'replied' : 'fetched', detail })
}

function silent(known: Known, draft: Draft, rules: Rules, retryAfterSeconds: number) {
  const { next, road, at } = draft
  if (road === 'fetch') askAgain(known, draft, rules, { retryAfterSeconds })
  else if (road === 'reply' && next.status === 'requested') next.status = 'unconfirmed'
  if (road === 'reply' && next.providerId !== null && !isTerminal(next.status))
    next.fetchDueAt ??= at
}

/**
 * A fetch told nothing new: ask again later, and of a generation that has ended not for ever. Fresh
 * links are asked for once: "processing" is an answer to that.
 */
function askAgain(
  known: Known,
  draft: Draft,
  rules: Rules,
  { isAnswer = false, retryAfterSeconds = 0 },
) {
  const { next, at } = draft
  next.fetches += 1
  const waits = known.images.some(({ parked }) => parked)
  const isEnough = (waits && isAnswer) || isGivenUp(next.fetches, rules)
  if (isTerminal(next.status) && (isEnough || !next.fetchOwed)) fetchAnswered(known, draft)
  else
    next.fetchDueAt =
      at +
      Math.max(
        fetchDelayMs(next.fetches, rules.reconcileGraceSeconds),
        Math.min(retryAfterSeconds * 1000, LONGEST_HOLD_MS),
      )
}

/** Whether `fetches` tries, one after the other, span the deadline for results. */
function isGivenUp(fetches: number, { reconcileGraceSeconds, resultDeadlineMs }: Rules) {
  const waits = Array.from({ length: fetches - 1 }, (_, n) =>
    fetchDelayMs(n + 1, reconcileGraceSeconds),
  )
  return waits.reduce((sum, wait) => sum + wait, 0) >= resultDeadlineMs
}

/** Nothing more is to be asked, and an image that waited for a fresh link in vain is lost. */
function fetchAnswered(known: Known, draft: Draft) {
  Object.assign(draft.next, { fetchDueAt: null, fetchOwed: false, fetches: 0 })
  const isOffered = ({ source, position }: KnownImage) =>
    draft.offers.some(
      (one) => !one.contradicts && one.source === source && one.position === position,
    )
  for (const { source, position } of known.images.filter(
    (image) => image.parked && !isOffered(image),
  )) {
    draft.lost.push({ source, position })
    draft.events.push({
      event: 'lost',
      detail: { source, position, reason: 'no fresh link was offered' },
    })
  }
}

function processing(known: Known, draft: Draft, said: Outcome, rules: Rules) {
  const { next, road, at } = draft
  draft.callbackDecision = 'processing'
  const begins = next.status === 'requested' || next.status === 'unconfirmed'
  const learnsId = next.providerId === null && said.providerId !== null
  if (road === 'fetch') {
    askAgain(known, draft, rules, { isAnswer: true })
  } else if (!isTerminal(next.status) && (begins || learnsId)) {
    next.fetches = 0
    next.fetchDueAt =
      at +
      Math.min(said.etaSeconds ?? 0, LONGEST_ETA_SECONDS) * 1000 +
      fetchDelayMs(0, rules.reconcileGraceSeconds)
  }
  if (begins) next.status = 'processing'
  if (!isTerminal(next.status)) {
    learn(next, said)
    if (said.promised.length > 0) next.promised = { by: road, links: said.promised }
  } else next.providerId ??= said.providerId
  if (next.providerId === null) next.fetchDueAt = null
}

/** What a success has no other links than is tried at once; what was only promised, at the end. */
function tryPromised(known: Known, draft: Draft, said: Outcome, rules: Rules) {
  const { next, at } = draft
  if (isTerminal(next.status) || known.images.length > 0 || said.promised.length === 0) return
  draft.tries = promisedPlaces(said.promised, known.generation.id, at, rules)
  next.promised = null
}

function failed(known: Known, draft: Draft, said: Outcome & { status: 'failed' }, rules: Rules) {
  const { next, road, at } = draft
  if (next.status === 'succeeded') {
    contradicts(known, draft, rules)
  } else if (next.status === 'failed') {
    if (endedByDeadline(next)) draft.callbackDecision = 'late'
    if (road === 'fetch') fetchAnswered(known, draft)
  } else {
    learn(next, said)
    const code = road === 'reply' ? 'provider_refused' : 'provider_failed'
    Object.assign(next, {
      status: 'failed',
      finishedAt: at,
      failureCode: code,
      failureMessage: said.message,
    })
    draft.callbackDecision = 'accepted'
    draft.events.push({ event: 'failed', detail: { code, message: said.message } })
    forgetTried(known, draft)
    fetchAnswered(withoutTried(known), draft)
  }
}

/**
 * Kept, and overwrites nothing. What is true only the provider can say, and says twice: it is asked
 * once more.
 */
function contradicts(known: Known, draft: Draft, rules: Rules) {
  const { next, road, at } = draft
  draft.callbackDecision = 'contradicts'
  if (road !== 'fetch') {
    if (next.providerId !== null) oweFetch(draft, at)
    return
  }
  const fetches = next.fetches + 1
  fetchAnswered(known, draft)
  if (draft.offers.some((one) => one.contradicts))
    Object.assign(next, {
      fetchOwed: true,
      fetches,
      fetchDueAt: at + fetchDelayMs(fetches, rules.reconcileGraceSeconds),
    })
}

function oweFetch(draft: Draft, dueAt: number | null) {
  Object.assign(draft.next, { fetchOwed: true, fetches: 0, fetchDueAt: dueAt })
}

/** How it really ended is known now, and so is where its images are. */
function forgetTried({ images }: Known, draft: Draft) {
  draft.next.promised = null
  draft.forgetsTried = images.length > 0
}

function succeeded(
  before: Known,
  draft: Draft,
  said: Outcome & { status: 'succeeded' },
  rules: Rules,
) {
  const first = draft.next.status !== 'succeeded'
  const known = first ? withoutTried(before) : before
  if (first) forgetTried(before, draft)
  const late = endedByDeadline(draft.next)
  const links = placed(known, said.images, draft.road)
  const fresh = links.filter((link) => isNew(known, link))
  draft.offers = fresh.map((link) => offer(link, draft.at, rules))
  if (draft.road === 'fetch' && said.images.length > 0) draft.unnamed = leftOut(known, said.images)
  if (first) {
    Object.assign(draft.next, {
      status: 'succeeded',
      finishedAt: draft.at,
      failureCode: null,
      failureMessage: null,
    })
    draft.next.fetchDueAt = draft.next.fetchOwed ? whenSafe(known, draft) : null
    draft.callbackDecision = late ? 'late' : 'accepted'
  } else if (links.some((link) => link.contradicts)) {
    // Only the provider, where it was asked, is believed in part.
    if (draft.road !== 'fetch')
      draft.offers = draft.offers.map((one) => ({
        ...one,
        url: redactUrl(one.url),
        contradicts: true,
      }))
    contradicts(known, draft, rules)
    return
  } else if (fresh.length > 0) {
    draft.callbackDecision = 'accepted'
  }
  learn(draft.next, said)
  if (draft.road === 'fetch') fetchAnswered(known, draft)
  else if (draft.road === 'callback') oweWhatIsMissing(known, draft, said)
}

/**
 * A callback tells less than a fetch: the verdict and the mirrors are asked for once, when the
 * outputs are safe.
 */
function oweWhatIsMissing(known: Known, draft: Draft, said: Outcome & { status: 'succeeded' }) {
  const { next } = draft
  const lacksProxies =
    !said.mentionsProxies && !known.images.some(({ source }) => source === 'proxy')
  const lacksVerdict =
    (said.nsfw?.verdict ?? 'unknown') === 'unknown' && next.nsfwVerdict === 'unknown'
  if (next.providerId === null || !(lacksProxies || lacksVerdict)) return
  oweFetch(draft, whenSafe(known, draft))
}

/** What is owed beside a success waits until its images are safe; the ledger makes it due then. */
const whenSafe = ({ generation }: Known, { offers, at }: Draft) =>
  offers.length > 0 || generation.archiveStatus === 'pending' ? null : at

const offer = (image: KnownOffer, at: number, rules: Rules): NewOffer => ({
  ...image,
  expiresAt: linkExpiresAt(image.url, at, rules.linkLifetimeMs),
})

function learn(next: Settled, said: Outcome) {
  next.providerId ??= said.providerId
  next.etaS = said.etaSeconds ?? next.etaS
  next.generationTimeS = said.generationTimeSeconds ?? next.generationTimeS
  if (said.seed !== null) Object.assign(next, seedColumns(said.seed))
  next.meta = said.meta ? { ...next.meta, ...said.meta } : next.meta
  next.tip = said.tip ?? next.tip
  next.webhookStatus = said.webhookStatus ?? next.webhookStatus
}

/** Every message that speaks of NSFW is a report, and so is a success that is silent. */
function report(draft: Draft, said: Outcome) {
  if (said.status !== 'succeeded' && said.nsfw === undefined) return
  draft.report = said.nsfw ?? { value: undefined, verdict: 'unknown' }
  const { verdict, disputed } = withReport(
    { verdict: draft.next.nsfwVerdict, disputed: draft.next.nsfwDisputed },
    draft.report.verdict,
  )
  Object.assign(draft.next, { nsfwVerdict: verdict, nsfwDisputed: disputed })
}

const endedByDeadline = ({ status, failureCode }: Settled) =>
  status === 'failed' && failureCode !== null && DEADLINE_FAILURES.includes(failureCode)
