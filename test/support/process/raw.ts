import { connect } from 'node:net'

/** A connection on which anything can be said: clients of HTTP tidy up what they are given. */
export class RawConnection {
  private readonly socket
  private heard = ''
  private readonly ended: Promise<void>
  readonly opened: Promise<void>

  constructor(url: string) {
    const { port, hostname } = new URL(url)
    this.socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true })
    this.socket.setEncoding('latin1').on('data', (text: string) => (this.heard += text))
    // Whatever ends it, what was heard counts.
    this.socket.on('error', () => undefined)
    this.opened = new Promise((resolve) => this.socket.once('connect', () => resolve()))
    this.ended = new Promise((resolve) => this.socket.once('close', () => resolve()))
    this.socket.once('end', () => this.socket.end())
  }

  say(text: string) {
    this.socket.write(text, 'latin1')
  }

  /** Reads nothing of what comes from now on. */
  standStill() {
    this.socket.pause()
  }

  /** The status of each answer, once the other side has closed. */
  async statuses() {
    await this.ended
    return [...this.heard.matchAll(/HTTP\/1\.1 (\d+)/gu)].map(([, status]) => Number(status))
  }

  /** The last answer, once the other side has closed. */
  async body() {
    await this.ended
    return this.heard.slice(this.heard.lastIndexOf('\r\n\r\n') + 4)
  }

  close() {
    this.socket.destroy()
  }
}

/** One POST with its target exactly as it is given, in bytes. */
export function rawPost(url: string, target: string, body = '{}') {
  const connection = new RawConnection(url)
  connection.say(
    `POST ${target} HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
  )
  return connection
}
