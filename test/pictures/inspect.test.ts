import fc from 'fast-check'
import sharp from 'sharp'
import { beforeAll, describe, expect, it } from 'vitest'
import { inspect } from '../../src/pictures/inspect.ts'
import { cpuClock } from '../support/cpu.ts'

const FORMATS = ['png', 'jpeg', 'webp', 'gif', 'avif'] as const
const WIDTH = 97
const HEIGHT = 61

type Format = (typeof FORMATS)[number]
const pictures = {} as Record<Format, Buffer>

beforeAll(async () => {
  for (const format of FORMATS) pictures[format] = await noise()[format]().toBuffer()
})

describe('inspect, on whole pictures', () => {
  it.each([
    ['png', 'image/png', 'png'],
    ['jpeg', 'image/jpeg', 'jpg'],
    ['webp', 'image/webp', 'webp'],
    ['gif', 'image/gif', 'gif'],
    ['avif', 'image/avif', 'avif'],
  ] as const)('knows and measures %s', (format, contentType, extension) => {
    expect(inspect(pictures[format])).toEqual({
      contentType,
      extension,
      width: WIDTH,
      height: HEIGHT,
      whole: true,
    })
  })

  it.each([
    ['a progressive JPEG', () => noise().jpeg({ progressive: true })],
    [
      'a JPEG with EXIF, ICC and XMP',
      () => noise().withMetadata({ density: 300 }).withIccProfile('p3').jpeg(),
    ],
    ['a lossless WebP', () => noise().webp({ lossless: true })],
    ['a WebP with transparency', () => noise().ensureAlpha(0.5).webp()],
    ['an interlaced PNG', () => noise().png({ progressive: true })],
    ['a PNG with a palette', () => noise().png({ palette: true })],
    ['a lossless AVIF', () => noise().avif({ lossless: true })],
    ['an AVIF with transparency', () => noise().ensureAlpha(0.5).avif()],
  ])('measures %s', async (_, picture) => {
    expect(inspect(await picture().toBuffer())).toMatchObject({
      width: WIDTH,
      height: HEIGHT,
      whole: true,
    })
  })

  it.each(['gif', 'webp'] as const)('measures one frame of an animated %s', async (format) => {
    const frames = [1, 2, 3].map((seed) => noise(seed).png().toBuffer())
    const animated = sharp(await Promise.all(frames), { join: { animated: true } })
    expect(inspect(await animated[format]().toBuffer())).toMatchObject({
      width: WIDTH,
      height: HEIGHT,
      whole: true,
    })
  })

  it('measures a grid AVIF by the grid, not by a tile', () => {
    const [tile, grid] = [ispe(64, 64), ispe(128, 64)]
    const meta = box('meta', Buffer.alloc(4), box('iprp', box('ipco', tile, grid, tile)))
    const file = Buffer.concat([box('ftyp', 'avif', Buffer.alloc(4)), meta, box('mdat', 'pixels')])
    expect(inspect(file)).toMatchObject({ width: 128, height: 64, whole: true })
  })

  it('knows an AVIF by a compatible brand', () => {
    const file = box('ftyp', 'mif1', Buffer.alloc(4), 'mif1', 'avif')
    expect(inspect(file)).toMatchObject({ contentType: 'image/avif', width: null, whole: false })
  })

  it('looks no further than 64 KiB for the size', () => {
    const [soi, rest] = [pictures.jpeg.subarray(0, 2), pictures.jpeg.subarray(2)]
    const comments = Buffer.concat(Array<Buffer>(2).fill(jpegComment(40_000)))
    expect(inspect(Buffer.concat([soi, comments, rest]))).toMatchObject({
      width: null,
      height: null,
      whole: true,
    })
  })

  it('skips fill bytes between the segments of a JPEG', () => {
    const filled = Buffer.concat([
      pictures.jpeg.subarray(0, 2),
      Buffer.alloc(100, 0xff),
      pictures.jpeg.subarray(2),
    ])
    expect(inspect(filled)).toMatchObject({ width: WIDTH, height: HEIGHT, whole: true })
  })

  it.each([0, 60_000, 0xffffffff])('reports an absurd width of %i as it is', (width) => {
    const absurd = Buffer.from(pictures.png)
    absurd.writeUInt32BE(width, 16)
    expect(inspect(absurd)).toMatchObject({ width, height: HEIGHT })
  })

  it.each(FORMATS)('is not misled by where in a buffer a %s lies', (format) => {
    const padded = Buffer.concat([Buffer.alloc(13, 0xff), pictures[format]])
    expect(inspect(padded.subarray(13))).toMatchObject({
      width: WIDTH,
      height: HEIGHT,
      whole: true,
    })
  })
})

describe('inspect, on pictures cut short', () => {
  it.each(FORMATS)('knows a %s wherever it was cut, and never calls it whole', (format) => {
    const picture = pictures[format]
    // The signature of a WebP is twelve bytes; an AVIF of sharp names its brand by then too.
    for (let length = 12; length < picture.length; length++) {
      const found = inspect(picture.subarray(0, length))
      expect([length, found?.contentType, found?.whole]).toEqual([length, `image/${format}`, false])
    }
  })

  it('is not misled by the end marker of a thumbnail inside a JPEG that was cut', async () => {
    const thumbnail = await noise().resize(16).jpeg().toBuffer()
    const marked = Buffer.concat([
      pictures.jpeg.subarray(0, 2),
      jpegComment(thumbnail),
      pictures.jpeg.subarray(2),
    ])
    expect(inspect(marked)).toMatchObject({ whole: true })
    for (const end of [thumbnail.length + 200, marked.length - 100]) {
      expect(inspect(marked.subarray(0, end))).toMatchObject({ whole: false })
    }
  })

  it('is not misled by a GIF cut where a length or a pixel looks like the trailer', () => {
    const comment = Buffer.concat([Buffer.from([0x21, 0xfe, 0x3b]), Buffer.alloc(0x3b, 0x3b)])
    const cut = Buffer.concat([pictures.gif.subarray(0, 13 + 3 * 256), comment])
    expect(inspect(Buffer.concat([cut, Buffer.from([0, 0x3b])]))).toMatchObject({ whole: true })
    for (const end of [cut.length - 0x3b, cut.length]) {
      expect(cut.at(end - 1)).toBe(0x3b)
      expect(inspect(cut.subarray(0, end))).toMatchObject({ whole: false })
    }
  })

  describe.each(FORMATS)('lets bytes follow a whole %s', (format) => {
    it.each([
      ['a line end', Buffer.from('\n')],
      ['a comment', Buffer.from('\r\n<!-- served in 3 ms -->')],
      ['200 KiB of zeros', Buffer.alloc(200 * 1024)],
      ['200 KiB of 0xff', Buffer.alloc(200 * 1024, 0xff)],
      ['200 KiB of a video', Buffer.alloc(200 * 1024, '\x00\x00\x00\x18ftypmp42 frames')],
      ['200 KiB of text', Buffer.alloc(200 * 1024, 'served by a host that likes to talk. ')],
    ])('%s', (_, tail) => {
      expect(inspect(Buffer.concat([pictures[format], tail]))).toMatchObject({ whole: true })
    })
  })

  it('lets a whole JPEG be followed by one that is cut, as a phone does with its videos', () => {
    const second = Buffer.concat(Array<Buffer>(50).fill(pictures.jpeg.subarray(0, -2)))
    expect(inspect(Buffer.concat([pictures.jpeg, second]))).toMatchObject({ whole: true })
  })

  it('walks every scan of a progressive JPEG to its end', async () => {
    const progressive = await noise().jpeg({ progressive: true }).toBuffer()
    const tail = Buffer.alloc(200 * 1024, 'x')
    expect(inspect(Buffer.concat([progressive, tail]))).toMatchObject({ whole: true })
    for (const cut of [2, 40, progressive.length >> 1]) {
      const rest = Buffer.concat([progressive.subarray(0, -cut), tail])
      expect([cut, inspect(rest)?.whole]).toEqual([cut, false])
    }
  })

  it('skips bytes that belong nowhere between the segments of a JPEG', () => {
    const stray = Buffer.from([0x00, 0x11, 0xff, 0x00, 0x22])
    const [soi, rest] = [pictures.jpeg.subarray(0, 2), pictures.jpeg.subarray(2)]
    const first = 2 + rest.readUInt16BE(2)
    const odd = Buffer.concat([soi, rest.subarray(0, first), stray, rest.subarray(first)])
    expect(inspect(odd)).toMatchObject({ width: WIDTH, height: HEIGHT, whole: true })
  })

  it('counts no chunk of a PNG that is written in many', () => {
    const end = pictures.png.length - 12
    const chunk = Buffer.concat([
      Buffer.from([0, 0, 0, 4]),
      Buffer.from('tEXta\x00bccrc4', 'latin1'),
    ])
    const file = Buffer.concat([
      pictures.png.subarray(0, end),
      ...Array<Buffer>(100_000).fill(chunk),
      pictures.png.subarray(end),
    ])
    expect(inspect(file)).toMatchObject({ whole: true })
    expect(inspect(file.subarray(0, -12))).toMatchObject({ whole: false })
  })

  it('counts no sub-block of a GIF that does not compress', () => {
    const block = Buffer.concat([Buffer.from([126]), Buffer.alloc(126, 0x3b)])
    const comment = Buffer.concat([
      Buffer.from([0x21, 0xfe]),
      ...Array<Buffer>(200_000).fill(block),
      Buffer.from([0]),
    ])
    const file = Buffer.concat([pictures.gif.subarray(0, -1), comment, Buffer.from([0x3b])])
    expect(inspect(file)).toMatchObject({ whole: true })
    expect(inspect(file.subarray(0, -1))).toMatchObject({ whole: false })
  })

  it('skips the empty sub-block that some GIFs have too many', () => {
    const odd = Buffer.concat([pictures.gif.subarray(0, -1), Buffer.from([0, 0, 0x3b])])
    expect(inspect(odd)).toMatchObject({ whole: true })
    expect(inspect(odd.subarray(0, -1))).toMatchObject({ whole: false })
  })

  it.each([
    ['ends in its media', ['meta', 'mdat'], true],
    ['has its media first', ['mdat', 'meta'], true],
    ['is a sequence', ['meta', 'moov', 'mdat'], true],
    ['has no media', ['meta', 'free'], false],
    ['has nothing that describes its media', ['mdat'], false],
  ])('calls an AVIF that %s by its boxes: %j', (_, types, whole) => {
    const file = Buffer.concat([
      box('ftyp', 'avif', Buffer.alloc(4)),
      ...types.map((type) => box(type, Buffer.alloc(100))),
    ])
    const lengthOfLast = 108
    expect(inspect(file)).toMatchObject({ whole })
    expect(inspect(Buffer.concat([file, Buffer.from('\r\n<!-- tail -->')]))).toMatchObject({
      whole,
    })
    for (let cut = 1; cut < lengthOfLast; cut++)
      expect([cut, inspect(file.subarray(0, -cut))?.whole]).toEqual([cut, false])
  })
})

describe('inspect, on what is no picture', () => {
  it.each([
    ['nothing', ''],
    ['HTML', '<!doctype html><title>404</title>'],
    ['SVG', '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'],
    ['HTML with a picture inside', '<html>\x89PNG\r\n\x1a\n'],
    ['PDF', '%PDF-1.7'],
    ['ZIP', 'PK\x03\x04'],
    ['BMP', 'BM\x36\x00\x00\x00'],
    ['TIFF', 'II*\x00\x08\x00\x00\x00'],
    ['ICO', '\x00\x00\x01\x00\x01\x00'],
    ['WAV', 'RIFF\x24\x00\x00\x00WAVEfmt '],
    ['MP4', '\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2'],
    ['HEIC', '\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic'],
    ['an AVIF brand past the end of its box', '\x00\x00\x00\x10ftypisom\x00\x00\x02\x00avif'],
    ['an AVIF brand where the version stands', '\x00\x00\x00\x10ftypisomavif'],
    ['base64', 'iVBORw0KGgoAAAANSUhEUgAA'],
    ['half a PNG signature', '\x89PNG'],
    ['a PNG damaged by a text transfer', '\x89PNG\n\x1a\n'],
    ['GIF90a', 'GIF90a\x01\x00\x01\x00'],
  ])('refuses %s', (_, text) => {
    expect(inspect(Buffer.from(text, 'latin1'))).toBeNull()
  })
})

describe('inspect, on crafted bytes', () => {
  const MEGABYTES_25 = 25 * 1024 * 1024

  it.each([
    ['a PNG of empty chunks', '\x89PNG\r\n\x1a\n', '\x00'],
    ['a JPEG of fill bytes', '\xff\xd8\xff', '\xff'],
    ['a JPEG of bare markers', '\xff\xd8', '\xff\x01'],
    ['a JPEG of empty segments', '\xff\xd8', '\xff\xe0\x00\x02'],
    ['a JPEG of segments shorter than their length', '\xff\xd8', '\xff\xe0\x00\x00'],
    ['a GIF of one-byte sub-blocks', 'GIF89a\x01\x00\x01\x00\x00\x00\x00\x21\xff', '\x01'],
    ['a GIF of empty extensions', 'GIF89a\x01\x00\x01\x00\x00\x00\x00', '\x21\xff\x00'],
    ['an AVIF of empty boxes', '\x00\x00\x00\x0cftypavif', '\x00\x00\x00\x08free'],
    [
      'an AVIF of 64-bit boxes',
      '\x00\x00\x00\x0cftypavif',
      '\x00\x00\x00\x01free\x00\x00\x00\x00\x00\x00\x00\x10',
    ],
    ['an AVIF of boxes shorter than their head', '\x00\x00\x00\x0cftypavif', '\x00\x00\x00\x01'],
    ['an AVIF whose brands fill it', '\xff\xff\xff\xffftypisom', 'isom'],
    [
      'an AVIF of properties',
      '\x00\x00\x00\x0cftypavif\xff\xff\xff\xffmeta\x00\x00\x00\x00\xff\xff\xff\xffiprp\xff\xff\xff\xffipco',
      '\x00\x00\x00\x14ispe\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\xff\xff',
    ],
  ])('does not hang on %s', (_, head, unit) => {
    const bytes = Buffer.alloc(MEGABYTES_25, Buffer.from(unit, 'latin1'))
    bytes.write(head, 'latin1')
    bytes.set(Buffer.from(unit, 'latin1'), head.length)
    // Some 3 ms on an idle machine; an endless or a quadratic walk would take minutes.
    expect(millisecondsFor(bytes)).toBeLessThan(5000)
  })

  it('never throws on random bytes after any signature', () => {
    const signatures = [
      '\x89PNG\r\n\x1a\n',
      '\xff\xd8\xff',
      'RIFF\xff\xff\xff\xffWEBPVP8L',
      'RIFF....WEBPVP8X',
      'GIF89a',
      '\x00\x00\x00\x14ftypavif',
    ]
    fc.assert(
      fc.property(
        fc.constantFrom(...signatures),
        fc.uint8Array({ maxLength: 200 }),
        (signature, rest) => {
          const bytes = Buffer.concat([Buffer.from(signature, 'latin1'), rest])
          expect(inspect(bytes)?.whole).toBeTypeOf(
            bytes.length < 12 && signature.startsWith('\x00') ? 'undefined' : 'boolean',
          )
        },
      ),
      { numRuns: 2000 },
    )
  })

  it('never throws, and is never slow, on mutated pictures', () => {
    const mutations = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), {
      minLength: 1,
      maxLength: 20,
    })
    fc.assert(
      fc.property(
        fc.constantFrom(...FORMATS),
        mutations,
        fc.double({ min: 0, max: 1, noNaN: true }),
        (format, changes, cut) => {
          const bytes = Buffer.from(
            pictures[format].subarray(0, Math.ceil(pictures[format].length * cut)),
          )
          // Headers are where a change does most.
          for (const [at, value] of changes) bytes[at % Math.min(bytes.length, 512)] = value
          expect(millisecondsFor(bytes)).toBeLessThan(100)
        },
      ),
      { numRuns: 2000 },
    )
  })
})

/** Pixels that compress badly, so that every format has a body to be cut. */
function noise(seed = 1) {
  let state = seed
  const next = () => (state = (state * 1103515245 + 12345) % 2147483648) >> 16
  const pixels = Buffer.from(Array.from({ length: WIDTH * HEIGHT * 3 }, next))
  return sharp(pixels, { raw: { width: WIDTH, height: HEIGHT, channels: 3 } })
}

function jpegComment(contents: Buffer | number) {
  const body = typeof contents === 'number' ? Buffer.alloc(contents) : contents
  const head = Buffer.from([0xff, 0xfe, 0, 0])
  head.writeUInt16BE(body.length + 2, 2)
  return Buffer.concat([head, body])
}

function box(type: string, ...parts: (Buffer | string)[]) {
  const contents = Buffer.concat(parts.map((part) => Buffer.from(part as string, 'latin1')))
  const head = Buffer.alloc(8)
  head.writeUInt32BE(contents.length + 8)
  head.write(type, 4, 'latin1')
  return Buffer.concat([head, contents])
}

function ispe(width: number, height: number) {
  const contents = Buffer.alloc(12)
  contents.writeUInt32BE(width, 4)
  contents.writeUInt32BE(height, 8)
  return box('ispe', contents)
}

function millisecondsFor(bytes: Uint8Array) {
  const tookMs = cpuClock()
  inspect(bytes)
  return tookMs()
}
