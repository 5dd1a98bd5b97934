import { once } from 'node:events'
import { connect } from 'node:net'

export interface Load {
  perSecond: number
  /** Milliseconds, ascending. */
  latencies: Float64Array
  statuses: Map<string, number>
}

/**
 * Sends every request once over so many kept-alive connections: the next as soon as the last is
 * answered. A client of a few lines, so that it takes as little as possible from the server beside
 * it.
 */
export async function drive(
  url: string,
  requests: readonly string[],
  connections: number,
): Promise<Load> {
  const { hostname, port } = new URL(url)
  const latencies = new Float64Array(requests.length)
  const statuses = new Map<string, number>()
  let next = 0
  const began = performance.now()
  const work = async () => {
    const socket = connect(Number(port), hostname).setNoDelay().setEncoding('latin1')
    await once(socket, 'connect')
    try {
      for (let n = next++; n < requests.length; n = next++) {
        const sentAt = performance.now()
        socket.write(requests[n] ?? '')
        const status = await answerOn(socket)
        latencies[n] = performance.now() - sentAt
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
      }
    } finally {
      socket.destroy()
    }
  }
  await Promise.all(Array.from({ length: connections }, work))
  const seconds = (performance.now() - began) / 1000
  return { perSecond: requests.length / seconds, latencies: latencies.toSorted(), statuses }
}

/** Resolves with the status once the answer has arrived whole, by its Content-Length. */
function answerOn(socket: ReturnType<typeof connect>): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const take = (more: string) => {
      text += more
      const headEnd = text.indexOf('\r\n\r\n')
      if (headEnd < 0) return
      const length = Number(/^content-length: (\d+)/imu.exec(text)?.[1] ?? 0)
      if (text.length >= headEnd + 4 + length) done(() => resolve(text.slice(9, 12)))
    }
    const cut = () => done(() => reject(new Error('the connection was closed before the answer')))
    const done = (end: () => void) => {
      socket.off('data', take).off('close', cut).off('error', cut)
      end()
    }
    socket.on('data', take).on('close', cut).on('error', cut)
  })
}

/** The least of `latencies` that so large a part of them does not exceed: 0.99 for p99. */
export const quantile = (latencies: Float64Array, part: number) =>
  latencies[Math.max(0, Math.ceil(latencies.length * part) - 1)] ?? Number.NaN

/** The middle one, or of an even number the lower of both. */
export const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)] ?? Number.NaN
