import { randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { type Config, ConfigError } from '../config.ts'
import { makeFolder, nameFile } from '../runtime/node/folder.node.ts'

const secretsFile = z.object({
  callback_secret: z.string().min(20),
  api_token: z.string().regex(/^[\w-]{20,}$/u),
})

/**
 * The settings with whatever secrets they lack: those of `secrets.json` beside the database, made
 * at the first start and readable by its owner only.
 */
export function withSecrets(config: Config): Config & { secretsPath: string | null } {
  if (config.callbackSecrets.length > 0 && config.tokens.length > 0)
    return { ...config, secretsPath: null }
  const path = join(dirname(config.databasePath), 'secrets.json')
  const made = read(path) ?? make(path) ?? read(path)
  if (!made) throw new Error(`${path} was made, and is gone again`)
  return {
    ...config,
    secretsPath: path,
    callbackSecrets:
      config.callbackSecrets.length > 0 ? config.callbackSecrets : [made.callback_secret],
    tokens:
      config.tokens.length > 0
        ? config.tokens
        : [{ name: 'admin', scopes: ['admin'], secret: { token: made.api_token } }],
  }
}

function read(path: string) {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
  // A file that cannot be read must not be replaced: callback URLs that it signed are still out.
  const parsed = secretsFile.safeParse(parse(text))
  if (!parsed.success)
    throw new ConfigError([
      {
        pointer: path,
        message: 'expected JSON with callback_secret and api_token, as it was made',
      },
    ])
  return parsed.data
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

/** Null: another process that starts just now was first. */
function make(path: string) {
  const secrets = {
    callback_secret: randomBytes(32).toString('base64url'),
    api_token: randomBytes(32).toString('base64url'),
  }
  const draft = `${path}.${process.pid}`
  makeFolder(dirname(path))
  try {
    rmSync(draft, { force: true })
    writeDurably(draft, `${JSON.stringify(secrets, null, 2)}\n`)
    nameFile(draft, path)
    return secrets
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return null
    throw error
  } finally {
    rmSync(draft, { force: true })
  }
}

function writeDurably(path: string, text: string) {
  const file = openSync(path, 'wx', 0o600)
  writeSync(file, text)
  fsyncSync(file)
  closeSync(file)
}
