import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { ConfigError, readConfig } from '../../src/config.ts'
import { keptLinkSecrets, withSecrets } from '../../src/secrets/secrets-file.node.ts'

/** Settings whose database is in a folder of its own, which does not exist yet. */
function settings(env: Record<string, string> = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'afterimage-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  const databasePath = join(directory, 'data', 'afterimage.db')
  const config = readConfig({
    MODELSLAB_API_KEY: 'an-api-key-of-modelslab',
    PUBLIC_URL: 'https://images.example.com',
    DATABASE_PATH: databasePath,
    ...env,
  })
  return { config, path: join(directory, 'data', 'secrets.json'), folder: join(directory, 'data') }
}

const API_TOKENS = 'app:submit:0123456789abcdefghij'

describe('withSecrets', () => {
  it('makes a secret and an admin token at the first start, for the owner to read alone', () => {
    const { config, path, folder } = settings()

    const { callbackSecrets, linkSecrets, tokens, secretsPath } = withSecrets(config)

    expect(secretsPath).toBe(path)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(readdirSync(folder)).toEqual(['secrets.json'])
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({
      callback_secret: callbackSecrets[0],
      link_secret: linkSecrets[0],
      api_token: expect.stringMatching(/^[\w-]{43}$/u) as string,
    })
    expect(tokens).toMatchObject([{ name: 'admin', scopes: ['admin'] }])
    expect(linkSecrets).toEqual([expect.stringMatching(/^[\w-]{43}$/u)])
    expect(linkSecrets).not.toEqual(callbackSecrets)
  })

  it('takes at the next start what it made at the first', () => {
    const { config } = settings()

    expect(withSecrets(config)).toEqual(withSecrets(config))
  })

  it('makes other ones for another database', () => {
    expect(withSecrets(settings().config).callbackSecrets).not.toEqual(
      withSecrets(settings().config).callbackSecrets,
    )
  })

  it('makes nothing where all are set', () => {
    const { config, folder } = settings({
      API_TOKENS,
      CALLBACK_SECRETS: 'a-secret-that-was-set',
      LINK_SECRETS: 'another-that-was-set',
    })

    expect(withSecrets(config)).toEqual({ ...config, secretsPath: null })
    expect(() => statSync(folder)).toThrow('ENOENT')
  })

  it('adds only what is not set', () => {
    const onlyTokens = settings({ API_TOKENS })
    const onlySecrets = settings({ CALLBACK_SECRETS: 'a-secret-that-was-set' })
    const onlyLinks = settings({ LINK_SECRETS: 'a-secret-that-was-set' })

    expect(withSecrets(onlyTokens.config).tokens).toEqual(onlyTokens.config.tokens)
    expect(withSecrets(onlyTokens.config).callbackSecrets).toHaveLength(1)
    expect(withSecrets(onlySecrets.config).callbackSecrets).toEqual(['a-secret-that-was-set'])
    expect(withSecrets(onlySecrets.config).tokens).toHaveLength(1)
    expect(withSecrets(onlyLinks.config)).toMatchObject({
      linkSecrets: ['a-secret-that-was-set'],
      callbackSecrets: [expect.any(String)],
    })
  })

  /** As a release left it that signed no records. */
  function withoutLinkSecret() {
    const { config, path } = settings()
    withSecrets(config)
    const { link_secret, ...older } = JSON.parse(readFileSync(path, 'utf8')) as Record<
      string,
      string
    >
    writeFileSync(path, JSON.stringify({ ...older, of_a_later_release: 'kept' }))
    return { config, path, older }
  }

  it('adds the secret of records to a file that has none, and keeps all that is there', () => {
    const { config, path, older } = withoutLinkSecret()

    const [secret] = withSecrets(config).linkSecrets

    expect(secret).toMatch(/^[\w-]{43}$/u)
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({
      ...older,
      of_a_later_release: 'kept',
      link_secret: secret,
    })
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(withSecrets(config).linkSecrets).toEqual([secret])
  })

  it('says which setting helps where nothing can be added', () => {
    const { config, path } = withoutLinkSecret()
    // Nothing can be made where a folder is in the way.
    mkdirSync(join(`${path}.${process.pid}`, 'in-the-way'), { recursive: true })

    expect(() => withSecrets(config)).toThrow(/^LINK_SECRETS: expected a secret/u)
  })

  it.each(['', '{', '[]', '{"callback_secret":"short","api_token":"short"}'])(
    'refuses to start over a file of %j, and leaves it as it is: its callback URLs are still out',
    (text) => {
      const { config, path } = settings()
      withSecrets(config)
      chmodSync(path, 0o600)
      writeFileSync(path, text)

      expect(() => withSecrets(config)).toThrow(ConfigError)
      expect(readFileSync(path, 'utf8')).toBe(text)
    },
  )

  it('lends the secret of records to a command, and makes none for it', () => {
    const { config, folder } = settings()
    expect(keptLinkSecrets(config)).toEqual([])
    expect(() => statSync(folder)).toThrow('ENOENT')

    const { linkSecrets } = withSecrets(config)
    expect(keptLinkSecrets(config)).toEqual(linkSecrets)
    expect(keptLinkSecrets({ ...config, linkSecrets: ['that-was-set'] })).toEqual(['that-was-set'])
  })

  it('lends none from a file that cannot be read', () => {
    const { config, path } = settings()
    withSecrets(config)
    writeFileSync(path, 'half')

    expect(keptLinkSecrets(config)).toEqual([])
  })

  it('is not misled by what a start left behind that was killed', () => {
    const { config, path } = settings()
    withSecrets(config)
    rmSync(path)
    writeFileSync(`${path}.${process.pid}`, 'half', { mode: 0o644 })

    withSecrets(config)

    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(readFileSync(path, 'utf8')).toContain('api_token')
  })
})
