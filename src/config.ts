import ipaddr from 'ipaddr.js'
import { z } from 'zod'
import { bucketName, endpointProblems, filePath, path } from './config/places.ts'
import type { FieldError } from './errors.ts'
import { redactUrl } from './model/shown-url.ts'

export const SCOPES = ['submit', 'read', 'review', 'admin'] as const
export type Scope = (typeof SCOPES)[number]

export interface Token {
  name: string
  scopes: readonly Scope[]
  /**
   * Lower-case hex of the token's SHA-256, or the token itself where the setting has it in clear.
   */
  secret: { sha256: string } | { token: string }
}

export type Config = z.output<typeof settings>

/** Settings that cannot be used, all of them at once. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly fields: FieldError[]

  constructor(fields: FieldError[]) {
    super(fields.map(({ pointer, message }) => `${pointer}: ${message}`).join('\n'))
    this.fields = fields
  }
}

// Beyond these a timer of Node would fire at once, or a deadline would not be a date.
const MOST_SECONDS = 24 * 3600
const MOST_HOURS = 10 * 366 * 24

const positive = (what: string, most: number) => {
  const message = `expected ${what}, above 0 and at most ${most}`
  return z.coerce.number(message).positive(message).max(most, message)
}
const seconds = (otherwise: number) =>
  positive('seconds, such as 30 or 0.5', MOST_SECONDS).default(otherwise)
const hours = (otherwise: number) =>
  positive('hours, such as 24 or 0.5', MOST_HOURS).default(otherwise)
/** Whole milliseconds: timers take no others. */
const ms = (seconds: number) => Math.max(1, Math.round(seconds * 1000))
const count = (most: number) =>
  z.coerce
    .number('expected a whole number')
    .int('expected a whole number')
    .min(1, 'expected at least 1')
    .max(most, `expected at most ${most}`)
const yesNo = z
  .enum(['true', 'false', 'yes', 'no', '1', '0'], 'expected true or false')
  .transform((word) => /^(?:true|yes|1)$/u.test(word))
const split = (text: string) =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter(Boolean)
const list = z.string().transform(split)
const quoted = (item: string) => JSON.stringify(redactUrl(item))

const baseUrl = z
  .url({ protocol: /^https?$/u, error: 'expected an http or https URL' })
  .transform((text, context) => {
    const { href, username, password } = new URL(text)
    if (/[?#]/u.test(text) || username || password)
      context.addIssue('expected a URL without user, query and fragment')
    return href.replace(/\/+$/u, '')
  })

const HOST_NAME = /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?$/iu
const host = z
  .string()
  .refine(
    (text) => ipaddr.isValid(text) || HOST_NAME.test(text),
    'expected an address or a host name to listen on',
  )

const origins = list.transform((items, context) => {
  for (const item of items)
    if (!URL.canParse(item) || new URL(item).origin !== item.toLowerCase())
      context.addIssue(
        `expected origins such as http://127.0.0.1:9101, separated by commas; ${quoted(item)} is none`,
      )
  return new Set(items.map((item) => item.toLowerCase()))
})

const hosts = list.transform((items, context) => {
  for (const item of items)
    if (!/^\.?[a-z0-9-]+(?:\.[a-z0-9-]+)*\.?$/iu.test(item))
      context.addIssue(
        `expected host names such as r2.dev, separated by commas; ${quoted(item)} is none`,
      )
  return items.map((item) => item.toLowerCase().replace(/^\.|\.$/gu, ''))
})

const addresses = list.transform((items, context) => {
  for (const item of items)
    if (!ipaddr.isValid(item) && !ipaddr.isValidCIDR(item))
      context.addIssue(`expected addresses or networks such as 10.0.0.0/8; ${quoted(item)} is none`)
  return items
})

const TOKEN_FORM =
  'expected name:scope+scope:token, the token being 20 or more of A-Z a-z 0-9 _ - or sha256-<64 hex digits>'

/**
 * A token, or what is wrong with it: by its place, since any part of a token in disorder may be the
 * secret.
 */
function parseToken(item: string, index: number): Token | string {
  const [name = '', scopes = '', token = '', ...rest] = item.split(':')
  const known = scopes
    .split('+')
    .filter((scope): scope is Scope => (SCOPES as readonly string[]).includes(scope))
  const hash = /^sha256-([0-9a-f]{64})$/iu.exec(token)?.[1]
  const isToken = hash !== undefined || (/^[\w-]{20,}$/u.test(token) && !/^sha256-/iu.test(token))
  if (rest.length > 0 || !/^[\w.-]+$/u.test(name) || !isToken)
    return `token ${index + 1}: ${TOKEN_FORM}`
  if (known.length !== scopes.split('+').length)
    return `token ${index + 1} has an unknown scope, expected some of ${SCOPES.join(', ')}`
  return { name, scopes: known, secret: hash ? { sha256: hash.toLowerCase() } : { token } }
}

const tokens = list.transform((items, context) => {
  const parsed = items.map(parseToken)
  for (const problem of parsed) if (typeof problem === 'string') context.addIssue(problem)
  const valid = parsed.filter((token) => typeof token !== 'string')
  if (new Set(valid.map(({ name }) => name)).size < valid.length)
    context.addIssue('expected every name once')
  if (new Set(valid.map(({ secret }) => JSON.stringify(secret))).size < valid.length)
    context.addIssue('expected every token once')
  return valid
})

/** Whoever guesses a secret can forge whatever it proves. */
const SHORTEST_SECRET = 16

const secrets = list.transform((items, context) => {
  for (const [index, { length }] of items.entries())
    if (length < SHORTEST_SECRET)
      context.addIssue(
        `expected ${SHORTEST_SECRET} characters or more, to be hard to guess; secret ${index + 1} is shorter`,
      )
  return items
})

const DATABASE = 'data/afterimage.db'
const OBJECTS = 'data/objects'

/** It is cut out of all that is logged, stored and shown: fewer letters would stand in too much. */
const SHORTEST_API_KEY = 8

const apiKey = z
  .string('expected the API key of your ModelsLab account')
  .min(
    SHORTEST_API_KEY,
    `expected ${SHORTEST_API_KEY} characters or more, since it is cut out of logs and links`,
  )

const settings = z
  .object({
    MODELSLAB_API_KEY: apiKey,
    MODELSLAB_BASE_URL: baseUrl.default('https://modelslab.com'),
    PUBLIC_URL: z
      .string(
        'expected the URL under which ModelsLab reaches this service, such as https://images.example.com',
      )
      .pipe(baseUrl),
    HOST: host.default('127.0.0.1'),
    PORT: z.coerce
      .number('expected a port')
      .int('expected a port')
      .min(0, 'expected a port')
      .max(65535, 'expected a port')
      .default(8787),
    DATABASE_PATH: filePath(DATABASE).default(DATABASE),
    OBJECTS_DIR: path(OBJECTS).default(OBJECTS),
    S3_BUCKET: bucketName.optional(),
    S3_ENDPOINT: baseUrl.optional(),
    S3_REGION: z.string().optional(),
    AWS_REGION: z.string().optional(),
    S3_FORCE_PATH_STYLE: yesNo.optional(),
    S3_SERVER_SIDE_ENCRYPTION: z
      .enum(
        ['AES256', 'aws:kms', 'aws:kms:dsse'],
        'expected AES256, aws:kms or aws:kms:dsse, as S3 calls them',
      )
      .optional(),
    S3_KMS_KEY_ID: z.string().optional(),
    IMAGE_DELIVERY: z.enum(['stream', 'presign'], 'expected stream or presign').default('stream'),
    CALLBACK_SECRETS: secrets.default([]),
    LINK_SECRETS: secrets.default([]),
    API_TOKENS: tokens.default([]),
    ALLOWED_PRIVATE_ORIGINS: origins.default(new Set<string>()),
    IMAGE_HOSTS: hosts.default([]),
    LINK_LIFETIME_HOURS: hours(24),
    RESULT_DEADLINE_HOURS: hours(24),
    RECONCILE_GRACE_SECONDS: seconds(10),
    SUBMIT_TIMEOUT_SECONDS: seconds(30),
    DOWNLOAD_TIMEOUT_SECONDS: seconds(60),
    RETRY_BASE_SECONDS: seconds(1),
    LEASE_SECONDS: seconds(120),
    ARCHIVE_CONCURRENCY: count(256).default(16),
    MAX_IN_FLIGHT: count(1_000_000).optional(),
    SUBMISSIONS_PER_MINUTE: count(1_000_000).default(6000),
    TRUSTED_PROXIES: addresses.default([]),
    LOG_LEVEL: z
      .enum(['debug', 'info', 'warn', 'error'], 'expected debug, info, warn or error')
      .default('info'),
  })
  .transform((env) => ({
    modelsLab: { apiKey: env.MODELSLAB_API_KEY, baseUrl: env.MODELSLAB_BASE_URL },
    publicUrl: env.PUBLIC_URL,
    host: env.HOST,
    port: env.PORT,
    databasePath: env.DATABASE_PATH,
    objectsDir: env.OBJECTS_DIR,
    s3: env.S3_BUCKET
      ? {
          bucket: env.S3_BUCKET,
          endpoint: env.S3_ENDPOINT,
          // AWS itself: the SDK's own chain knows. Others want some region in the signature, and
          // mind little which.
          region:
            env.S3_REGION ??
            env.AWS_REGION ??
            (env.S3_ENDPOINT === undefined ? undefined : 'us-east-1'),
          // Stores other than AWS rarely answer to bucket.host names.
          forcePathStyle: env.S3_FORCE_PATH_STYLE ?? env.S3_ENDPOINT !== undefined,
          encryption: env.S3_SERVER_SIDE_ENCRYPTION
            ? { algorithm: env.S3_SERVER_SIDE_ENCRYPTION, keyId: env.S3_KMS_KEY_ID }
            : null,
        }
      : null,
    imageDelivery: env.IMAGE_DELIVERY,
    callbackSecrets: env.CALLBACK_SECRETS,
    linkSecrets: env.LINK_SECRETS,
    tokens: env.API_TOKENS,
    allowedPrivateOrigins: env.ALLOWED_PRIVATE_ORIGINS,
    imageHosts: env.IMAGE_HOSTS,
    linkLifetimeMs: ms(env.LINK_LIFETIME_HOURS * 3600),
    resultDeadlineMs: ms(env.RESULT_DEADLINE_HOURS * 3600),
    reconcileGraceSeconds: env.RECONCILE_GRACE_SECONDS,
    submitTimeoutMs: ms(env.SUBMIT_TIMEOUT_SECONDS),
    // A download that outlives its lease would be done twice.
    downloadTimeoutMs: ms(Math.min(env.DOWNLOAD_TIMEOUT_SECONDS, env.LEASE_SECONDS * 0.75)),
    retryBaseSeconds: env.RETRY_BASE_SECONDS,
    leaseMs: ms(env.LEASE_SECONDS),
    archiveConcurrency: env.ARCHIVE_CONCURRENCY,
    maxInFlight: env.MAX_IN_FLIGHT ?? null,
    submissionsPerMinute: env.SUBMISSIONS_PER_MINUTE,
    trustedProxies: env.TRUSTED_PROXIES,
    logLevel: env.LOG_LEVEL,
  }))

/** Docker and others hand on the quotes of an env file; no setting is meant to have them. */
const QUOTED = /^(["'])(.*)\1$/su

/**
 * Reads every setting; white space and a pair of quotes around it do not count, and an empty one is
 * absent.
 * @throws ConfigError that names each setting at fault and what was expected. It never quotes a
 * secret.
 */
export function readConfig(env: Record<string, string | undefined>): Config {
  const given = Object.fromEntries(
    Object.entries(env).flatMap(([name, value]) => {
      const meant = value?.trim().replace(QUOTED, '$2').trim()
      return meant ? [[name, meant]] : []
    }),
  )
  const result = settings.safeParse(given)
  const fields =
    result.error?.issues.map(({ path, message }) => ({ pointer: path.join('.'), message })) ?? []
  if (!fields.some(({ pointer }) => pointer === 'HOST') && isOpenToAll(given))
    fields.push({
      pointer: 'HOST',
      message: 'expected a loopback address while API_TOKENS is not set',
    })
  if (given['IMAGE_DELIVERY'] === 'presign' && given['S3_BUCKET'] === undefined)
    fields.push({
      pointer: 'IMAGE_DELIVERY',
      message: 'expected stream while S3_BUCKET is not set',
    })
  fields.push(...endpointProblems(given))
  if (given['S3_KMS_KEY_ID'] && !given['S3_SERVER_SIDE_ENCRYPTION']?.startsWith('aws:kms'))
    fields.push({
      pointer: 'S3_KMS_KEY_ID',
      message: 'expected S3_SERVER_SIDE_ENCRYPTION to be aws:kms with it',
    })
  if (!result.data || fields.length > 0) throw new ConfigError(fields)
  return result.data
}

/**
 * The same settings for a command that looks at what is kept: it calls no provider and nobody calls
 * it, so neither has to be named, and nothing of theirs is to be read here.
 * @throws ConfigError
 */
export function readKeptConfig(env: Record<string, string | undefined>): Omit<Config, 'modelsLab'> {
  const publicUrl = /[^\s"']/u.test(env['PUBLIC_URL'] ?? '')
    ? env['PUBLIC_URL']
    : 'http://localhost'
  const { modelsLab, ...kept } = readConfig({
    ...env,
    MODELSLAB_API_KEY: 'nobody is called',
    PUBLIC_URL: publicUrl,
  })
  return kept
}

const isOpenToAll = ({ HOST = '127.0.0.1', API_TOKENS = '' }: Record<string, string>) =>
  split(API_TOKENS).length === 0 && !isLoopback(HOST)

const isLoopback = (host: string) =>
  host === 'localhost' || (ipaddr.isValid(host) && ipaddr.process(host).range() === 'loopback')
