import {
  DeleteObjectCommand,
  GetObjectCommand,
  paginateListObjectsV2,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import Database from 'better-sqlite3'
import type { Radosgw } from '../radosgw.ts'
import type { Settings } from './program.ts'
import { sha256 } from './stand-in.ts'

export type S3Server = Pick<Radosgw, 'endpoint' | 'bucket' | 'credentials'>

/** What the service must be told to keep its objects there. */
export const s3Settings = ({ endpoint, bucket, credentials }: S3Server): Settings => ({
  S3_ENDPOINT: endpoint,
  S3_BUCKET: bucket,
  AWS_ACCESS_KEY_ID: credentials.accessKeyId,
  AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
})

/** A bucket as a client of its own sees it, that shares nothing with the service's. */
export class Bucket {
  private readonly client: S3Client
  private readonly name: string

  constructor({ endpoint, bucket, credentials }: S3Server) {
    this.name = bucket
    this.client = new S3Client({ endpoint, credentials, region: 'us-east-1', forcePathStyle: true })
  }

  /** Every picture's key, and the SHA-256 of what is really there. */
  async pictures(): Promise<Map<string, string>> {
    const keys = await this.keys('sha256/')
    return new Map(
      await Promise.all(keys.map(async (key) => [key, sha256(await this.read(key))] as const)),
    )
  }

  async keys(prefix: string) {
    const pages = paginateListObjectsV2(
      { client: this.client },
      { Bucket: this.name, Prefix: prefix },
    )
    const keys = []
    for await (const { Contents = [] } of pages)
      keys.push(...Contents.flatMap(({ Key }) => Key ?? []))
    return keys
  }

  async empty() {
    const keys = await this.keys('')
    await Promise.all(
      keys.map((key) => this.client.send(new DeleteObjectCommand({ Bucket: this.name, Key: key }))),
    )
  }

  async read(key: string): Promise<Uint8Array> {
    const { Body } = await this.client.send(new GetObjectCommand({ Bucket: this.name, Key: key }))
    if (!Body) throw new Error(`no body: ${key}`)
    return Body.transformToByteArray()
  }

  async write(key: string, bytes: Uint8Array) {
    await this.client.send(new PutObjectCommand({ Bucket: this.name, Key: key, Body: bytes }))
  }

  close() {
    this.client.destroy()
  }
}

/** Every object that the ledger says is there: its key, and the SHA-256 that it should have. */
export function picturesInLedger(path: string): Map<string, string> {
  const ledger = new Database(path, { readonly: true })
  try {
    const rows = ledger
      .prepare("select object_key, sha256 from images where status = 'archived'")
      .raw()
      .all()
    return new Map(rows as [string, string][])
  } finally {
    ledger.close()
  }
}
