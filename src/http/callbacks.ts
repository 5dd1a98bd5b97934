import { type Context, Hono } from 'hono'
import { AppError } from '../errors.ts'
import type { Deps } from '../deps.ts'
import { receive } from '../work/receive.ts'
import { uuidTime } from '../model/uuid.ts'
import { readBody } from './plumbing/body.ts'
import type { Forgeries } from './plumbing/forgeries.ts'

const MOST_CALLBACK_BYTES = 1024 * 1024

interface Door {
  forgeries: Forgeries
  clientOf: (c: Context) => string
}

/**
 * Where the provider calls. The URL is the proof: nothing is read before its MAC is verified, and
 * who has a right one is never limited.
 */
export function callbackRoutes(deps: Deps, { forgeries, clientOf }: Door) {
  return new Hono().post('/:id/:mac', async (c) => {
    const { id, mac } = c.req.param()
    // To the letter as we spelled it: by that spelling proxies and logs know a callback URL.
    // Senders may add a query.
    const [spelled] = c.req.url.split(/[?#]/u)
    const isOurs = spelled?.endsWith(`/callbacks/${id}/${mac}`) === true
    if (!isOurs || uuidTime(id) === null || !deps.verifiesCallback(id, mac))
      throw forgeries.refused(clientOf(c))
    const body = await keep(deps, id, c.req.raw).catch(notKept)
    if (body.tooLarge)
      throw new AppError(
        'body_too_large',
        `Expected a body of at most ${MOST_CALLBACK_BYTES} bytes.`,
      )
    return c.json({ received: true })
  })
}

async function keep(deps: Deps, id: string, request: Request) {
  const body = await readBody(request, MOST_CALLBACK_BYTES)
  await receive(deps, id, body)
  return body
}

/** Whatever the reason, a callback that is not kept must come again. */
function notKept(cause: unknown): never {
  if (cause instanceof AppError && cause.code === 'body_incomplete') throw cause
  throw new AppError('unavailable', 'The callback cannot be kept right now.', {
    cause,
    retryAfterSeconds: 5,
  })
}
