import { readFile } from 'node:fs/promises'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Bundle, bundled } from '../../support/bundle.ts'

const MOST_BYTES = 200 * 1024

let bundle: Bundle
beforeAll(async () => {
  bundle = await bundled()
})
afterAll(() => bundle.remove())

describe('what is uploaded to Cloudflare', () => {
  it(`stays under ${MOST_BYTES / 1024} KiB, gzipped`, async () => {
    expect(gzipSync(await readFile(bundle.script)).byteLength).toBeLessThan(MOST_BYTES)
    expect(bundle.output).toMatch(/gzip: [\d.]+ KiB/u)
  })

  it('holds nothing of what runs on Node alone', async () => {
    const script = await readFile(bundle.script, 'utf8')
    for (const name of [
      'better-sqlite3',
      'undici',
      'node:fs',
      'node:http',
      'node:net',
      'sharp',
      '@hono/node-server',
    ])
      expect(script).not.toContain(`"${name}`)
  })
})
