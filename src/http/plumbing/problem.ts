import type { Context } from 'hono'
import { AppError, loudness } from '../../errors.ts'
import type { Log } from '../../deps.ts'

/** Problem details (RFC 9457) with our own `code`, and the fields at fault as `errors`. */
export function problem(error: AppError): Response {
  const body = {
    type: `urn:afterimage:problem:${error.code}`,
    title: error.message,
    status: error.status,
    code: error.code,
    ...(error.fields.length > 0 ? { errors: error.fields } : {}),
  }
  const headers = new Headers({
    'content-type': 'application/problem+json',
    'cache-control': 'no-store',
  })
  if (error.retryAfterSeconds !== undefined)
    headers.set('retry-after', String(error.retryAfterSeconds))
  // The rest of the body is not read: it must not be taken for the next request.
  if (error.code === 'body_too_large' || error.code === 'body_incomplete')
    headers.set('connection', 'close')
  if (error.code === 'unauthorized') headers.set('www-authenticate', 'Bearer realm="afterimage"')
  return new Response(JSON.stringify(body), { status: error.status, headers })
}

/** What a caller may read is shown; anything else is logged whole and shown as nothing. */
export function answerError(log: Log, error: unknown, c: Context): Response {
  const path = shownPath(c.req.path)
  if (!(error instanceof AppError)) {
    log('error', 'a request failed', { method: c.req.method, path, error })
    return problem(new AppError('internal', 'Something went wrong on our side.'))
  }
  // The network between, or the sender: nothing here needs to be mended.
  const level = error.code === 'body_incomplete' ? 'warn' : loudness(error)
  if (error.status >= 500)
    log(level, error.message, { method: c.req.method, path, error: error.cause })
  return problem(error)
}

/**
 * The path of a request as logs may have it: the MAC in a callback URL is a capability, also where
 * it is no door.
 */
export const shownPath = (path: string) =>
  path
    .replace(/(\/callbacks\/[^/]*)\/.*$/isu, '$1/***')
    .replace(/(?:%(?:25)*[2-7][0-9a-f]|[0-9a-f]){32,}/giu, '***')
