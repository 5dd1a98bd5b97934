import { Hono } from 'hono'
import { AppError } from '../errors.ts'
import type { Deps } from '../ports.ts'
import { authentication } from './auth.ts'
import { callbackRoutes } from './callbacks.ts'
import { generationRoutes } from './generations.ts'
import { healthRoutes } from './health.ts'
import { answerError, problem, shownPath } from './problem.ts'

/** Every door, on any runtime. */
export function createApp(deps: Deps, options: { isDraining: () => boolean }) {
  const app = new Hono()
  app.onError((error, c) => answerError(deps.log, error, c))
  app.notFound(() => problem(new AppError('not_found', 'There is nothing here.')))
  app.use(async (c, next) => {
    await next()
    deps.log('debug', 'request', { method: c.req.method, path: shownPath(c.req.path), status: c.res.status })
  })
  app.use('/v1/*', authentication(deps.config.tokens))
  app.route('/v1/generations', generationRoutes(deps))
  app.route('/callbacks', callbackRoutes(deps))
  app.route('/', healthRoutes(deps, options))
  return app
}
