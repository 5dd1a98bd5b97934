import { type Context, Hono } from 'hono'
import { AppError } from '../errors.ts'
import type { Deps } from '../deps.ts'
import { authentication } from './plumbing/auth.ts'
import { callbackRoutes } from './callbacks.ts'
import { clientAddresses } from './plumbing/client-address.ts'
import { watchForgeries } from './plumbing/forgeries.ts'
import { generationRoutes } from './v1/generations.ts'
import { healthRoutes } from './health.ts'
import { answerError, problem, shownPath } from './plumbing/problem.ts'

interface Runtime {
  isDraining: () => boolean
  /** Who is at the other end of the connection. Null, or left out: all clients count as one. */
  peerAddress?: (c: Context) => string | null
}

/** Every door, on any runtime. */
export function createApp(deps: Deps, { isDraining, peerAddress = () => null }: Runtime) {
  const forgeries = watchForgeries(deps)
  const addressOf = clientAddresses(deps.config.trustedProxies)
  const clientOf = (c: Context) => addressOf(peerAddress(c), c.req.header('x-forwarded-for'))

  const app = new Hono()
  app.onError((error, c) => answerError(deps.log, error, c))
  app.notFound(() => problem(new AppError('not_found', 'There is nothing here.')))
  app.use(async (c, next) => {
    await next()
    // What strangers wrote stands in many answers: none of them is ever to be taken for a page.
    c.res.headers.set('x-content-type-options', 'nosniff')
    forgeries.report()
    deps.log('debug', 'request', {
      method: c.req.method,
      path: shownPath(c.req.path),
      status: c.res.status,
    })
  })
  app.use('/v1/*', authentication(deps.config.tokens))
  app.route('/v1/generations', generationRoutes(deps))
  app.route('/callbacks', callbackRoutes(deps, { forgeries, clientOf }))
  app.route('/', healthRoutes(deps, { isDraining }))
  return app
}
