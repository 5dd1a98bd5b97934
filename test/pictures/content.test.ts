import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import { keys, offered } from '../support/archiving.ts'
import { picture } from '../support/process/picture.ts'
import { happened, LINK, sha256, shown, type World, world } from '../support/world.ts'
import { cpuClock } from '../support/cpu.ts'

const latin1 = (text: string) => Buffer.from(text, 'latin1')

/** What each host says of its bytes does not count, in either direction. */
const TYPES = ['image/png', 'text/html', 'application/octet-stream']

describe('An image host that sends no picture', () => {
  it.each([
    ['HTML', '<!doctype html><script>alert(1)</script>'],
    ['a login page', '<html><head><title>Sign in</title></head></html>'],
    ['JSON', '{"status":"error","message":"not found"}'],
    ['XML', '<?xml version="1.0"?><a/>'],
    [
      'XML with an external entity',
      '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    ],
    [
      "S3's error page",
      '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>',
    ],
    ["R2's expired link", '<?xml version="1.0"?><Error><Code>ExpiredRequest</Code></Error>'],
    ['SVG', '<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'],
    ['SVG behind a declaration', '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'],
    ['PDF', '%PDF-1.7\n1 0 obj'],
    ['PostScript', '%!PS-Adobe-3.0'],
    ['JavaScript', 'alert(document.cookie)'],
    ['a shell script', '#!/bin/sh\nrm -rf /'],
    ['an ELF executable', '\x7fELF\x02\x01\x01'],
    ['a Windows executable', 'MZ\x90\x00\x03'],
    ['a Mach-O executable', '\xcf\xfa\xed\xfe'],
    ['WebAssembly', '\x00asm\x01\x00\x00\x00'],
    ['a Java class', '\xca\xfe\xba\xbe\x00\x00\x00\x34'],
    ['a ZIP archive', 'PK\x03\x04\x14\x00'],
    ['gzip', '\x1f\x8b\x08\x00'],
    ['a ZIP archive before a PNG', `PK\x03\x04${picture(1).toString('latin1')}`],
    ['HTML before a PNG', `<html>${picture(1).toString('latin1')}`],
    ['a line end before a PNG', `\n${picture(1).toString('latin1')}`],
    ['BMP', 'BM\x36\x00\x00\x00'],
    ['TIFF', 'II*\x00\x08\x00\x00\x00'],
    ['ICO', '\x00\x00\x01\x00\x01\x00'],
    ['Photoshop', '8BPS\x00\x01'],
    ['a font', 'wOF2\x00\x01\x00\x00'],
    ['MP4', '\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2'],
    ['zeros', '\x00'.repeat(1000)],
    ['one byte', '\x89'],
  ])('gets nothing kept of %s, whatever it calls it', async (_, text) => {
    const here = world()
    const id = await offered(here, { output: sentAs(here, latin1(text)) })
    await archiveDue(here.deps, 10)
    expect(await happened(here, id, 'attempt')).toMatchObject(
      TYPES.map(() => ({ code: 'not_an_image' })),
    )
    expect(await keys(here)).toEqual([])
  })
})

describe('An image host that sends what is more than a picture', () => {
  it.each([
    [
      'a GIF that is JavaScript',
      latin1('GIF89a/*\x00\x00\x00\x00\x00*/=1;alert(1)//'),
      'image/gif',
    ],
    [
      'a GIF that is HTML',
      latin1('GIF89a\x01\x00\x01\x00\x00\x00\x00<script>alert(1)</script>'),
      'image/gif',
    ],
    [
      'a GIF that is PHP',
      latin1('GIF87a\x01\x00\x01\x00\x00\x00\x00<?php system($_GET[0]); ?>'),
      'image/gif',
    ],
    [
      'a JPEG with HTML in a comment',
      latin1('\xff\xd8\xff\xfe\x00\x1b<script>alert(1)</script>\xff\xd9'),
      'image/jpeg',
    ],
    [
      'a JPEG with a phar behind it',
      latin1('\xff\xd8\xff\xd9<?php __HALT_COMPILER(); ?>'),
      'image/jpeg',
    ],
    [
      'a PNG with a ZIP behind it',
      Buffer.concat([picture(1), latin1('PK\x03\x04\x14\x00PK\x05\x06')]),
      'image/png',
    ],
    [
      'a PNG with HTML behind it',
      Buffer.concat([picture(1), latin1('<script>alert(1)</script>')]),
      'image/png',
    ],
    [
      'a PNG with an executable behind it',
      Buffer.concat([picture(1), latin1('MZ\x90\x00')]),
      'image/png',
    ],
    [
      'a WebP with HTML as its chunk',
      latin1('RIFF\x20\x00\x00\x00WEBPVP8 <script>alert(1)</script>'),
      'image/webp',
    ],
    [
      'an AVIF with HTML in a box',
      latin1('\x00\x00\x00\x0cftypavif\x00\x00\x00\x10free<script>'),
      'image/avif',
    ],
  ])('gets %s served as the picture it begins as, unable to run', async (_, bytes, contentType) => {
    const here = world()
    const id = await offered(here, { output: sentAs(here, bytes) })
    // Some of these end nowhere: they are kept once nothing better can come.
    here.clock.advance(25 * 3600)
    await archiveDue(here.deps, 10)

    for (const position of TYPES.keys()) {
      const response = await here.call(`/v1/generations/${id}/images/${position}`)
      expect(response.status).toBe(200)
      expect(Object.fromEntries(response.headers)).toMatchObject({
        'content-type': contentType,
        'x-content-type-options': 'nosniff',
        'content-security-policy': expect.stringMatching(
          /^default-src 'none';.* sandbox$/u,
        ) as string,
      })
      expect(Buffer.from(await response.arrayBuffer())).toEqual(Buffer.from(bytes))
    }
  })
})

describe('An image host that calls its bytes by another name', () => {
  const PNG = new Uint8Array(picture(1))

  it.each<[string, Uint8Array, Record<string, string>]>([
    ['a picture called aws-chunked', PNG, { 'content-encoding': 'aws-chunked' }],
    ['a picture called gzip', PNG, { 'content-encoding': 'gzip' }],
    ['gzip although nobody asked for it', gzipSync(PNG), { 'content-encoding': 'gzip' }],
    ['gzip that is called nothing', gzipSync(PNG), {}],
    ['deflate', deflateSync(PNG), { 'content-encoding': 'deflate' }],
    ['br', brotliCompressSync(PNG), { 'content-encoding': 'br', 'content-type': 'text/html' }],
  ])('has the picture in %s archived, and nothing else', async (_, bytes, headers) => {
    const here = world()
    here.cdn.pages.set(LINK, { status: 200, bytes, headers })
    const id = await offered(here, { output: [LINK] })
    await archiveDue(here.deps, 10)

    expect((await shown(here, id)).images).toMatchObject([
      { status: 'archived', sha256: sha256(PNG), bytes: PNG.length, suspect: null, attempts: 1 },
    ])
    const served = await here.call(`/v1/generations/${id}/images/0`)
    expect(new Uint8Array(await served.arrayBuffer())).toEqual(PNG)
  })

  it('has base64 in JSON archived that a proxy compressed', async () => {
    const here = world()
    const link = `${LINK}.base64`
    const json = JSON.stringify({ image: `data:image/png;base64,${picture(1).toString('base64')}` })
    const headers = { 'content-encoding': 'br', 'content-type': 'application/json' }
    here.cdn.pages.set(link, { status: 200, bytes: brotliCompressSync(json), headers })
    const id = await offered(here, { output: [link] })
    await archiveDue(here.deps, 10)

    expect((await shown(here, id)).images).toMatchObject([
      { status: 'archived', sha256: sha256(PNG), suspect: null },
    ])
  })

  it('is tried again where what it sends inflates beyond all bounds', async () => {
    const here = world()
    const bomb = gzipSync(Buffer.concat([PNG, Buffer.alloc(26 * 1024 * 1024)]))
    here.cdn.pages.set(LINK, { status: 200, bytes: bomb })
    const id = await offered(here, { output: [LINK] })
    await archiveDue(here.deps, 10)

    expect(await happened(here, id, 'attempt')).toMatchObject([{ code: 'too_large' }])
    expect((await shown(here, id)).images).toMatchObject([{ status: 'pending' }])
    expect(await keys(here)).toEqual([])
  })
})

describe('An image host that sends an absurd picture', () => {
  it.each([
    ['0 pixels', () => sized(0, 0), { width: 0, height: 0 }],
    ['60000 by 60000 pixels', () => sized(60_000, 60_000), { width: 60_000, height: 60_000 }],
    [
      '4 billion by 4 billion pixels',
      () => sized(2 ** 32 - 1, 2 ** 32 - 1),
      { width: 2 ** 32 - 1 },
    ],
    ['a GIF of 0 pixels', () => frames(0, 1), { width: 0 }],
    ['a GIF of ten thousand frames', () => frames(65_535, 10_000), { width: 65_535 }],
    [
      'a PNG whose pixels inflate a thousandfold',
      () => sized(16_000, 16_000, deflateSync(Buffer.alloc(64 * 1024 * 1024))),
      {},
    ],
  ])('has it kept as it came, and never decoded: %s', async (_, made, size) => {
    const here = world()
    here.cdn.pages.set(LINK, made())
    const id = await offered(here, { output: [LINK] })
    const tookMs = cpuClock()
    await archiveDue(here.deps, 10)

    expect((await shown(here, id)).images).toMatchObject([
      { status: 'archived', suspect: null, ...size },
    ])
    expect(tookMs()).toBeLessThan(5000)
  })

  it.each(['png', 'jpeg', 'webp', 'gif', 'avif'] as const)(
    'has a %s that is cut short tried again until its link dies, and then kept as truncated',
    async (format) => {
      const here = world()
      const whole = await sharp({
        create: { width: 200, height: 200, channels: 3, background: 'teal' },
      })
        .toFormat(format)
        .toBuffer()
      here.cdn.pages.set(LINK, whole.subarray(0, -20))
      const id = await offered(here, { output: [LINK] })
      await archiveDue(here.deps, 10)
      expect((await shown(here, id)).images).toMatchObject([{ status: 'pending' }])

      here.clock.advance(25 * 3600)
      await archiveDue(here.deps, 10)

      expect((await shown(here, id)).images).toMatchObject([
        { status: 'archived', suspect: 'truncated' },
      ])
    },
  )
})

/** One link for each type that a host may call its bytes by. */
function sentAs({ cdn }: World, bytes: Uint8Array) {
  return TYPES.map((type) => {
    const link = `https://cdn.test/${encodeURIComponent(type)}`
    cdn.pages.set(link, { status: 200, bytes, headers: { 'content-type': type } })
    return link
  })
}

/** A PNG whose header says `width` and `height`, whatever its pixels are. */
function sized(width: number, height: number, pixels = Buffer.alloc(0)) {
  const png = Buffer.from(picture(1))
  png.writeUInt32BE(width, 16)
  png.writeUInt32BE(height, 20)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(pixels.length)
  const data = Buffer.concat([length, latin1('IDAT'), pixels, Buffer.alloc(4)])
  return Buffer.concat([png.subarray(0, 33), data, png.subarray(33)])
}

function frames(width: number, count: number) {
  const head = latin1('GIF89a\x00\x00\x00\x00\x00\x00\x00')
  head.writeUInt16LE(width, 6)
  const frame = latin1('\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00')
  return Buffer.concat([head, ...Array<Buffer>(count).fill(frame), latin1('\x3b')])
}
