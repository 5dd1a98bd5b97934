import sharp from 'sharp'
import { expect, it } from 'vitest'
import { pictureBytes } from '../../src/pictures/base64.ts'
import { png } from '../support/world.ts'
import { cpuClock } from '../support/cpu.ts'

const LINK = 'https://cdn.example.net/generations/1.base64?x=1'
const asBytes = (text: string) => new TextEncoder().encode(text)
const dataUrl = (text: string) => `data:image/png;base64,${text}`
const inLines = (text: string) => `${text.replace(/.{76}/gu, '$&\r\n')}\n`

/** Whose digits have every letter in them. */
async function noisy() {
  const noise = { type: 'gaussian', mean: 128, sigma: 60 } as const
  const create = { width: 40, height: 40, channels: 3, background: 'red', noise } as const
  return new Uint8Array(await sharp({ create }).png().toBuffer())
}

it.each([
  ['plain', (text: string) => text],
  ['with a data: prefix', (text: string) => `data:image/png;base64,${text}`],
  ['in lines', inLines],
  [
    'in the URL-safe alphabet, without padding',
    (text: string) => text.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/u, ''),
  ],
  ['behind a byte order mark', (text: string) => `\ufeff${text}`],
  ['in quotes', (text: string) => `"${text}"\n`],
  ['in single quotes', (text: string) => ` '${text}'`],
  ['as Python writes its bytes', (text: string) => `b'${text}'`],
  ['with a data: prefix in quotes', (text: string) => `"data:image/png;base64,${text}"`],
  [
    'with a data: prefix in capitals',
    (text: string) => `DATA:image/png;name=a.png;BASE64, ${text}`,
  ],
  ['with a data: prefix and without a type', (text: string) => `data:;base64,${text}`],
  ['in a JSON object', (text: string) => JSON.stringify({ created: 1, b64_json: text, n: 1 })],
  ['with a data: prefix in JSON', (text: string) => JSON.stringify({ image: dataUrl(text) })],
  ['in a JSON list behind a byte order mark', (text: string) => `\ufeff${JSON.stringify([text])}`],
  ['in indented JSON', (text: string) => JSON.stringify({ data: [{ image: text }] }, null, 2)],
  ['in JSON in JSON', (text: string) => JSON.stringify(JSON.stringify({ output: [text] }))],
  ['in JSON that escapes slashes', (text: string) => `{"a":"${text.replaceAll('/', '\\/')}"}`],
  ['in JSON that escapes pluses', (text: string) => `{"a":"${text.replaceAll('+', '\\u002B')}"}`],
  ['in JSON that escapes line ends', (text: string) => JSON.stringify({ a: inLines(text) })],
  ['in JSON that is cut short', (text: string) => `{"image":"${text}`],
  ['percent-encoded', (text: string) => `data:image/png;base64,${encodeURIComponent(text)}`],
  ['in a web page', (text: string) => `<html><img alt="" src="${dataUrl(text)}"></html>`],
  ['in CSS', (text: string) => `url(${dataUrl(text)})`],
  ['in a form', (text: string) => `name=a.png&image=${encodeURIComponent(text)}&n=1`],
])('decodes base64 %s behind a link that ends in .base64', async (_name, write) => {
  const red = await noisy()
  const text = write(Buffer.from(red).toString('base64'))
  expect(pictureBytes(LINK, asBytes(text))).toEqual(red)
})

it.each([
  ['little-endian', (text: string) => Buffer.from(text, 'utf16le')],
  ['big-endian', (text: string) => Buffer.from(text, 'utf16le').swap16()],
])('decodes base64 in UTF-16, %s, with its mark and without', async (_name, encode) => {
  const red = await noisy()
  const text = `{"image":"${Buffer.from(red).toString('base64').replaceAll('/', '\\/')}"}`
  for (const mark of ['\ufeff', ''])
    expect(pictureBytes(LINK, new Uint8Array(encode(mark + text)))).toEqual(red)
})

it.each(['png', 'jpeg', 'webp', 'gif', 'avif'] as const)(
  'finds a %s in JSON, and what came of one that is cut short',
  async (format) => {
    const whole = await sharp(await noisy())
      .toFormat(format)
      .toBuffer()
    const text = JSON.stringify({ images: [whole.toString('base64')] })
    expect(pictureBytes(LINK, asBytes(text))).toEqual(new Uint8Array(whole))
    const cut = pictureBytes(LINK, asBytes(text.slice(0, -100)))
    expect(Buffer.from(cut).equals(whole.subarray(0, cut.length))).toBe(true)
    expect(whole.length - cut.length).toBeLessThan(100)
  },
)

it.each([
  ['no digits', '{"error":"not found"}'],
  ['the digits of something else', btoa('<html>nothing here</html>')],
  ['nothing', ''],
  ['an escape without an end', '"iVBORw0KGg\\'],
  ['an escape of nothing', '%zz\\u00zziVBORw'],
])('returns %s as it came', (_name, text) => {
  expect(pictureBytes(LINK, asBytes(text))).toEqual(asBytes(text))
})

it('leaves real bytes behind such a link, and base64 behind any other, as they came', async () => {
  const red = await png('red')
  const text = asBytes(Buffer.from(red).toString('base64'))
  expect(pictureBytes(LINK, red)).toEqual(red)
  expect(pictureBytes('https://cdn.example.net/1.png', text)).toEqual(text)
})

it.each([
  ['white space between all digits', 'a '],
  ['nothing but white space', ' '],
  ['line ends', '\n\nAA'],
  ['the beginning of a prefix', 'data:'],
  ['padding', '='],
  ['padding between white space', '= '],
  ['padding between digits', 'a='],
  ['digits', 'QUJD'],
  ['escaped line ends', '\\n'],
  ['escaped letters', '\\u0041'],
  ['escaped bytes', '%41'],
  ['zeros', '\0'],
  ['quotes', '"'],
])('does not stand still over 25 MiB of %s', (_name, unit) => {
  const bytes = Buffer.alloc(25 * 1024 * 1024, unit)
  const tookMs = cpuClock()
  pictureBytes(LINK, bytes)
  bytes.write('iVBORw0KGgoAAAANSUhEUgAA')
  pictureBytes(LINK, bytes)
  // Some 200 ms on an idle machine, and 400 ms where everything is escaped.
  expect(tookMs()).toBeLessThan(2500)
})
