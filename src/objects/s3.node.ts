import type { S3ServiceException } from '@aws-sdk/client-s3'
import type { ByteRange, ObjectStore, StoredObject } from '../deps.ts'
import { cut } from './cut.ts'
import { S3Puts } from './s3-put.ts'
import { type GetAnswer, type S3Options, S3Requests } from './s3-requests.node.ts'

/**
 * Objects in an S3 bucket; credentials by the SDK's own chain. `head` cannot tell a missing bucket
 * from a missing key. Without the right to list the bucket AWS answers 403 for what is not there,
 * and that is thrown.
 */
export function s3Store(options: S3Options): ObjectStore & { close: () => void } {
  const requests = new S3Requests(options)
  const puts = new S3Puts(requests)
  return {
    put: (key, bytes, options) => puts.put(key, bytes, options),
    get: (key, range) => (range ? getPart(requests, key, range) : getWhole(requests, key)),
    head: (key) => requests.look(key, { withHash: false }),
    delete: (key) => requests.delete(key),
    list: (prefix) => requests.list(prefix),
    presign: (key, options) => requests.presign(key, options),
    close: () => requests.close(),
  }
}

async function getWhole(requests: S3Requests, key: string): Promise<StoredObject | null> {
  const answer = await requests.get(key)
  if (!answer) return null
  const { first, last, total } = spanOf(answer)
  if (first === 0 && (total === null || last === total - 1))
    return { bytes: total, body: total === null ? answer.body : bodyOf(answer, 0, total) }
  await answer.body.cancel()
  throw new Error(`the store gave only a part of the object: ${answer.contentRange}`)
}

/**
 * A store may answer a range with the whole, with another part, without a word on the length of the
 * whole, or with a refusal (RFC 9110, sections 14.2 and 15.3.7): what is wanted is cut out of what
 * comes.
 */
async function getPart(
  requests: S3Requests,
  key: string,
  range: ByteRange,
): Promise<StoredObject | null> {
  const answer = await requests.get(key, range).catch(unlessRefused)
  if (answer === null) return null
  const part = answer === 'refused' ? null : partOf(answer, range)
  if (part) return part
  if (answer !== 'refused') await answer.body.cancel()
  const whole = await requests.get(key)
  const found = whole && partOf(whole, range)
  if (whole && !found) {
    await whole.body.cancel()
    throw new Error(`the store gave only a part of the object: ${whole.contentRange}`)
  }
  return found
}

/** What is wanted of an answer; null where it has not all of that, although the object may. */
function partOf(answer: GetAnswer, { start, end }: ByteRange): StoredObject | null {
  const { first, last, total } = spanOf(answer)
  const isToItsEnd = total !== null && last === total - 1
  if (first > start || (last < end && !isToItsEnd)) return null
  const length = Math.max(Math.min(last, end) - start + 1, 0)
  return { bytes: total, body: bodyOf(answer, start - first, length) }
}

/** So many bytes of what came, after the first `skip`, and no more, whatever follows them. */
const bodyOf = ({ body, contentLength }: GetAnswer, skip: number, length: number) =>
  skip === 0 && contentLength === length ? body : cut(body, skip, length)

const CONTENT_RANGE = /^bytes[ =]\s*(\d+)\s*-\s*(\d+)\s*\/\s*(\d+|\*)$/iu

/**
 * Which bytes came, and of how many. What does not say where it ends may end anywhere; what says
 * nothing, or nothing that fits its length and that of the whole, begins nowhere.
 */
function spanOf({ contentRange, contentLength }: GetAnswer) {
  if (contentRange === undefined)
    return { first: 0, last: (contentLength ?? Infinity) - 1, total: contentLength ?? null }
  const [first = Infinity, last = Infinity, total = NaN] = (
    CONTENT_RANGE.exec(contentRange.trim()) ?? []
  )
    .slice(1)
    .map(Number)
  const fits =
    (contentLength === undefined || contentLength === last - first + 1) && !(total <= last)
  return {
    first: fits ? first : Infinity,
    last,
    total: Number.isNaN(total) ? null : total,
  }
}

/** What is not there, and what passes when it is asked later. */
const NO_REFUSALS = [404, 408, 429]

/**
 * Whatever else the store says against a part, it may give the whole. 416 is said, too, of an
 * object that is shorter than it should be.
 */
function unlessRefused(error: unknown) {
  const status = (error as Partial<S3ServiceException>).$metadata?.httpStatusCode ?? 0
  if (status >= 300 && status <= 501 && !NO_REFUSALS.includes(status)) return 'refused' as const
  throw error
}
