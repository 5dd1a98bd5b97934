import { setTimeout as delay } from 'node:timers/promises'
import { Readable } from 'node:stream'
import {
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  paginateListObjectsV2,
  PutObjectCommand,
  type S3Client,
  type S3ServiceException,
} from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import type { ByteRange, ObjectStore, PresignOptions, PutOptions } from '../deps.ts'
import { type S3Place, s3Client } from './s3-client.node.ts'

const CONFLICT_ATTEMPTS = 5
const CONFLICT_DELAY_MS = 50

interface S3Options extends S3Place {
  bucket: string
}

/**
 * Objects in an S3 bucket; credentials by the SDK's own chain. `head` cannot tell a missing bucket
 * from a missing key. Without the right to list the bucket AWS answers 403 for what is not there,
 * and that is thrown.
 */
export function s3Store(options: S3Options): ObjectStore & { close: () => void } {
  return new S3Store(options)
}

class S3Store implements ObjectStore {
  private readonly client: S3Client
  private readonly bucket: string
  private knowsIfNoneMatch = true

  constructor({ bucket, ...place }: S3Options) {
    this.bucket = bucket
    this.client = s3Client(place)
  }

  async put(key: string, bytes: Uint8Array, options: PutOptions) {
    if (!options.ifAbsent) await this.send(key, bytes, options)
    else if (this.knowsIfNoneMatch) await this.putIfNoneMatch(key, bytes, options)
    else await this.putUnlessSeen(key, bytes, options)
  }

  async get(key: string, range?: ByteRange) {
    const wanted = range && `bytes=${range.start}-${range.end}`
    const command = new GetObjectCommand({ Bucket: this.bucket, Key: key, Range: wanted })
    const answer = await orNull(this.client.send(command))
    return answer && storedObject(answer, range !== undefined)
  }

  async head(key: string) {
    const answer = await orNull(
      this.client.send(new HeadObjectCommand({ Bucket: this.bucket, Key: key })),
    )
    return answer && { bytes: answer.ContentLength ?? 0 }
  }

  async delete(key: string) {
    await orNull(this.client.send(new DeleteObjectCommand({ Bucket: this.bucket, Key: key })))
  }

  async *list(prefix: string) {
    for await (const page of paginateListObjectsV2(
      { client: this.client },
      { Bucket: this.bucket, Prefix: prefix },
    )) {
      for (const { Key, Size } of page.Contents ?? [])
        if (Key !== undefined) yield { key: Key, bytes: Size ?? 0 }
    }
  }

  async presign(key: string, { expiresSeconds, contentType, disposition }: PresignOptions) {
    const command = new GetObjectCommand({
      Bucket: this.bucket,
      Key: key,
      ResponseContentType: contentType,
      ResponseContentDisposition: disposition,
    })
    return getSignedUrl(this.client, command, { expiresIn: expiresSeconds })
  }

  close() {
    this.client.destroy()
  }

  /**
   * 412: there already. 409: another write of the key was under way, and S3 asks for the upload
   * once more (docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html). 501: the
   * server knows no such condition.
   */
  private async putIfNoneMatch(key: string, bytes: Uint8Array, options: PutOptions) {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.send(key, bytes, options, '*')
        return
      } catch (error) {
        const status = statusOf(error)
        if (status === 412) return
        if (status === 501) break
        if (status !== 409 || attempt === CONFLICT_ATTEMPTS) throw error
      }
      await delay(CONFLICT_DELAY_MS * 2 ** attempt * Math.random())
    }
    this.knowsIfNoneMatch = false
    await this.putUnlessSeen(key, bytes, options)
  }

  /**
   * Two writers may both see nothing: keys name their content, so the second write puts the same
   * bytes.
   */
  private async putUnlessSeen(key: string, bytes: Uint8Array, options: PutOptions) {
    if (!(await this.head(key))) await this.send(key, bytes, options)
  }

  private async send(
    key: string,
    bytes: Uint8Array,
    { sha256, contentType }: PutOptions,
    ifNoneMatch?: '*',
  ) {
    const command = new PutObjectCommand({
      Bucket: this.bucket,
      Key: key,
      Body: bytes,
      ContentLength: bytes.byteLength,
      ContentType: contentType,
      IfNoneMatch: ifNoneMatch,
    })
    signAs(command, sha256)
    await this.client.send(command)
  }
}

/**
 * The signer takes a hash that is in the headers already; the server refuses a body that has
 * another.
 */
function signAs(command: PutObjectCommand, sha256: string) {
  command.middlewareStack.add(
    (next) => (args) => {
      const { headers } = args.request as { headers: Record<string, string> }
      headers['x-amz-content-sha256'] = sha256
      return next(args)
    },
    { step: 'build', name: 'signAs' },
  )
}

function storedObject(
  { Body, ContentLength, ContentRange }: GetObjectCommandOutput,
  ranged: boolean,
) {
  if (!(Body instanceof Readable)) throw new Error('the store answered without a body')
  const bytes = ranged ? Number(ContentRange?.split('/')[1]) : ContentLength
  if (bytes === undefined || Number.isNaN(bytes)) {
    Body.destroy()
    throw new Error('the store did not say how long the object is')
  }
  return { bytes, body: Readable.toWeb(Body) }
}

/** By name, as 404 alone may be a missing bucket, or a proxy that knows nothing of S3. */
async function orNull<T>(asked: Promise<T>) {
  try {
    return await asked
  } catch (error) {
    if (['NoSuchKey', 'NotFound'].includes((error as Error).name)) return null
    throw error
  }
}

/** The SDK says it also where the body of the answer was not the XML that it expected. */
function statusOf(error: unknown) {
  return (error as Partial<S3ServiceException>).$metadata?.httpStatusCode
}
