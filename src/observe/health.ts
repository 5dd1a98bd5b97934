import type { Health, Log } from '../deps.ts'

const SAY_AGAIN_MS = 60_000

/**
 * Remembers since when a part is away, and says so once a minute for as long as it is; that it is
 * back only where it was said to be away, so that one that comes and goes does not fill the log.
 */
export function watchHealth(log: Log, now: () => number): Health {
  const ledger = watch(
    ['the ledger cannot be written', 'the ledger can be written again'],
    log,
    now,
  )
  const objects = watch(
    ['the object store does not answer', 'the object store answers again'],
    log,
    now,
  )
  const provider = watch(['the provider does not answer', 'the provider answers again'], log, now)
  return {
    ledger: ledger.saw,
    objects: objects.saw,
    provider: provider.saw,
    read: () => ({ objects: objects.read(), provider: provider.read() }),
  }
}

function watch([away, back]: [string, string], log: Log, now: () => number) {
  let downSince: number | null = null
  let saidAt = 0
  let wasSaid = false
  let answered: string | undefined
  const since = (at: number) => `down since ${new Date(at).toISOString()}`
  const read = () =>
    downSince === null ? 'ok' : since(downSince) + (answered === undefined ? '' : `: ${answered}`)
  const saw = (ok: boolean, reason?: unknown, answer?: string) => {
    answered = answer
    if (ok) {
      const isBack = downSince !== null
      if (wasSaid) log('info', back, { was: read() })
      wasSaid = false
      downSince = null
      return isBack
    }
    downSince ??= now()
    // Either way: the clock may have been set back.
    if (Math.abs(now() - saidAt) < SAY_AGAIN_MS) return false
    saidAt = now()
    wasSaid = true
    log('error', away, { state: read(), ...(reason === undefined ? {} : { error: reason }) })
    return false
  }
  return { saw, read }
}
