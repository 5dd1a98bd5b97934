import { randomBytes } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { type Config, ConfigError } from '../config.ts'
import { makeFolder, nameFile, syncFolder } from '../runtime/node/folder.node.ts'

const secretsFile = z.looseObject({
  callback_secret: z.string().min(20),
  api_token: z.string().regex(/^[\w-]{20,}$/u),
  /** Left out by releases that signed no records. */
  link_secret: z.string().min(20).optional(),
})

type Secrets = z.output<typeof secretsFile>

const pathBeside = ({ databasePath }: Pick<Config, 'databasePath'>) =>
  join(dirname(databasePath), 'secrets.json')

/**
 * The settings with whatever secrets they lack: those of `secrets.json` beside the database, made
 * at the first start and readable by its owner only. A secret that an older one lacks is added.
 */
export function withSecrets(config: Config): Config & { secretsPath: string | null } {
  const { callbackSecrets, linkSecrets, tokens } = config
  if ([callbackSecrets, linkSecrets, tokens].every(({ length }) => length > 0))
    return { ...config, secretsPath: null }
  const path = pathBeside(config)
  const made = read(path) ?? make(path) ?? read(path)
  if (!made) throw new Error(`${path} was made, and is gone again`)
  return {
    ...config,
    secretsPath: path,
    callbackSecrets: callbackSecrets.length > 0 ? callbackSecrets : [made.callback_secret],
    linkSecrets: linkSecrets.length > 0 ? linkSecrets : [made.link_secret ?? addTo(path, made)],
    tokens:
      tokens.length > 0
        ? tokens
        : [{ name: 'admin', scopes: ['admin'], secret: { token: made.api_token } }],
  }
}

/**
 * What a command that looks at records may prove them by. Nothing is made for it, and it may be run
 * by somebody who is not to read the file.
 */
export function keptLinkSecrets(config: Pick<Config, 'linkSecrets' | 'databasePath'>) {
  if (config.linkSecrets.length > 0) return config.linkSecrets
  try {
    return [read(pathBeside(config))?.link_secret ?? []].flat()
  } catch {
    return []
  }
}

function read(path: string): Secrets | null {
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

const newSecret = () => randomBytes(32).toString('base64url')

/** Null: another process that starts just now was first. */
function make(path: string) {
  const secrets = {
    callback_secret: newSecret(),
    api_token: newSecret(),
    link_secret: newSecret(),
  }
  makeFolder(dirname(path))
  try {
    written(path, secrets, nameFile)
    return secrets
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return null
    throw error
  }
}

function addTo(path: string, secrets: Secrets) {
  const secret = newSecret()
  try {
    written(path, { ...secrets, link_secret: secret }, renameSync)
    syncFolder(dirname(path))
    return secret
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    const message = `expected a secret: ${path} has none, and none can be added: ${why}`
    throw new ConfigError([{ pointer: 'LINK_SECRETS', message }])
  }
}

/** Under another name first, so that nobody ever sees half of it. */
function written(path: string, secrets: object, name: (draft: string, path: string) => void) {
  const draft = `${path}.${process.pid}`
  try {
    rmSync(draft, { force: true })
    writeDurably(draft, `${JSON.stringify(secrets, null, 2)}\n`)
    name(draft, path)
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
