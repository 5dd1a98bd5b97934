import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import {
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  paginateListObjectsV2,
  PutObjectCommand,
  type PutObjectCommandInput,
  type S3Client,
} from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import type { ByteRange, ObjectFacts, PresignOptions } from '../deps.ts'
import type { PutAbout, Term } from './s3-put.ts'
import { type S3Place, s3Client } from './s3-client.node.ts'

/** Room for every archive slot and for records beside them, and no more. */
const WRITING_SOCKETS = 64
/** Each reader holds one for as long as it reads, or stands still for less than half a minute. */
const READING_SOCKETS = 256

/** How objects are to be encrypted where they lie: what some buckets demand of every put. */
export interface S3Encryption {
  algorithm: 'AES256' | 'aws:kms' | 'aws:kms:dsse'
  keyId: string | undefined
}

export interface S3Options extends S3Place {
  bucket: string
  encryption?: S3Encryption | null
}

export interface GetAnswer {
  body: ReadableStream<Uint8Array>
  /**
   * `Content-Range` as it came; empty where a part came and does not say which, as where it comes
   * in several pieces; undefined where this is the whole object.
   */
  contentRange: string | undefined
  /** Of the body; undefined where the store did not say. */
  contentLength: number | undefined
}

/**
 * What S3 can be asked, one request each: no more is decided here. Refusals are thrown as the SDK
 * words them; what is not there is null. Whoever reads slowly, or not at all, holds no connection
 * that a put needs.
 */
export class S3Requests {
  private readonly writing: S3Client
  private readonly reading: S3Client
  private readonly bucket: string
  private readonly encryption: Pick<PutObjectCommandInput, 'ServerSideEncryption' | 'SSEKMSKeyId'>

  constructor({ bucket, encryption, ...place }: S3Options) {
    this.bucket = bucket
    this.writing = s3Client(place, WRITING_SOCKETS)
    this.reading = s3Client(place, READING_SOCKETS)
    this.encryption = encryption
      ? { ServerSideEncryption: encryption.algorithm, SSEKMSKeyId: encryption.keyId }
      : {}
  }

  async put(
    key: string,
    bytes: Uint8Array,
    { sha256, contentType }: PutAbout,
    terms: ReadonlySet<Term>,
  ) {
    const command = new PutObjectCommand({
      ...this.encryption,
      Bucket: this.bucket,
      Key: key,
      Body: bytes,
      ContentLength: bytes.byteLength,
      ContentType: contentType,
      IfNoneMatch: terms.has('if-none-match') ? '*' : undefined,
      ChecksumSHA256: terms.has('checksum') ? base64(sha256) : undefined,
      ContentMD5: terms.has('md5') ? md5Of(bytes) : undefined,
    })
    signAs(command, sha256)
    await this.writing.send(command)
  }

  /** `withHash`: the SHA-256 too, where the store knows it. */
  async look(key: string, { withHash }: { withHash: boolean }): Promise<ObjectFacts | null> {
    const command = new HeadObjectCommand({
      Bucket: this.bucket,
      Key: key,
      ChecksumMode: withHash ? 'ENABLED' : undefined,
    })
    const answer = await orNull(this.writing.send(command))
    if (!answer) return null
    const sha256 = hexOf(answer.ChecksumSHA256)
    return { bytes: answer.ContentLength ?? null, ...(sha256 !== null && { sha256 }) }
  }

  async get(key: string, range?: ByteRange): Promise<GetAnswer | null> {
    const wanted = range && `bytes=${range.start}-${range.end}`
    const command = new GetObjectCommand({ Bucket: this.bucket, Key: key, Range: wanted })
    const answer = await orNull(this.reading.send(command))
    return answer && asAnswer(answer, range !== undefined)
  }

  async delete(key: string) {
    await orNull(this.writing.send(new DeleteObjectCommand({ Bucket: this.bucket, Key: key })))
  }

  async *list(prefix: string) {
    for await (const page of paginateListObjectsV2(
      { client: this.reading },
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
    return getSignedUrl(this.reading, command, { expiresIn: expiresSeconds })
  }

  close() {
    this.writing.destroy()
    this.reading.destroy()
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

function asAnswer(
  { Body, ContentLength, ContentRange, $metadata }: GetObjectCommandOutput,
  isPartAsked: boolean,
): GetAnswer {
  if (!(Body instanceof Readable)) throw new Error('the store answered without a body')
  const isPart = isPartAsked && ![200, 203].includes($metadata.httpStatusCode ?? 0)
  return {
    body: Readable.toWeb(Body),
    contentRange: ContentRange ?? (isPart ? '' : undefined),
    contentLength: ContentLength,
  }
}

const base64 = (hex: string) => Buffer.from(hex, 'hex').toString('base64')
const md5Of = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('base64')

/** Null too for the hash of hashes that an object has which was put in parts. */
function hexOf(checksum: string | undefined) {
  const bytes = Buffer.from(checksum ?? '', 'base64')
  return bytes.byteLength === 32 && !checksum?.includes('-') ? bytes.toString('hex') : null
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
