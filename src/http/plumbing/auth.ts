import { createHash } from 'node:crypto'
import { createMiddleware } from 'hono/factory'
import type { Scope, Token } from '../../config.ts'
import { AppError } from '../../errors.ts'

export interface Client {
  name: string
  scopes: readonly Scope[]
}

export interface AuthEnv {
  Variables: { client: Client }
}

export const holds = ({ scopes }: Client, scope: Scope) =>
  scopes.includes('admin') || scopes.includes(scope)

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

/** Knows tokens by their hashes, so that a comparison's time tells nothing of a token. */
export function authentication(tokens: readonly Token[]) {
  const clients = new Map(
    tokens.map(({ name, scopes, secret }) => [
      'sha256' in secret ? secret.sha256 : sha256(secret.token),
      { name, scopes },
    ]),
  )
  return createMiddleware<AuthEnv>(async (c, next) => {
    if (clients.size === 0)
      throw new AppError('unavailable', 'No API token is set up on this service.')
    const given = /^Bearer +([\w-]+) *$/iu.exec(c.req.header('authorization') ?? '')?.[1]
    const client = given === undefined ? undefined : clients.get(sha256(given))
    if (!client)
      throw new AppError(
        'unauthorized',
        'Expected the header "Authorization: Bearer <token>" with a token of this service.',
      )
    c.set('client', client)
    await next()
  })
}

/** Lets in who holds `scope`. */
export const requires = (scope: Scope) =>
  createMiddleware<AuthEnv>(async (c, next) => {
    if (!holds(c.var.client, scope))
      throw new AppError('forbidden', `This token lacks the scope ${scope}.`)
    await next()
  })
