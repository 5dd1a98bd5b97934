import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import {
  startSimulator,
  type Simulator,
  type SimulatorOptions,
} from '../../src/simulator/simulator.ts'

/** What a client of the provider reads; every field may be missing. */
export interface Body {
  status: string
  id: number
  eta: number
  message: unknown
  fetch_result: string
  retry_after: number
  output: string[]
  proxy_links: string[]
  future_links: string[]
  track_id: string
  nsfw_content_detected: boolean
  generationTime: number
  meta: Record<string, unknown>
}

/** A simulator that ends with the test; its jobs end at once unless a prompt says otherwise. */
export async function start(options: SimulatorOptions = {}) {
  const simulator = await startSimulator({ ...options, knobs: { delay: 0, ...options.knobs } })
  onTestFinished(() => simulator.close())
  return simulator
}

export const request = {
  key: 'a-key',
  model_id: 'pony_realism',
  init_image: 'https://images.example/init.png',
  mask_image: 'https://images.example/mask.png',
}

export function post(url: string, body: unknown, headers: Record<string, string> = {}) {
  return fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })
}

export function send(simulator: Simulator, prompt: string | null, fields: object = {}) {
  return post(`${simulator.apiUrl}/api/v6/images/inpaint`, { ...request, prompt, ...fields })
}

export async function inpaint(simulator: Simulator, prompt: string | null, fields: object = {}) {
  return read(await send(simulator, prompt, fields))
}

export function ask(simulator: Simulator, id: number | string) {
  return post(`${simulator.apiUrl}/api/v6/images/fetch/${id}`, { key: 'a-key' })
}

export async function fetchResult(simulator: Simulator, id: number | string) {
  return read(await ask(simulator, id))
}

/** Asks for images and waits for the job's end. */
export async function generate(simulator: Simulator, prompt: string, fields: object = {}) {
  return fetchResult(simulator, await finished(simulator, prompt, fields))
}

/** Asks for images, waits for the job's end, and gives the id. */
export async function finished(simulator: Simulator, prompt: string, fields: object = {}) {
  const { id } = await inpaint(simulator, prompt, fields)
  await simulator.until((all) =>
    all.some((each) => each.providerId === id && each.endedAt !== null),
  )
  return id
}

export async function download(url: string | undefined) {
  const response = await fetch(url ?? 'about:blank')
  return Buffer.from(await response.arrayBuffer())
}

export async function read(response: Response) {
  return (await response.json()) as Body
}

/**
 * A webhook on loopback, which answers with `codes` one after the other, then with the last of
 * them.
 */
export async function webhook(codes: number[] = [200], headers: Record<string, string> = {}) {
  const received: Body[] = []
  const types: (string | undefined)[] = []
  const server = createServer((incoming, outgoing) => {
    const chunks: Buffer[] = []
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
    incoming.on('end', () => {
      outgoing.writeHead(codes[Math.min(received.length, codes.length - 1)] ?? 200, headers).end()
      types.push(incoming.headers['content-type'])
      received.push(JSON.parse(Buffer.concat(chunks).toString()) as Body)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, received, types }
}

/** Resolves when the only submission has had so many callbacks. */
export function callbacks(simulator: Simulator, count: number) {
  return simulator.until(([only]) => only && only.callbacks.length >= count && only.callbacks)
}
