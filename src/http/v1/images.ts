import { type Context, Hono } from 'hono'
import { z } from 'zod'
import { AppError } from '../../errors.ts'
import type { ImageSource } from '../../model/image.ts'
import type { ImageRow } from '../../ledger/generations.ts'
import type { Deps, ByteRange } from '../../deps.ts'
import type { AuthEnv } from '../plumbing/auth.ts'
import { readQuery } from '../plumbing/fields.ts'
import { readable } from './generations.ts'
import { problem } from '../plumbing/problem.ts'
import { readRange } from '../plumbing/range.ts'

/** An archived image: what we keep of it is known. */
type ArchivedImage = ImageRow & {
  sha256: string
  bytes: number
  contentType: string
  objectKey: string
}

const imageQuery = z.strictObject({
  source: z.enum(['output', 'proxy'], 'expected output or proxy').optional(),
})

export function imageRoutes(deps: Deps) {
  return new Hono<AuthEnv>().get('/:position', async (c) => {
    const { source } = readQuery(c, imageQuery)
    const { generation } = await readable(deps, c)
    const image = await find(deps, generation.id, c.req.param('position'), source)
    const headers = headersOf(image, source !== undefined || image.source === 'output')
    if (matches(c.req.header('if-none-match'), etagOf(image)))
      return new Response(null, { status: 304, headers })
    const headOnly = c.req.method === 'HEAD'
    // What is signed is a GET: the store would refuse the HEAD that follows the redirect.
    if (deps.config.imageDelivery === 'presign' && deps.objects.presign && !headOnly)
      return redirect(await presigned(deps.objects.presign(image.objectKey, shownAs(image))))
    const range = rangeOf(c, image)
    return range === 'unsatisfiable'
      ? unsatisfiable(image)
      : send(deps, image, headers, range, headOnly)
  })
}

async function find(
  deps: Deps,
  id: string,
  position: string,
  source?: ImageSource,
): Promise<ArchivedImage> {
  const copies = /^\d{1,4}$/u.test(position)
    ? await deps.ledger.images.readAt(id, Number(position))
    : []
  const asked = source === undefined ? copies : copies.filter((copy) => copy.source === source)
  const archived = asked.find((copy): copy is ArchivedImage => copy.status === 'archived')
  if (archived) return archived
  const pending = asked.find(({ status }) => status === 'pending')
  if (pending)
    throw new AppError('not_archived_yet', 'This image is not archived yet.', {
      retryAfterSeconds: retryAfter(pending, deps.now()),
    })
  if (asked.length > 0)
    throw new AppError(
      'image_lost',
      'This image was lost: no place that it was offered from had it.',
    )
  throw new AppError('not_found', 'This generation has no such image.')
}

const retryAfter = ({ dueAt }: ImageRow, now: number) =>
  Math.min(Math.max(Math.ceil(((dueAt ?? now) - now) / 1000), 1), 60)

const matches = (header: string | undefined, etag: string) =>
  header !== undefined &&
  header.split(',').some((one) => [etag, '*'].includes(one.trim().replace(/^W\//u, '')))

const etagOf = ({ sha256 }: ArchivedImage) => `"${sha256}"`

/**
 * Ranges are for GET (RFC 9110, section 14.2), and with If-Range (13.1.5) for the very same bytes;
 * else it is the whole.
 */
function rangeOf(c: Context, image: ArchivedImage) {
  const range = c.req.header('range')
  const ifRange = c.req.header('if-range') ?? etagOf(image)
  return range === undefined || c.req.method === 'HEAD' || ifRange !== etagOf(image)
    ? null
    : readRange(range, image.bytes)
}

const PRESIGNED_SECONDS = 300

/** Signing asks nobody but whoever gives out the credentials, where they change. */
const presigned = (signing: Promise<string>) =>
  signing.catch((cause: unknown) => {
    throw new AppError('unavailable', 'The image cannot be signed for.', {
      cause,
      retryAfterSeconds: 5,
    })
  })

/** The type that we found, whatever the store would say, and a name of our own. */
const shownAs = ({ objectKey, contentType }: ArchivedImage) => ({
  expiresSeconds: PRESIGNED_SECONDS,
  contentType,
  disposition: `inline; filename="${objectKey.slice(objectKey.lastIndexOf('/') + 1)}"`,
})

/**
 * The URL opens the object to whoever has it, so nobody but this client may keep the answer, and
 * not for long.
 */
const redirect = (location: string) =>
  new Response(null, {
    status: 302,
    headers: { location, 'cache-control': 'private, no-store', 'referrer-policy': 'no-referrer' },
  })

function unsatisfiable({ bytes }: ArchivedImage) {
  const response = problem(
    new AppError('range_not_satisfiable', `Expected a range inside ${bytes} bytes.`),
  )
  response.headers.set('content-range', `bytes */${bytes}`)
  return response
}

/** Strangers' bytes: whatever they are, a browser must not run them. */
function headersOf(image: ArchivedImage, isLasting: boolean) {
  return new Headers({
    'content-type': image.contentType,
    etag: etagOf(image),
    'accept-ranges': 'bytes',
    // A proxy copy that stands in for an output gives way to it.
    'cache-control': isLasting ? 'private, max-age=31536000, immutable' : 'private, no-cache',
    'x-content-type-options': 'nosniff',
    'content-security-policy':
      "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox",
  })
}

async function send(
  deps: Deps,
  image: ArchivedImage,
  headers: Headers,
  range: ByteRange | null,
  headOnly: boolean,
) {
  headers.set('content-length', String(range ? range.end - range.start + 1 : image.bytes))
  if (range) headers.set('content-range', `bytes ${range.start}-${range.end}/${image.bytes}`)
  const status = range ? 206 : 200
  if (headOnly) return new Response(null, { status, headers })
  const body = await read(deps, image, range)
  return body === 'unreadable' ? unreadable() : new Response(body, { status, headers })
}

/** The ledger says how long the image is, whatever the store does: nothing else is sent. */
async function read({ objects }: Deps, image: ArchivedImage, range: ByteRange | null) {
  const { objectKey, bytes } = image
  let object
  try {
    object = await objects.get(objectKey, range ?? undefined)
    if (object?.bytes === null && !range) {
      await object.body.cancel()
      object = await objects.get(objectKey, { start: 0, end: bytes - 1 })
    }
  } catch {
    return 'unreadable'
  }
  if (!object) throw new Error(`the archived object ${objectKey} is missing from the store`)
  if (object.bytes === null || object.bytes === bytes) return object.body
  await object.body.cancel()
  throw new Error(`the archived object ${objectKey} has ${object.bytes} bytes and not ${bytes}`)
}

/** The log says so once a minute: no error in it for each client that asks. */
const unreadable = () =>
  problem(
    new AppError('unavailable', 'The object store does not give the image.', {
      retryAfterSeconds: 5,
    }),
  )
