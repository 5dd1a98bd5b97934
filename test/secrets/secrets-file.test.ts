import {
  chmodSync,
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
import { withSecrets } from '../../src/secrets/secrets-file.node.ts'

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

    const { callbackSecrets, tokens, secretsPath } = withSecrets(config)

    expect(secretsPath).toBe(path)
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(readdirSync(folder)).toEqual(['secrets.json'])
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({
      callback_secret: callbackSecrets[0],
      api_token: expect.stringMatching(/^[\w-]{43}$/u) as string,
    })
    expect(tokens).toMatchObject([{ name: 'admin', scopes: ['admin'] }])
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

  it('makes nothing where both are set', () => {
    const { config, folder } = settings({ API_TOKENS, CALLBACK_SECRETS: 'a-secret-that-was-set' })

    expect(withSecrets(config)).toEqual({ ...config, secretsPath: null })
    expect(() => statSync(folder)).toThrow('ENOENT')
  })

  it('adds only what is not set', () => {
    const onlyTokens = settings({ API_TOKENS })
    const onlySecrets = settings({ CALLBACK_SECRETS: 'a-secret-that-was-set' })

    expect(withSecrets(onlyTokens.config).tokens).toEqual(onlyTokens.config.tokens)
    expect(withSecrets(onlyTokens.config).callbackSecrets).toHaveLength(1)
    expect(withSecrets(onlySecrets.config).callbackSecrets).toEqual(['a-secret-that-was-set'])
    expect(withSecrets(onlySecrets.config).tokens).toHaveLength(1)
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
