import type { Log, LogLevel } from '../deps.ts'
import { redactUrlsInText } from '../model/shown-url.ts'
import { redact } from '../secrets/redact.ts'

const RANK: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 }

interface LogOptions {
  level: LogLevel
  /** Replaced by `***` wherever they stand. */
  secrets: readonly string[]
  now: () => number
  write: (line: string) => void
}

/** One JSON object a line. Never throws: what cannot be written as JSON is left out. */
export function jsonLog({ level, secrets, now, write }: LogOptions): Log {
  return (at, message, fields = {}) => {
    if (RANK[at] < RANK[level]) return
    const line = { time: new Date(now()).toISOString(), level: at, message }
    write(
      redact(
        asJson({ ...line, ...fields }) ??
          JSON.stringify({ ...line, unreadable: Object.keys(fields) }),
        secrets,
      ),
    )
  }
}

function asJson(line: object) {
  try {
    // A replacer is called for every field, and most lines have nothing for it to do.
    const text = Object.values(line).some(isObject)
      ? JSON.stringify(line, readable)
      : JSON.stringify(line)
    return text.includes('?') && /https?:/iu.test(text) ? JSON.stringify(line, shown) : text
  } catch {
    return null
  }
}

const isObject = (field: unknown) =>
  (typeof field === 'object' && field !== null) || typeof field === 'bigint'

/** Errors have no enumerable properties of their own: without this they would be logged as `{}`. */
function readable(_key: string, field: unknown): unknown {
  if (field instanceof Error)
    return { name: field.name, message: field.message, stack: field.stack, ...more(field) }
  return typeof field === 'bigint' ? String(field) : field
}

/** A link in an error or in somebody's words may be signed. */
function shown(key: string, field: unknown): unknown {
  const plain = readable(key, field)
  return typeof plain === 'string' ? redactUrlsInText(plain) : plain
}

const more = (error: Error) => ({
  ...('cause' in error ? { cause: error.cause } : {}),
  ...('code' in error ? { code: error.code } : {}),
  ...(error instanceof AggregateError ? { errors: error.errors as unknown[] } : {}),
})
