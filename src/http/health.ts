import { Hono } from 'hono'
import type { Deps } from '../deps.ts'

/** `/livez`: the process answers. `/readyz`: a callback that came now would be kept. */
export function healthRoutes(deps: Deps, { isDraining }: { isDraining: () => boolean }) {
  return new Hono()
    .get('/livez', (c) => c.json({ status: 'ok' }))
    .get('/readyz', async (c) => {
      const ledger = isDraining() ? 'draining' : await ledgerState(deps)
      const ready = ledger === 'ok'
      return c.json(
        { status: ready ? 'ready' : 'not_ready', ledger, ...deps.health.read() },
        ready ? 200 : 503,
      )
    })
}

const ledgerState = ({ ledger, now }: Deps) =>
  ledger.heartbeat.write(now()).then(
    () => 'ok',
    () => 'not writable',
  )
