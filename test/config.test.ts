import { describe, expect, it } from 'vitest'
import { type Config, ConfigError, readConfig } from '../src/config.ts'

const LEAST = {
  MODELSLAB_API_KEY: 'an-api-key-of-modelslab',
  PUBLIC_URL: 'https://images.example.com',
}
const TOKEN = 'app:submit:0123456789abcdefghij'

const HASH = '0123456789abcdef'.repeat(4)

/** The settings at fault and what was expected of them. */
function faults(env: Record<string, string | undefined>) {
  try {
    readConfig({ ...LEAST, ...env })
  } catch (error) {
    if (error instanceof ConfigError) return error.fields
    throw error
  }
  return []
}

describe('readConfig', () => {
  it('needs two settings, and has a default for every other', () => {
    expect(readConfig(LEAST)).toEqual({
      modelsLab: { apiKey: 'an-api-key-of-modelslab', baseUrl: 'https://modelslab.com' },
      publicUrl: 'https://images.example.com',
      host: '127.0.0.1',
      port: 8787,
      databasePath: 'data/afterimage.db',
      objectsDir: 'data/objects',
      s3: null,
      imageDelivery: 'stream',
      callbackSecrets: [],
      linkSecrets: [],
      tokens: [],
      allowedPrivateOrigins: new Set(),
      imageHosts: [],
      linkLifetimeMs: 24 * 3_600_000,
      resultDeadlineMs: 24 * 3_600_000,
      reconcileGraceSeconds: 10,
      submitTimeoutMs: 30_000,
      downloadTimeoutMs: 60_000,
      retryBaseSeconds: 1,
      leaseMs: 120_000,
      archiveConcurrency: 16,
      maxInFlight: null,
      submissionsPerMinute: 6000,
      trustedProxies: [],
      logLevel: 'info',
    } satisfies Config)
  })

  it.each<[string, string, Partial<Config>]>([
    [
      'MODELSLAB_BASE_URL',
      'http://127.0.0.1:9100/',
      { modelsLab: expect.objectContaining({ baseUrl: 'http://127.0.0.1:9100' }) as never },
    ],
    [
      'MODELSLAB_API_KEY',
      ' padded-key\n',
      { modelsLab: expect.objectContaining({ apiKey: 'padded-key' }) as never },
    ],
    [
      'MODELSLAB_API_KEY',
      '8-char-s',
      { modelsLab: expect.objectContaining({ apiKey: '8-char-s' }) as never },
    ],
    [
      'PUBLIC_URL',
      'HTTPS://Images.Example.com:443/base//',
      { publicUrl: 'https://images.example.com/base' },
    ],
    ['HOST', '::1', { host: '::1' }],
    ['HOST', 'localhost', { host: 'localhost' }],
    ['HOST', '127.8.8.8', { host: '127.8.8.8' }],
    ['PORT', '0', { port: 0 }],
    ['PORT', '65535', { port: 65535 }],
    ['DATABASE_PATH', '/var/lib/afterimage/a.db', { databasePath: '/var/lib/afterimage/a.db' }],
    ['OBJECTS_DIR', '/srv/objects', { objectsDir: '/srv/objects' }],
    [
      'CALLBACK_SECRETS',
      'the-newer-secret, the-older-secret,',
      { callbackSecrets: ['the-newer-secret', 'the-older-secret'] },
    ],
    [
      'LINK_SECRETS',
      'the-newer-secret, the-older-secret,',
      { linkSecrets: ['the-newer-secret', 'the-older-secret'] },
    ],
    [
      'ALLOWED_PRIVATE_ORIGINS',
      'http://127.0.0.1:9101,HTTP://[::1]:9102',
      { allowedPrivateOrigins: new Set(['http://127.0.0.1:9101', 'http://[::1]:9102']) },
    ],
    ['IMAGE_HOSTS', 'R2.dev, .modelslab.com', { imageHosts: ['r2.dev', 'modelslab.com'] }],
    ['LINK_LIFETIME_HOURS', '0.5', { linkLifetimeMs: 1_800_000 }],
    ['RESULT_DEADLINE_HOURS', '0.0001', { resultDeadlineMs: 360 }],
    ['RECONCILE_GRACE_SECONDS', '0.25', { reconcileGraceSeconds: 0.25 }],
    ['SUBMIT_TIMEOUT_SECONDS', '2.03', { submitTimeoutMs: 2030 }],
    ['SUBMIT_TIMEOUT_SECONDS', '0.0001', { submitTimeoutMs: 1 }],
    ['DOWNLOAD_TIMEOUT_SECONDS', '1.5', { downloadTimeoutMs: 1500 }],
    ['DOWNLOAD_TIMEOUT_SECONDS', '600', { downloadTimeoutMs: 90_000 }],
    ['RETRY_BASE_SECONDS', '0.01', { retryBaseSeconds: 0.01 }],
    ['LEASE_SECONDS', '4.0006', { leaseMs: 4001, downloadTimeoutMs: 3000 }],
    ['ARCHIVE_CONCURRENCY', '256', { archiveConcurrency: 256 }],
    ['MAX_IN_FLIGHT', '5', { maxInFlight: 5 }],
    ['SUBMISSIONS_PER_MINUTE', '60', { submissionsPerMinute: 60 }],
    ['TRUSTED_PROXIES', '10.0.0.0/8, ::1', { trustedProxies: ['10.0.0.0/8', '::1'] }],
    ['LOG_LEVEL', 'debug', { logLevel: 'debug' }],
    ['LOG_LEVEL', '  ', { logLevel: 'info' }],
    [
      'MODELSLAB_API_KEY',
      '"quoted-key"',
      { modelsLab: expect.objectContaining({ apiKey: 'quoted-key' }) as never },
    ],
    [
      'MODELSLAB_API_KEY',
      " 'quoted key ' ",
      { modelsLab: expect.objectContaining({ apiKey: 'quoted key' }) as never },
    ],
    [
      'MODELSLAB_API_KEY',
      '"half-quoted',
      { modelsLab: expect.objectContaining({ apiKey: '"half-quoted' }) as never },
    ],
    [
      'MODELSLAB_API_KEY',
      `"'quoted twice'"`,
      { modelsLab: expect.objectContaining({ apiKey: "'quoted twice'" }) as never },
    ],
    ['PORT', '"8080"', { port: 8080 }],
    ['LOG_LEVEL', '""', { logLevel: 'info' }],
    ['IMAGE_HOSTS', "'r2.dev, modelslab.com'", { imageHosts: ['r2.dev', 'modelslab.com'] }],
    ['CALLBACK_SECRETS', '"the-newer-secret"', { callbackSecrets: ['the-newer-secret'] }],
    ['A_SETTING_OF_SOMEBODY_ELSE', 'x', {}],
  ])('reads %s %j', (name, value, expected) => {
    expect(readConfig({ ...LEAST, [name]: value })).toEqual({ ...readConfig(LEAST), ...expected })
  })

  it.each([
    [{}, { endpoint: undefined, region: undefined, forcePathStyle: false }],
    [
      { S3_REGION: 'eu-central-1' },
      { endpoint: undefined, region: 'eu-central-1', forcePathStyle: false },
    ],
    [
      { S3_ENDPOINT: 'http://s3.local:9000/' },
      { endpoint: 'http://s3.local:9000', region: 'us-east-1', forcePathStyle: true },
    ],
    [
      { S3_ENDPOINT: 'https://s3.local', S3_FORCE_PATH_STYLE: 'false' },
      { endpoint: 'https://s3.local', region: 'us-east-1', forcePathStyle: false },
    ],
    [
      { S3_FORCE_PATH_STYLE: 'true' },
      { endpoint: undefined, region: undefined, forcePathStyle: true },
    ],
  ])('reads a bucket with %j', (env, expected) => {
    expect(readConfig({ ...LEAST, S3_BUCKET: 'images', ...env }).s3).toEqual({
      bucket: 'images',
      encryption: null,
      ...expected,
    })
  })

  it.each([
    [{ S3_SERVER_SIDE_ENCRYPTION: 'AES256' }, { algorithm: 'AES256', keyId: undefined }],
    [
      { S3_SERVER_SIDE_ENCRYPTION: 'aws:kms', S3_KMS_KEY_ID: 'alias/images' },
      { algorithm: 'aws:kms', keyId: 'alias/images' },
    ],
    [
      { S3_SERVER_SIDE_ENCRYPTION: 'aws:kms:dsse' },
      { algorithm: 'aws:kms:dsse', keyId: undefined },
    ],
  ])('reads how objects are to be encrypted in %j', (env, expected) => {
    expect(readConfig({ ...LEAST, S3_BUCKET: 'images', ...env }).s3?.encryption).toEqual(expected)
  })

  it.each([{}, { S3_SERVER_SIDE_ENCRYPTION: 'AES256' }])(
    'refuses a KMS key beside %j, which uses none',
    (env) => {
      expect(faults({ ...env, S3_BUCKET: 'images', S3_KMS_KEY_ID: 'alias/images' })).toEqual([
        expect.objectContaining({ pointer: 'S3_KMS_KEY_ID' }),
      ])
    },
  )

  it.each([
    ['MODELSLAB_API_KEY', undefined],
    ['MODELSLAB_API_KEY', '  '],
    ['MODELSLAB_API_KEY', ' 7-chars '],
    ['MODELSLAB_BASE_URL', 'modelslab.com'],
    ['MODELSLAB_BASE_URL', 'ftp://modelslab.com'],
    ['PUBLIC_URL', undefined],
    ['PUBLIC_URL', ''],
    ['PUBLIC_URL', 'images.example.com'],
    ['PUBLIC_URL', 'https://images.example.com?x=1'],
    ['PUBLIC_URL', 'https://images.example.com#top'],
    ['PUBLIC_URL', 'https://user@images.example.com'],
    ['PUBLIC_URL', 'https://:password@images.example.com'],
    ['HOST', '[::1]'],
    ['HOST', 'http://127.0.0.1'],
    ['HOST', 'no host'],
    ['PORT', '65536'],
    ['PORT', '-1'],
    ['PORT', '80.5'],
    ['PORT', 'http'],
    ['S3_ENDPOINT', 's3.local:9000'],
    ['S3_FORCE_PATH_STYLE', 'maybe'],
    ['ALLOWED_PRIVATE_ORIGINS', '127.0.0.1:9101'],
    ['ALLOWED_PRIVATE_ORIGINS', 'http://127.0.0.1:9101/'],
    ['ALLOWED_PRIVATE_ORIGINS', 'http://127.0.0.1:9101,*'],
    ['IMAGE_HOSTS', 'https://r2.dev'],
    ['IMAGE_HOSTS', '*.r2.dev'],
    ['LINK_LIFETIME_HOURS', '0'],
    ['LINK_LIFETIME_HOURS', '1e300'],
    ['RESULT_DEADLINE_HOURS', '-1'],
    ['RESULT_DEADLINE_HOURS', 'Infinity'],
    ['RECONCILE_GRACE_SECONDS', 'soon'],
    ['SUBMIT_TIMEOUT_SECONDS', '30s'],
    // Beyond 2^31 milliseconds a timer of Node fires at once.
    ['SUBMIT_TIMEOUT_SECONDS', '2500000'],
    ['DOWNLOAD_TIMEOUT_SECONDS', '0'],
    ['RETRY_BASE_SECONDS', '-0.1'],
    ['LEASE_SECONDS', 'NaN'],
    ['ARCHIVE_CONCURRENCY', '0'],
    ['ARCHIVE_CONCURRENCY', '257'],
    ['ARCHIVE_CONCURRENCY', '1.5'],
    ['MAX_IN_FLIGHT', '0'],
    ['MAX_IN_FLIGHT', 'none'],
    ['S3_SERVER_SIDE_ENCRYPTION', 'aes256'],
    ['LINK_SECRETS', 'fifteen-letters'],
    ['CALLBACK_SECRETS', 'fifteen-letters'],
    ['CALLBACK_SECRETS', 'sixteen-letters-,fifteen-letters'],
    ['SUBMISSIONS_PER_MINUTE', '0'],
    ['TRUSTED_PROXIES', 'proxy.local'],
    ['TRUSTED_PROXIES', '10.0.0.0/33'],
    ['LOG_LEVEL', 'loud'],
    ['LOG_LEVEL', 'INFO'],
  ])('refuses %s %j, saying what it expected', (name, value) => {
    const found = faults({ [name]: value })

    expect(found.map(({ pointer }) => pointer)).toEqual([name])
    expect(found[0]?.message).toMatch(/^expected /u)
  })

  it('names every mistake at once, one a line', () => {
    const wrong = {
      MODELSLAB_API_KEY: '',
      PUBLIC_URL: 'x',
      PORT: 'x',
      API_TOKENS: 'x',
      LEASE_SECONDS: 'x',
      HOST: '!',
    }

    expect(() => readConfig(wrong)).toThrow(ConfigError)
    expect(
      faults(wrong)
        .map(({ pointer }) => pointer)
        .toSorted(),
    ).toEqual(Object.keys(wrong).toSorted())
  })
})

describe('API_TOKENS', () => {
  it('are names, scopes and tokens, in clear or as SHA-256', () => {
    const { tokens } = readConfig({
      ...LEAST,
      API_TOKENS: `app:submit+read:0123456789_abcdef-GHIJ, audit.bot:review:sha256-${HASH.toUpperCase()},`,
    })

    expect(tokens).toEqual([
      { name: 'app', scopes: ['submit', 'read'], secret: { token: '0123456789_abcdef-GHIJ' } },
      { name: 'audit.bot', scopes: ['review'], secret: { sha256: HASH } },
    ])
  })

  it.each([
    ['of 19 characters', 'app:submit:0123456789abcdefghi'],
    ['with a character that is none of theirs', 'app:submit:0123456789abcdefghi.'],
    ['without a name', ':submit:0123456789abcdefghij'],
    ['without scopes', 'app::0123456789abcdefghij'],
    ['with a scope unknown', 'app:submit+write:0123456789abcdefghij'],
    ['with a scope in upper case', 'app:SUBMIT:0123456789abcdefghij'],
    ['with an empty scope', 'app:submit+:0123456789abcdefghij'],
    ['with a fourth part', 'app:submit:0123456789abcdefghij:x'],
    ['with a name alone', 'app'],
    ['with a hash one digit short', `app:submit:sha256-${HASH.slice(1)}`],
    ['with a hash that is no hex', `app:submit:sha256-${HASH.slice(1)}g`],
    ['with a name used twice', `${TOKEN},app:read:abcdefghij0123456789`],
    ['that two names share', `${TOKEN},web:read:0123456789abcdefghij`],
  ])('are refused %s', (_how, tokens) => {
    expect(faults({ API_TOKENS: tokens }).map(({ pointer }) => pointer)).toEqual(['API_TOKENS'])
  })

  it('are told apart by their place where they are wrong', () => {
    const found = faults({ API_TOKENS: `${TOKEN},web:read,tool:fly:abcdefghij0123456789` })

    expect(found.map(({ message }) => message)).toEqual([
      'token 2: expected name:scope+scope:token, the token being 20 or more of A-Z a-z 0-9 _ - or sha256-<64 hex digits>',
      'token 3 has an unknown scope, expected some of submit, read, review, admin',
    ])
  })
})

describe('HOST', () => {
  it.each([
    ['0.0.0.0', undefined, false],
    ['0.0.0.0', ' , ', false],
    ['::', undefined, false],
    ['images.example.com', undefined, false],
    ['::ffff:10.0.0.1', undefined, false],
    ['localhost', undefined, true],
    ['127.0.0.1', undefined, true],
    ['::1', undefined, true],
    ['::ffff:127.0.0.1', undefined, true],
    ['0.0.0.0', TOKEN, true],
    ['::', TOKEN, true],
  ])('%s with API_TOKENS %j may be listened on: %s', (HOST, API_TOKENS, allowed) => {
    expect(faults({ HOST, API_TOKENS })).toEqual(
      allowed
        ? []
        : [{ pointer: 'HOST', message: 'expected a loopback address while API_TOKENS is not set' }],
    )
  })
})

describe('A ConfigError', () => {
  it.each([
    ['API_TOKENS', 'hunter2hunter2hunter2'],
    ['API_TOKENS', 'hunter2hunter2hunter2:fly:0123456789abcdefghij'],
    ['API_TOKENS', 'app:hunter2:0123456789abcdefghij'],
    ['API_TOKENS', 'app:submit:hunter2hunter2:x'],
    ['PUBLIC_URL', 'https://me:hunter2@images.example.com'],
    ['MODELSLAB_BASE_URL', 'hunter2'],
    ['S3_ENDPOINT', 'http://key:hunter2@s3.local'],
    ['ALLOWED_PRIVATE_ORIGINS', 'http://me:hunter2@127.0.0.1'],
    ['IMAGE_HOSTS', 'https://me:hunter2@cdn.example.com'],
    ['IMAGE_HOSTS', 'https://cdn.example.com/?token=hunter2'],
    ['LOG_LEVEL', 'hunter2'],
    ['CALLBACK_SECRETS', 'hunter2'],
    ['PORT', 'hunter2'],
  ])('about %s %j quotes no secret', (name, value) => {
    const found = faults({ [name]: value })

    expect(found).toHaveLength(1)
    expect(JSON.stringify(found)).not.toContain('hunter2')
  })

  it('quotes what is no secret, so that it can be found', () => {
    expect(faults({ IMAGE_HOSTS: 'r2.dev,*.r2.dev' })[0]?.message).toContain('"*.r2.dev" is none')
  })
})

describe('A path', () => {
  const NONE = [
    [':memory:', 'only in memory'],
    ['file:data/x.db', 'leave out "file:"'],
    ['file:///var/lib/x.db?mode=rwc', 'leave out "file:"'],
    ['FILE:x.db', 'leave out "file:"'],
    ['file::memory:?cache=shared', 'leave out "file:"'],
    ['sqlite:data/x.db', 'this is a URL'],
    ['sqlite3:///data/x.db', 'this is a URL'],
    ['jdbc:sqlite:x.db', 'this is a URL'],
    ['libsql://x.turso.io', 'this is a URL'],
    ['http://127.0.0.1:9000/x', 'this is a URL'],
    ['s3://bucket/objects', 'S3_BUCKET'],
    ['data/x.db?mode=ro', 'leave out the "?"'],
    ['~/x.db', 'write the folder out'],
  ]

  it.each(NONE)('cannot be %s, neither of the ledger nor of the objects', (text, advice) => {
    for (const name of ['DATABASE_PATH', 'OBJECTS_DIR'])
      expect(faults({ [name]: text })).toEqual([
        { pointer: name, message: expect.stringContaining(advice) as string },
      ])
  })

  it.each(['x.db', './a:b/x.db', 'data/~x.db', '/var/lib/x?.db', 'C:\\data\\x.db', 'über/x.db'])(
    'can be %s',
    (text) => {
      expect(faults({ DATABASE_PATH: text, OBJECTS_DIR: text })).toEqual([])
    },
  )

  it('of a ledger is no folder', () => {
    expect(faults({ DATABASE_PATH: 'data/' })).toMatchObject([{ pointer: 'DATABASE_PATH' }])
    expect(faults({ OBJECTS_DIR: 'data/' })).toEqual([])
  })

  it('that is the URL of a database shows no password', () => {
    const text = JSON.stringify(faults({ DATABASE_PATH: 'postgres://me:hunter2@db/x' }))

    expect(text).toContain('DATABASE_PATH')
    expect(text).not.toContain('hunter2')
  })
})

describe('A bucket', () => {
  it.each(['s3://images', 'https://images.s3.amazonaws.com', 'images/originals', 'my images'])(
    'is named alone, not as %s',
    (text) => {
      expect(faults({ S3_BUCKET: text })).toMatchObject([{ pointer: 'S3_BUCKET' }])
    },
  )

  it.each([
    'images',
    'images.example.com',
    'Old_Images',
    'arn:aws:s3:eu-west-1:123456789012:accesspoint/images',
  ])('is %s', (text) => {
    expect(faults({ S3_BUCKET: text })).toEqual([])
  })

  it.each<[string, string, Record<string, string>]>([
    ['https://s3.example.com/images', 'images', {}],
    ['https://s3.example.com/images/', 'images', { S3_FORCE_PATH_STYLE: 'true' }],
    ['https://s3.example.com/a/Images/b', 'images', {}],
    ['https://images.s3.eu-west-1.amazonaws.com', 'images', {}],
    ['https://Images.fra1.digitaloceanspaces.com', 'images', { S3_FORCE_PATH_STYLE: 'false' }],
    ['https://images.example.com', 'images.example.com', {}],
  ])('stands once, not also in the endpoint %s', (endpoint, bucket, more) => {
    expect(faults({ S3_ENDPOINT: endpoint, S3_BUCKET: bucket, ...more })).toMatchObject([
      { pointer: 'S3_ENDPOINT', message: expect.stringContaining('without its bucket') as string },
    ])
  })

  it.each<[string, string, Record<string, string>]>([
    ['http://images:9000', 'images', {}],
    ['http://images.storage.svc:9000', 'images', { S3_FORCE_PATH_STYLE: 'true' }],
    ['https://s3.example.com/image', 'images', {}],
    ['https://more-images.example.com', 'images', {}],
  ])('may be in a store at %s', (endpoint, bucket, more) => {
    expect(faults({ S3_ENDPOINT: endpoint, S3_BUCKET: bucket, ...more })).toEqual([])
  })
})
