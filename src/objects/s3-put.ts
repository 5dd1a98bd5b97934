import { setTimeout as delay } from 'node:timers/promises'
import type { S3ServiceException } from '@aws-sdk/client-s3'
import type { ObjectFacts, PutOptions } from '../deps.ts'

/**
 * What a put may carry beside its bytes, and a store may refuse: the condition that nothing is
 * there yet, the SHA-256 that is to be kept with the object, and the MD5 that some demand.
 */
export type Term = 'if-none-match' | 'checksum' | 'md5'

/** What a put says of its bytes; the hash in lower-case hex. */
export type PutAbout = Pick<PutOptions, 'sha256' | 'contentType'>

/** Who carries it out: what is refused throws, with the status in `$metadata` as the SDK has it. */
interface Requests {
  put(key: string, bytes: Uint8Array, about: PutAbout, terms: ReadonlySet<Term>): Promise<void>
  look(key: string, how: { withHash: boolean }): Promise<ObjectFacts | null>
}

const CONFLICT_ATTEMPTS = 5
const CONFLICT_DELAY_MS = 50
/** A store that refuses everything, as one with another key does, is not sent all of it at once. */
const VAIN_MS = 10_000

/**
 * Puts on the terms that a store takes. Which those are it says by refusing, in words of its own:
 * then it is asked with less, and what it did not take is not asked for again. What it took once is
 * not at fault later.
 */
export class S3Puts {
  private readonly requests: Requests
  private readonly taken = new Set<Term>()
  private readonly refused = new Set<Term>()
  private tellsHashes = true
  private vainUntil = 0

  constructor(requests: Requests) {
    this.requests = requests
  }

  /** What is there already where it was to be left alone, else null. */
  async put(key: string, bytes: Uint8Array, options: PutOptions): Promise<ObjectFacts | null> {
    const terms = this.termsOf(options)
    // Two writers may both see nothing: keys name their content, so the second puts the same bytes.
    const there = options.ifAbsent && !terms.has('if-none-match') ? await this.lookFor(key) : null
    if (there) return there
    try {
      await this.send(key, bytes, options, terms)
      return null
    } catch (error) {
      return await this.afterRefusal(error, key, bytes, options, terms)
    }
  }

  private termsOf({ ifAbsent }: PutOptions) {
    const wanted: Term[] = ifAbsent ? ['if-none-match', 'checksum'] : ['checksum']
    if (this.taken.has('md5')) wanted.push('md5')
    return new Set(wanted.filter((term) => !this.refused.has(term)))
  }

  private async afterRefusal(
    error: unknown,
    key: string,
    bytes: Uint8Array,
    options: PutOptions,
    terms: ReadonlySet<Term>,
  ) {
    const refusal = refusalOf(error)
    if (!refusal) throw error
    const there = terms.has('if-none-match') ? await this.lookFor(key) : null
    if (there) {
      if (!isOfCondition(refusal)) this.note(this.refused, ['if-none-match'])
      return there
    }
    if (performance.now() < this.vainUntil) throw error
    const doubted = [...terms].filter(
      (term) => !this.taken.has(term) || (term === 'if-none-match' && isOfCondition(refusal)),
    )
    for (const others of instead(terms, doubted)) {
      if (!(await isTaken(this.send(key, bytes, options, others)))) continue
      this.note(this.refused, without(terms, [...others]))
      return null
    }
    if (doubted.length > 0) this.vainUntil = performance.now() + VAIN_MS
    throw error
  }

  private async send(
    key: string,
    bytes: Uint8Array,
    about: PutAbout,
    terms: ReadonlySet<Term>,
  ): Promise<void> {
    try {
      await this.sendOnce(key, bytes, about, terms)
    } catch (error) {
      if (terms.has('md5') || !isOfMd5(refusalOf(error))) throw error
      await this.send(key, bytes, about, new Set([...terms, 'md5']))
      return
    }
    for (const term of terms) this.taken.add(term)
  }

  /**
   * 409: another write of the key was under way, and S3 asks for the upload once more
   * (docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html).
   */
  private async sendOnce(
    key: string,
    bytes: Uint8Array,
    about: PutAbout,
    terms: ReadonlySet<Term>,
  ) {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.requests.put(key, bytes, about, terms)
        return
      } catch (error) {
        if (!isConflict(refusalOf(error)) || attempt === CONFLICT_ATTEMPTS) throw error
      }
      await delay(CONFLICT_DELAY_MS * 2 ** attempt * Math.random())
    }
  }

  /**
   * What may not be seen counts as absent: without the right to list the bucket, AWS answers 403
   * for what is not there.
   */
  private async lookFor(key: string): Promise<ObjectFacts | null> {
    for (const withHash of this.tellsHashes ? [true, false] : [false])
      try {
        const found = await this.requests.look(key, { withHash })
        this.tellsHashes &&= withHash
        return found
      } catch (error) {
        if (!refusalOf(error)) throw error
      }
    return null
  }

  private note(terms: Set<Term>, found: readonly Term[]) {
    for (const term of found) if (!this.taken.has(term)) terms.add(term)
  }
}

const without = (terms: ReadonlySet<Term>, some: readonly Term[]) =>
  [...terms].filter((term) => !some.includes(term))

/**
 * What a refused put may carry instead: less, as little less as will do; and at last the MD5, which
 * some demand without naming it.
 */
function instead(terms: ReadonlySet<Term>, doubted: readonly Term[]) {
  const fewer = subsetsOf(doubted).map((some) => new Set(without(terms, some)))
  const least = fewer.at(-1)
  return least ? [...fewer, new Set<Term>([...least, 'md5'])] : fewer
}

/** Every choice of some of them, the smallest first, and all of them last. */
function subsetsOf(terms: readonly Term[]): Term[][] {
  const [first, ...rest] = terms
  if (first === undefined) return []
  const others = subsetsOf(rest)
  return [[first], ...others, ...others.map((more) => [first, ...more])]
}

async function isTaken(sent: Promise<void>) {
  try {
    await sent
    return true
  } catch (error) {
    if (!refusalOf(error)) throw error
    return false
  }
}

interface Refusal {
  status: number
  /** The store's own, such as `NotImplemented`; a made-up one where it said none. */
  code: string
  message: string
}

/** Of these, no other words would help: the key, the clock, the length of the body. */
const OF_NO_TERM = [
  'InvalidAccessKeyId',
  'ExpiredToken',
  'RequestTimeTooSkewed',
  'RequestTimeout',
  'EntityTooLarge',
]
const NO_REFUSALS = [404, 408, 413, 429]

/**
 * The answer of a store that is there and will not, or that fails over what it does not know; null
 * for all other trouble. The status is there also where the body was not the XML that the SDK
 * expected.
 */
function refusalOf(error: unknown): Refusal | null {
  const { name = '', message = '', $metadata } = error as Partial<S3ServiceException>
  const status = $metadata?.httpStatusCode ?? 0
  const isRefusal = (status >= 400 && status < 500) || [304, 500, 501].includes(status)
  return isRefusal && !NO_REFUSALS.includes(status) && !OF_NO_TERM.includes(name)
    ? { status, code: name, message }
    : null
}

const isOfCondition = ({ status }: Refusal) => [304, 409, 412].includes(status)
const isConflict = (refusal: Refusal | null) =>
  refusal?.status === 409 &&
  ['ConditionalRequestConflict', 'OperationAborted'].includes(refusal.code)
const isOfMd5 = (refusal: Refusal | null) =>
  /content-?md5/iu.test(`${refusal?.code} ${refusal?.message}`)
