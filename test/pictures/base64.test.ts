import { expect, it } from 'vitest'
import { pictureBytes } from '../../src/pictures/base64.ts'
import { png } from '../support/world.ts'
import { cpuClock } from '../support/cpu.ts'

const LINK = 'https://cdn.example.net/generations/1.base64?x=1'
const asBytes = (text: string) => new TextEncoder().encode(text)

it.each([
  ['plain', (text: string) => text],
  ['with a data: prefix', (text: string) => `data:image/png;base64,${text}`],
  ['in lines', (text: string) => `${text.replace(/.{76}/gu, '$&\r\n')}\n`],
  [
    'in the URL-safe alphabet, without padding',
    (text: string) => text.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/u, ''),
  ],
])('decodes base64 %s behind a link that ends in .base64', async (_name, write) => {
  const red = await png('red')
  expect(pictureBytes(LINK, asBytes(write(Buffer.from(red).toString('base64'))))).toEqual(red)
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
])('does not stand still over 25 MiB of %s', (_name, unit) => {
  const bytes = Buffer.alloc(25 * 1024 * 1024, unit)
  const tookMs = cpuClock()
  pictureBytes(LINK, bytes)
  // Some 200 ms on an idle machine.
  expect(tookMs()).toBeLessThan(2500)
})
