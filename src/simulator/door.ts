import { getRequestListener } from '@hono/node-server'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

// There is no setting for it: what answers any key and prints every webhook belongs on loopback
// only.
const LOOPBACK = '127.0.0.1'

export type Fetch = Parameters<typeof getRequestListener>[0]

/** An open port. */
export interface Door {
  origin: string
  /** Ends every connection, idle or not. */
  close: () => Promise<void>
}

/**
 * Opens `port` (0: any that is free) on 127.0.0.1. Rejects with the system's own error where it is
 * taken.
 */
export async function openDoor(fetch: Fetch, port: number): Promise<Door> {
  // The objects of this process are not the simulator's to replace.
  const answer = getRequestListener(fetch, { overrideGlobalObjects: false })
  const server = createServer((incoming, outgoing) => void answer(incoming, outgoing))
  server.listen(port, LOOPBACK)
  await once(server, 'listening')
  const { port: opened } = server.address() as AddressInfo
  return {
    origin: `http://${LOOPBACK}:${opened}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
