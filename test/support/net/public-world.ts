import net, { type TcpNetConnectOpts } from 'node:net'
import { onTestFinished, vi } from 'vitest'

/**
 * A world whose public addresses are ports of 127.0.0.1, for one test. Everything up to the system
 * call is the real thing: the lookup is asked, its answer is dialled, and the socket says that it
 * is connected to it. Returns what was dialled.
 */
export function publicWorld(ports: Record<string, number>): string[] {
  const dialled: string[] = []
  const connect = (options: TcpNetConnectOpts) => {
    const socket = new net.Socket()
    const dial = (address: string) => {
      dialled.push(address)
      const port = ports[address]
      Object.defineProperty(socket, 'remoteAddress', { value: address })
      if (port === undefined) socket.destroy(new Error(`nobody answers at ${address}`))
      else socket.connect(port, '127.0.0.1')
    }
    whereTo(options, (error, address) => (error ? socket.destroy(error) : dial(address)))
    return socket
  }
  const spy = vi.spyOn(net, 'connect').mockImplementation(connect as typeof net.connect)
  onTestFinished(() => spy.mockRestore())
  return dialled
}

function whereTo(
  { host = '', lookup }: TcpNetConnectOpts,
  answer: (error: Error | null, address: string) => void,
) {
  if (net.isIP(host) !== 0) queueMicrotask(() => answer(null, host))
  else
    lookup?.(host, { all: false }, (error, address) =>
      answer(error, typeof address === 'string' ? address : ''),
    )
}
