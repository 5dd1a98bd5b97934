import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { z } from 'zod'
import { AppError, type FieldError } from '../../errors.ts'

/**
 * Zod's issues as one error a fault: JSON Pointers (RFC 6901) into a body, plain names of query
 * parameters.
 */
export function fieldErrors(error: z.ZodError, of: 'body' | 'query'): FieldError[] {
  const fields = error.issues.flatMap((issue) => {
    if (issue.code === 'unrecognized_keys')
      return issue.keys.map((key) => ({
        pointer: pointer([...issue.path, key], of),
        message: of === 'body' ? 'this field is not known' : 'this parameter is not known',
      }))
    return [{ pointer: pointer(issue.path, of), message: issue.message }]
  })
  // Several rules of one field say the same when they are broken.
  return [...new Map(fields.map((field) => [JSON.stringify(field), field])).values()]
}

const pointer = (path: PropertyKey[], of: 'body' | 'query') =>
  of === 'query'
    ? path.join('.')
    : path.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')

/**
 * Reads the query of a request.
 * @throws AppError `invalid_request` that names each parameter that is unknown, repeated or at
 * fault
 */
export function readQuery<T>(c: Context, schema: z.ZodType<T>): T {
  // Hono's own reading of a query loses a parameter that is called __proto__.
  const given = new URL(c.req.url).searchParams
  const repeated = [...new Set(given.keys())]
    .filter((name) => given.getAll(name).length > 1)
    .map((name) => ({ pointer: name, message: 'expected at most once' }))
  const result = schema.safeParse(Object.fromEntries(given))
  const fields = [...repeated, ...(result.error ? fieldErrors(result.error, 'query') : [])]
  if (!result.success || fields.length > 0)
    throw new AppError('invalid_request', 'The query cannot be taken as it is.', { fields })
  return result.data
}

const DAY_MS = 24 * 3600 * 1000
const LEAP_SECOND = /(?<=T\d\d:\d\d:)60/u
const instant = z.iso.datetime({ offset: true })

/**
 * A time as RFC 3339 spells it, in milliseconds since the epoch: its letters in either case, and a
 * leap second, which only the end of a day of UTC has, as the first one after it.
 */
export const rfc3339Time = z.string().transform((given, context) => {
  const text = given.toUpperCase()
  const isLeap = LEAP_SECOND.test(text)
  const usual = text.replace(LEAP_SECOND, '59')
  const at = Date.parse(usual) + (isLeap ? 1000 : 0)
  if (instant.safeParse(usual).success && (!isLeap || (at > 0 && at % DAY_MS < 1000))) return at
  context.addIssue('expected an RFC 3339 time, such as 2026-01-31T12:00:00Z')
  return z.NEVER
})

const nothing = z.strictObject({})

/** For a door that has no query parameters. */
export const takesNoQuery = createMiddleware(async (c, next) => {
  readQuery(c, nothing)
  await next()
})
