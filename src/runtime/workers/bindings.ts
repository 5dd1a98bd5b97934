/** As much of Cloudflare's types as the Worker uses. */

export interface WakeQueue {
  send(message: unknown, options: { contentType: 'json'; delaySeconds: number }): Promise<unknown>
}

export interface ExecutionContext {
  waitUntil(work: Promise<unknown>): void
}
