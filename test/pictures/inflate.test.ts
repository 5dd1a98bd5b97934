import { randomBytes } from 'node:crypto'
import {
  brotliCompressSync,
  deflateRawSync,
  deflateSync,
  gzipSync,
  zstdCompressSync,
} from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { inflated, isCompressed } from '../../src/pictures/inflate.ts'
import { inspect } from '../../src/pictures/inspect.ts'
import { picture } from '../support/process/picture.ts'

const MEBIBYTE = 1024 * 1024
const PNG = new Uint8Array(picture(7))
const bytesOf = (text: string) => new Uint8Array(Buffer.from(text))

type Compressed = 'gzip' | 'deflate' | 'deflate without its head' | 'br' | 'zstd'
const COMPRESSED = compressions(PNG)

describe('inflated', () => {
  it.each([
    '',
    'identity',
    'aws-chunked',
    'gzip',
    'x-gzip',
    'deflate',
    'br',
    'zstd',
    'compress',
    'aes128gcm',
    'gzip, aws-chunked',
    'nonsense',
  ])('leaves a picture as it is, whatever it is called: %j', async (encoding) => {
    expect(await inflated(PNG, encoding, MEBIBYTE)).toBe(PNG)
  })

  it.each<[Compressed, string]>([
    ['gzip', 'gzip'],
    ['gzip', 'X-GZIP'],
    ['gzip', ''],
    ['gzip', 'identity'],
    ['gzip', 'br'],
    ['gzip', 'deflate'],
    ['gzip', 'nonsense'],
    ['gzip', 'identity, gzip'],
    ['gzip', 'gzip, identity'],
    ['gzip', 'aws-chunked,gzip'],
    ['deflate', 'deflate'],
    ['deflate', ''],
    ['deflate', 'gzip'],
    ['deflate without its head', 'deflate'],
    ['deflate without its head', 'Deflate , identity'],
    ['br', 'br'],
    ['br', 'BR'],
    ['zstd', 'zstd'],
    ['zstd', ''],
  ])('inflates %s that is called %j', async (method, encoding) => {
    expect(await inflated(COMPRESSED[method], encoding, MEBIBYTE)).toEqual(PNG)
  })

  it.each([
    ['gzip in gzip', gzipSync(COMPRESSED.gzip), 'gzip'],
    ['br in gzip', gzipSync(COMPRESSED.br), 'br, gzip'],
    ['gzip in br', brotliCompressSync(COMPRESSED.gzip), 'gzip, br'],
    ['zstd in gzip in gzip', gzipSync(gzipSync(COMPRESSED.zstd)), ''],
  ])('inflates %s', async (_, bytes, encoding) => {
    expect(await inflated(bytes, encoding, MEBIBYTE)).toEqual(PNG)
  })

  it('inflates gzip in several members, and padded with zeros', async () => {
    const halves = [gzipSync(PNG.subarray(0, 30)), gzipSync(PNG.subarray(30))]
    expect(await inflated(Buffer.concat(halves), '', MEBIBYTE)).toEqual(PNG)
    const padded = Buffer.concat([COMPRESSED.gzip, Buffer.alloc(512)])
    expect(await inflated(padded, '', MEBIBYTE)).toEqual(PNG)
  })

  it.each([
    ['digits', bytesOf('iVBORw0KGgoAAAANSUhEUgAA'.repeat(10))],
    ['a web page', bytesOf('<html>not found</html>')],
  ])('inflates %s, which are no picture yet', async (_, text) => {
    for (const [bytes, encoding] of [
      [gzipSync(text), ''],
      [brotliCompressSync(text), 'br'],
      [deflateRawSync(text), 'deflate'],
    ] as const)
      expect(await inflated(bytes, encoding, MEBIBYTE)).toEqual(text)
  })

  it.each([
    ['nothing', ''],
    ['text', 'served in 3 ms by a host that likes to talk'],
    ['digits', 'iVBORw0KGgoAAAANSUhEUgAA'],
    ['the head of gzip alone', '\x1f\x8b\x08'],
    ['an x and what may follow it in zlib', 'x\x9c what follows is no deflate'],
    ['a number and a line end', '10\r\nsome sixteen bytes\r\n0\r\n\r\n'],
  ])('leaves %s as they are, whatever they are called', async (_, text) => {
    const bytes = new Uint8Array(Buffer.from(text, 'latin1'))
    for (const encoding of ['', 'gzip', 'br', 'deflate', 'zstd', 'identity'])
      expect(await inflated(bytes, encoding, MEBIBYTE)).toBe(bytes)
  })

  it.each<[Compressed, string]>([
    ['gzip', ''],
    ['deflate', ''],
    ['deflate without its head', 'deflate'],
    ['br', 'br'],
    ['zstd', ''],
  ])('keeps what came of %s that is cut short, and damages nothing', async (method, encoding) => {
    const noise = Buffer.concat([PNG.subarray(0, -12), randomBytes(50_000)])
    const whole = compressions(noise)[method]
    const came = await inflated(whole.subarray(0, whole.length >> 1), encoding, MEBIBYTE)
    expect(Buffer.from(came).equals(noise.subarray(0, came.length))).toBe(true)
    expect(inspect(came)).toMatchObject({ contentType: 'image/png', whole: false })
    expect(came.length).toBeGreaterThan(10_000)
  })

  it('keeps what stood before a damage', async () => {
    const noise = Buffer.concat([PNG.subarray(0, -12), randomBytes(200_000)])
    const damaged = gzipSync(noise)
    damaged.fill(0xff, 150_000)
    const came = await inflated(damaged, '', MEBIBYTE)
    expect(Buffer.from(came.subarray(0, 100_000)).equals(noise.subarray(0, 100_000))).toBe(true)
  })
})

describe('inflated, on frames', () => {
  const frame = (bytes: Uint8Array, more = '') =>
    Buffer.concat([
      Buffer.from(`${bytes.length.toString(16)}${more}\r\n`),
      bytes,
      Buffer.from('\r\n'),
    ])
  const signature = `;chunk-signature=${'a'.repeat(64)}`
  const framed = (bytes: Uint8Array, more = '', trailer = '') =>
    Buffer.concat([
      frame(bytes.subarray(0, 20), more),
      frame(bytes.subarray(20), more),
      Buffer.from(`0${more}\r\n${trailer}\r\n`),
    ])

  it.each([
    ['signed', framed(PNG, signature), 'aws-chunked'],
    ['signed, and called nothing', framed(PNG, signature), ''],
    ['with a trailer', framed(PNG, '', 'x-amz-checksum-crc32c:sOO8/Q==\r\n'), 'aws-chunked'],
    ['around gzip', framed(COMPRESSED.gzip, signature), 'gzip,aws-chunked'],
    ['inside gzip', gzipSync(framed(PNG, signature)), 'aws-chunked,gzip'],
  ])('takes a picture out of frames, %s', async (_, bytes, encoding) => {
    expect(await inflated(bytes, encoding, MEBIBYTE)).toEqual(PNG)
  })

  it('keeps what came of frames that are cut short', async () => {
    const cut = framed(PNG, signature).subarray(0, -120)
    const came = await inflated(cut, 'aws-chunked', MEBIBYTE)
    expect(Buffer.from(PNG.subarray(0, came.length)).equals(came)).toBe(true)
    expect(inspect(came)).toMatchObject({ whole: false })
  })

  it('does not count for ever', async () => {
    const bytes = Buffer.alloc(25 * MEBIBYTE, '1\r\nx\r\n')
    const before = process.cpuUsage()
    await inflated(bytes, 'aws-chunked', 25 * MEBIBYTE)
    const { user, system } = process.cpuUsage(before)
    expect((user + system) / 1000).toBeLessThan(2500)
  })
})

describe('inflated, on bombs', () => {
  const zeros = (before: Uint8Array, mebibytes: number) =>
    Buffer.concat([before, Buffer.alloc(mebibytes * MEBIBYTE)])

  it.each<[string, Uint8Array, string]>([
    ['gzip', gzipSync(zeros(PNG, 300)), ''],
    ['gzip of zeros', gzipSync(zeros(new Uint8Array(), 300)), 'gzip'],
    ['deflate', deflateSync(zeros(PNG, 300)), ''],
    ['br', brotliCompressSync(zeros(PNG, 64)), 'br'],
    ['zstd', zstdCompressSync(zeros(PNG, 300)), ''],
    ['gzip in gzip', gzipSync(gzipSync(zeros(PNG, 300))), ''],
  ])('gives up on %s once more than the cap came out', async (_, bomb, encoding) => {
    expect(bomb.length).toBeLessThan(MEBIBYTE)
    const before = process.memoryUsage()
    let peak = 0
    const watch = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().arrayBuffers - before.arrayBuffers)
    }, 1)
    await expect(inflated(bomb, encoding, 25 * MEBIBYTE)).rejects.toMatchObject({
      code: 'too_large',
      final: false,
    })
    clearInterval(watch)
    // What is kept, what it grew from, and what the collector has not come to yet.
    expect(peak).toBeLessThan(150 * MEBIBYTE)
  })

  it('takes exactly the cap', async () => {
    const full = zeros(PNG, 1)
    expect(await inflated(gzipSync(full), '', full.length)).toHaveLength(full.length)
    await expect(inflated(gzipSync(full), '', full.length - 1)).rejects.toMatchObject({
      code: 'too_large',
    })
  })

  it('unpacks no more than three layers', async () => {
    const three = gzipSync(gzipSync(COMPRESSED.gzip))
    expect(await inflated(three, '', MEBIBYTE)).toEqual(PNG)
    expect(inspect(await inflated(gzipSync(three), '', MEBIBYTE))).toBeNull()
  })

  it('lends zstd no window that a browser would not', async () => {
    const frame = (window: number) =>
      Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, window, 0x09, 0x00, 0x00, 0x61])
    // RFC 8878, section 3.1.1.1.2: 8 MiB and 64 MiB.
    const [modest, greedy] = [frame(0x68), frame(0x80)]
    expect(await inflated(modest, '', MEBIBYTE)).toEqual(bytesOf('a'))
    expect(await inflated(greedy, '', MEBIBYTE)).toBe(greedy)
  })
})

describe('isCompressed', () => {
  it.each<[Compressed, string]>([
    ['gzip', ''],
    ['deflate', ''],
    ['deflate without its head', 'deflate'],
    ['br', 'identity, br'],
    ['zstd', ''],
  ])('knows %s by its first bytes, or by its name: %j', (method, encoding) => {
    expect(isCompressed(COMPRESSED[method].subarray(0, 16), encoding)).toBe(true)
  })

  it.each(['', 'gzip', 'br', 'deflate'])('knows a picture that is called %j', (encoding) => {
    expect(isCompressed(PNG.subarray(0, 16), encoding)).toBe(false)
  })
})

function compressions(bytes: Uint8Array): Record<Compressed, Buffer> {
  return {
    gzip: gzipSync(bytes),
    deflate: deflateSync(bytes),
    'deflate without its head': deflateRawSync(bytes),
    br: brotliCompressSync(bytes),
    zstd: zstdCompressSync(bytes),
  }
}
