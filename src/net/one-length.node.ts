import type { Socket } from 'node:net'
import type { buildConnector } from 'undici'

/**
 * Connections on which the first answer may tell its length twice, if both say the same. RFC 9110,
 * section 8.6, leaves that to the recipient; undici's parser refuses it, and hosts behind proxies
 * do it.
 */
export function tellingLengthOnce(
  connect: buildConnector.connector,
  maxHeadBytes: number,
): buildConnector.connector {
  return (target, callback) =>
    connect(target, (...[error, socket]) => {
      if (error) callback(error, null)
      else callback(null, mended(socket, maxHeadBytes))
    })
}

/** undici reads a socket by `read` alone: until the head is whole, it is told that nothing came. */
function mended(socket: Socket, maxHeadBytes: number) {
  const read = socket.read.bind(socket) as (size?: number) => Buffer | null
  let head = Buffer.alloc(0)
  socket.read = (size?: number) => {
    const chunk = read(size)
    if (chunk === null) return null
    head = Buffer.concat([head, chunk])
    const end = head.indexOf('\r\n\r\n')
    if (end < 0 && head.byteLength < maxHeadBytes) return null
    socket.read = read
    return end < 0 ? head : Buffer.concat([withOneLength(head, end), head.subarray(end)])
  }
  return socket
}

/** Where the lengths differ, they stay: the parser refuses them. */
function withOneLength(head: Buffer, end: number) {
  const lines = head.toString('latin1', 0, end).split('\r\n')
  const lengths = lines
    .filter(isLength)
    .flatMap((line) => line.slice(line.indexOf(':') + 1).split(','))
    .map((length) => length.trim())
  const [first = ''] = lengths
  if (!/^\d+$/u.test(first) || lengths.some((length) => length !== first))
    return head.subarray(0, end)
  const others = lines.filter((line) => !isLength(line))
  return Buffer.from([...others, `Content-Length: ${first}`].join('\r\n'), 'latin1')
}

const isLength = (line: string) => /^content-length:/iu.test(line)
