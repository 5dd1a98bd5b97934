import { expect, it } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import { offered } from '../support/archiving.ts'
import {
  happened,
  LINK,
  MIRROR,
  OTHER_LINK,
  png,
  shown,
  success,
  submitted,
  world,
  type World,
} from '../support/world.ts'
import { cpuClock } from '../support/cpu.ts'

const link = (n: number) => `https://pub-1.r2.dev/generations/${n}.png`
const many = (count: number) => Array.from({ length: count }, (_, n) => link(n))

it.each([
  ['10,000 links', many(10_000), 64, 9936],
  [
    '10,000 links by index',
    Object.fromEntries(many(10_000).map((url, n) => [String(n), url])),
    64,
    9936,
  ],
  ['10,000 times one link', Array<string>(10_000).fill(LINK), 64, 9936],
  ['65 links', many(65), 64, 1],
  ['64 links', many(64), 64, 0],
  ['10,000 nulls before a link', [...Array<null>(10_000).fill(null), LINK], 0, 1],
  ['10,000 numbers', Array.from({ length: 10_000 }, (_, n) => n), 0, 0],
  [
    '10,000 numbers before a link',
    [...Array.from({ length: 10_000 }, (_, n) => n), LINK],
    64,
    9937,
  ],
  ['10,000 empty lists', Array.from({ length: 10_000 }, () => []), 0, 0],
])('takes %s, keeps at most 64 and says how many it cut off', async (_, output, kept, cutOff) => {
  const here = world()
  const id = await offered(here, { output })

  expect((await shown(here, id)).images).toHaveLength(kept)
  expect(warnings(here)).toEqual(
    cutOff === 0 ? [] : [{ generation: id, by: 'callback', cut_off: cutOff }],
  )
  expect((await here.call('/livez')).status).toBe(200)
})

it('says so of a reply and of a fetch too, and of both lists together', async () => {
  const here = world()
  here.provider.answers(success('', { output: many(100), proxy_links: many(70) }))
  const { id } = await submitted(here)
  expect(warnings(here)).toEqual([{ generation: id, by: 'reply', cut_off: 42 }])
})

it('says so of links that are only promised', async () => {
  const here = world()
  here.provider.answers({ status: 'processing', id: 7, output: [], future_links: many(100) })
  const { id } = await submitted(here)
  expect(warnings(here)).toEqual([{ generation: id, by: 'reply', cut_off: 36 }])
})

it('takes a list of 10,000 links forty times, and has room for the next callback', async () => {
  const here = world()
  const tookMs = cpuClock()
  for (let i = 0; i < 40; i++)
    await offered(here, { output: many(10_000).map((url) => `${url}?${i}`) })
  const id = await offered(here, { output: [LINK] })
  expect((await shown(here, id)).images).toHaveLength(1)
  // Some 2 s on an idle machine; what grows with the square of the list would take minutes.
  expect(tookMs()).toBeLessThan(20_000)
})

it.each([
  ['one link in all 64 places', Array<string>(64).fill(LINK), Array<string>(64).fill(LINK)],
  ['one link in both lists', [LINK], [LINK]],
])('downloads %s once', async (_, output, proxyLinks) => {
  const here = world()
  here.cdn.pages.set(LINK, await png('red'))
  const id = await offered(here, { output, proxy_links: proxyLinks })
  while ((await archiveDue(here.deps, 200)) > 0);

  const { images } = await shown(here, id)
  expect(new Set(images.map(({ status }) => status))).toEqual(new Set(['archived']))
  expect(here.cdn.gets).toEqual([LINK])
})

it.each([
  ['nulls', [null, null]],
  ['booleans', [true, false]],
  ['empty texts', ['', '  ']],
  ['objects without a url', [{}, { href: LINK }]],
  ['numbers', [7, 1e21]],
  ['texts that are no links', ['not a link', '../../etc/passwd']],
  ['schemes that are no https', ['file:///etc/passwd', 'ftp://cdn.test/a.png']],
  ['an empty list in a text', '[]'],
  ['null', null],
  ['a number that is none', { 0: null }],
  ['true', true],
])('finds no image in %s, and goes on waiting for one', async (_, output) => {
  const here = world()
  const id = await offered(here, { output, proxy_links: output })
  expect(await shown(here, id)).toMatchObject({ status: 'processing', images: [] })
})

it.each([
  ['nested lists', [[LINK], [[OTHER_LINK]]]],
  ['lists in a text', JSON.stringify([[LINK], OTHER_LINK])],
  ['an object whose url is a list', [{ url: [LINK, OTHER_LINK] }]],
  ['objects whose url is an object', [{ url: { url: LINK } }, { url: { url: OTHER_LINK } }]],
  ['lines', `${LINK}\n${OTHER_LINK}\n`],
])('finds the images in %s', async (_, output) => {
  const here = world()
  const id = await offered(here, { output })
  expect(await shown(here, id)).toMatchObject({
    status: 'succeeded',
    images: [
      { position: 0, source_url: LINK },
      { position: 1, source_url: OTHER_LINK },
    ],
  })
})

it.each([
  ['numbers', [7, 1e21]],
  ['texts that are no links', ['not a link', '../../etc/passwd']],
  ['schemes that are no https', ['file:///etc/passwd', 'data:image/png;base64,iVBORw0KGgo=']],
])('loses %s beside a good link, which is archived', async (_, bad) => {
  const here = world()
  here.cdn.pages.set(MIRROR, await png('red'))
  const id = await offered(here, { output: [...bad, MIRROR] })
  await archiveDue(here.deps, 10)

  const lost = { status: 'lost', failure: { code: 'refused_url' } }
  expect((await shown(here, id)).images).toMatchObject([lost, lost, { status: 'archived' }])
  expect(await happened(here, id, 'attempt')).toHaveLength(2)
  expect(here.cdn.gets).toEqual([MIRROR])
})

const warnings = ({ logged }: World) =>
  logged
    .filter(({ level, message }) => level === 'warn' && /links/u.test(message))
    .map(({ fields }) => fields)
