import { LedgerUnavailable } from '../../errors.ts'

/** What a start needs and cannot have, and which setting to look at. */
export class StartFailure extends Error {
  override readonly name = 'StartFailure'
}

/**
 * Runs a part of the start. `advice`: what to look at where the system or the database refuses it,
 * perhaps by the code of their error.
 * @throws StartFailure then; whatever else `work` throws
 */
export async function blaming<T>(
  advice: string | ((code: string) => string),
  work: () => T | Promise<T>,
): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const cause = error instanceof LedgerUnavailable ? error.cause : error
    if (!isRefusal(cause)) throw error
    const { code, message } = cause
    if (/^E[MN]FILE$/u.test(code))
      throw new StartFailure(`${message}. Raise the limit of open files (ulimit -n).`, { cause })
    const what = typeof advice === 'string' ? advice : advice(code)
    throw new StartFailure(`${message}. ${what}`, { cause })
  }
}

/** ERR_… are of Node, and bugs of ours. */
const isRefusal = (error: unknown): error is Error & { code: string } =>
  error instanceof Error &&
  'code' in error &&
  /^(?:E(?!RR_)[A-Z0-9_]+|SQLITE_\w+)$/u.test(String(error.code))
