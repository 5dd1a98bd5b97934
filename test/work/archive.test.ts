import { describe, expect, it, vi } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import { ImageFailure } from '../../src/errors.ts'
import {
  absent,
  attempts,
  endless,
  HOUR,
  keys,
  linksInLedger,
  MEBIBYTE,
  offered,
  pauses,
} from '../support/archiving.ts'
import {
  happened,
  LINK,
  MIRROR,
  OTHER_LINK,
  png,
  sha256,
  shown,
  submitted,
  success,
  withoutJitter,
  world,
} from '../support/world.ts'

describe('an image that does not come', () => {
  it('is tried again after 1, 2, 4, 8, 15, 30 s, then doubling to 30 min', async () => {
    withoutJitter()
    const here = world()
    await offered(here, { output: [LINK] })

    const at = await attempts(here, 2 * HOUR)

    expect(pauses(at)).toEqual([1, 2, 4, 8, 15, 30, 60, 120, 240, 480, 960, 1800, 1800])
  })

  it.each([
    [0, 0.8],
    [0.999999, 1.2],
  ])('waits up to a fifth less or more: at %d of the dice, %d s', async (dice, seconds) => {
    const random = vi.spyOn(Math, 'random').mockReturnValue(dice)
    const here = world()
    await offered(here, { output: [LINK] })

    const at = await attempts(here, 1.3, 0.1)

    random.mockRestore()
    expect(pauses(at)).toEqual([seconds])
  })

  it('waits in units of RETRY_BASE_SECONDS', async () => {
    withoutJitter()
    const here = world({ RETRY_BASE_SECONDS: '10' })
    await offered(here, { output: [LINK] })

    expect(pauses(await attempts(here, 100, 1))).toEqual([10, 20, 40])
  })

  it.each([
    ['not found', absent, 'not_found'],
    ['forbidden', { status: 403 }, 'not_found'],
    ['an error', { status: 500 }, 'unreachable'],
    ['a page for people', { status: 200, bytes: Buffer.from('<!doctype html>') }, 'not_an_image'],
    ['nothing', { status: 200 }, 'not_an_image'],
    ['a broken connection', new ImageFailure('unreachable', 'socket hang up'), 'unreachable'],
    ['too much, undeclared', endless(), 'too_large'],
  ])(
    '%s: is tried once more when its link has died, and then is lost',
    async (_what, page, code) => {
      const here = world({ LINK_LIFETIME_HOURS: '1' })
      here.cdn.pages.set(LINK, page)
      const id = await offered(here, { output: [LINK] })

      const at = await attempts(here, 2 * HOUR, 100)

      expect(at.at(-1)).toBe(HOUR)
      const { archive_status, images } = await shown(here, id)
      expect(archive_status).toBe('lost')
      expect(images).toMatchObject([{ status: 'lost', failure: { code }, attempts: at.length }])
      expect(await happened(here, id, 'lost')).toMatchObject([
        { source: 'output', position: 0, code },
      ])
    },
  )

  it('comes at last, when it is there only at the very end', async () => {
    const here = world({ LINK_LIFETIME_HOURS: '1' })
    const id = await offered(here, { output: [LINK] })
    await attempts(here, HOUR - 1, 59)
    here.cdn.pages.set(LINK, await png('red'))

    await attempts(here, 1, 1)

    expect(await shown(here, id)).toMatchObject({ archive_status: 'archived' })
  })

  it.each([
    ['Expires', `${LINK}?Expires=${Date.UTC(2026, 0, 31, 12, 10) / 1000}&Signature=abc`],
    ['X-Amz-Expires', `${LINK}?X-Amz-Date=20260131T115000Z&X-Amz-Expires=1200&X-Amz-Signature=abc`],
  ])('dies when its link says so by %s', async (_how, link) => {
    const here = world()
    const id = await offered(here, { output: [link] })

    const at = await attempts(here, HOUR, 10)

    expect(at.at(-1)).toBe(600)
    expect(await shown(here, id)).toMatchObject({ archive_status: 'lost' })
  })

  it('is tried once, if its link was dead already', async () => {
    const here = world()
    const id = await offered(here, { output: [`${LINK}?Expires=1500000000`] })

    const at = await attempts(here, HOUR, 10)

    expect(at).toEqual([0])
    expect(await shown(here, id)).toMatchObject({ archive_status: 'lost' })
  })
})

const HUGE = { status: 200, headers: { 'content-length': String(25 * MEBIBYTE + 1) } }

describe('what is refused for good', () => {
  it.each([
    ['a URL without TLS', 'http://pub-1.r2.dev/a.png', 'refused_url', 0],
    ['a private address', 'https://169.254.169.254/latest/meta-data', 'refused_address', 0],
    ['over 25 MiB, declared', 'https://pub-1.r2.dev/huge', 'too_large', 1],
  ])('%s is tried once', async (_what, link, code, gets) => {
    const here = world()
    here.cdn.pages.set('https://pub-1.r2.dev/huge', HUGE)
    const id = await offered(here, { output: [link] })

    await attempts(here, HOUR, 60)

    expect(here.cdn.gets).toHaveLength(gets)
    expect(await shown(here, id)).toMatchObject({
      archive_status: 'lost',
      images: [{ status: 'lost', attempts: 1, failure: { code } }],
    })
  })

  it('does not cost an image its other places', async () => {
    const here = world()
    here.cdn.pages.set(`${LINK}?v=1`, HUGE)
    const id = await offered(here, { output: [`${LINK}?v=1`] })
    await here.callback(id, success(id, { id: '', output: [`${LINK}?v=2`] }))
    await attempts(here, 60)
    here.cdn.pages.set(`${LINK}?v=2`, await png('red'))

    await attempts(here, 200)

    expect(here.cdn.gets.filter((link) => link === `${LINK}?v=1`)).toHaveLength(1)
    expect(await shown(here, id)).toMatchObject({ archive_status: 'archived' })
  })
})

describe('a redirect that leads nowhere good', () => {
  const REDIRECTS = [
    ['to a private address', { location: 'https://127.0.0.1/' }],
    ['to itself', { location: LINK }],
    ['without a Location', {}],
    ['to what is no link', { location: 'http://[' }],
  ] as const

  it.each(REDIRECTS)('%s is tried again, and brings what it leads to then', async (_, headers) => {
    const here = world()
    here.cdn.pages.set(LINK, { status: 302, headers })
    const id = await offered(here, { output: [LINK] })
    await attempts(here, 60)
    const meanwhile = await shown(here, id)
    here.cdn.pages.set(LINK, { status: 302, headers: { location: OTHER_LINK } })
    here.cdn.pages.set(OTHER_LINK, await png('red'))

    await attempts(here, 200)

    expect(meanwhile.images).toMatchObject([
      { status: 'pending', failure: { code: 'refused_redirect' } },
    ])
    expect(await shown(here, id)).toMatchObject({ archive_status: 'archived' })
    expect(new Set(here.cdn.gets)).toEqual(new Set([LINK, OTHER_LINK]))
  })

  it.each(REDIRECTS)('%s is given up when its link dies', async (_, headers) => {
    const here = world({ LINK_LIFETIME_HOURS: '1' })
    here.cdn.pages.set(LINK, { status: 302, headers })
    const id = await offered(here, { output: [LINK] })

    const at = await attempts(here, 2 * HOUR, 10)

    expect(at.at(-1)).toBe(HOUR)
    expect((await shown(here, id)).images).toMatchObject([
      { status: 'lost', failure: { code: 'refused_redirect' } },
    ])
  })
})

describe('the same picture', () => {
  it('at an identical URL in output and proxy_links is downloaded once', async () => {
    const here = world()
    here.cdn.pages.set(LINK, await png('red'))
    const id = await offered(here, { output: [LINK], proxy_links: [LINK] })

    await archiveDue(here.deps, 10)
    await archiveDue(here.deps, 10)

    expect(here.cdn.gets).toEqual([LINK])
    expect((await shown(here, id)).images.map(({ source, status }) => [source, status])).toEqual([
      ['output', 'archived'],
      ['proxy', 'archived'],
    ])
    expect(await happened(here, id, 'archived')).toHaveLength(2)
  })

  it('as two outputs at an identical URL is downloaded once', async () => {
    const here = world()
    here.cdn.pages.set(LINK, await png('red'))
    const id = await offered(here, { output: [LINK, LINK] })

    await archiveDue(here.deps, 10)

    expect(here.cdn.gets).toEqual([LINK])
    expect(await shown(here, id)).toMatchObject({ archive_status: 'archived' })
  })

  it('whose shared URL is dead is still fetched from the mirror’s other places', async () => {
    const here = world()
    here.cdn.pages.set(MIRROR, await png('red'))
    const { id } = await submitted(here)
    await here.callback(id, success(id, { proxy_links: [LINK] }))
    await archiveDue(here.deps, 10)

    await here.callback(id, success(id, { proxy_links: [MIRROR] }))
    await archiveDue(here.deps, 10)

    expect((await shown(here, id)).images.map(({ source, status }) => [source, status])).toEqual([
      ['output', 'pending'],
      ['proxy', 'archived'],
    ])
  })

  it('whose shared URL only the output gave up is lost with it', async () => {
    const here = world({ LINK_LIFETIME_HOURS: '1' })
    const id = await offered(here, { output: [LINK], proxy_links: [LINK] })

    await attempts(here, 3 * HOUR, 100)

    expect((await shown(here, id)).images.map(({ status }) => status)).toEqual(['lost', 'lost'])
  })

  it('from different URLs is one object, and each image tells its own story', async () => {
    const here = world()
    const red = await png('red')
    here.cdn.pages.set(LINK, red).set(MIRROR, red)
    const id = await offered(here, { output: [LINK], proxy_links: [MIRROR] })

    await archiveDue(here.deps, 10)

    const { images } = await shown(here, id)
    const key = `sha256/${sha256(red).slice(0, 2)}/${sha256(red).slice(2, 4)}/${sha256(red)}.png`
    expect(images.map(({ object_key }) => object_key)).toEqual([key, key])
    expect(await keys(here)).toEqual([key])
    expect(await happened(here, id, 'archived')).toHaveLength(2)
  })
})

describe('what is kept', () => {
  it('is an image by its first bytes, whatever its type says', async () => {
    const here = world()
    const bytes = await png('red', 24)
    here.cdn.pages.set(LINK, { status: 200, bytes, headers: { 'content-type': 'text/plain' } })
    const id = await offered(here, { output: [LINK] })

    await archiveDue(here.deps, 10)

    expect((await shown(here, id)).images).toMatchObject([
      {
        status: 'archived',
        content_type: 'image/png',
        width: 24,
        height: 24,
        bytes: bytes.byteLength,
        sha256: sha256(bytes),
        suspect: null,
        failure: null,
      },
    ])
  })

  it('is an absurd picture too', async () => {
    const here = world()
    const bytes = new Uint8Array(await png('red'))
    new DataView(bytes.buffer).setUint32(16, 2 ** 31 - 1)
    here.cdn.pages.set(LINK, bytes)
    const id = await offered(here, { output: [LINK] })

    await archiveDue(here.deps, 10)

    expect((await shown(here, id)).images).toMatchObject([
      { status: 'archived', width: 2 ** 31 - 1 },
    ])
  })

  it('is the best of the copies that were cut short, once the link has died', async () => {
    const here = world({ LINK_LIFETIME_HOURS: '1' })
    const whole = await png('red', 200)
    const cut = (bytes: number) => here.cdn.pages.set(LINK, whole.slice(0, bytes))
    cut(100)
    const id = await offered(here, { output: [LINK] })
    await archiveDue(here.deps, 10)
    const meanwhile = await shown(here, id)
    cut(200)
    await attempts(here, 10, 1)
    cut(150)

    await attempts(here, HOUR, 10)

    expect(meanwhile).toMatchObject({ archive_status: 'pending' })
    expect(await shown(here, id)).toMatchObject({
      archive_status: 'archived',
      images: [
        {
          status: 'archived',
          suspect: 'truncated',
          bytes: 200,
          sha256: sha256(whole.slice(0, 200)),
          width: 200,
        },
      ],
    })
  })

  it('is the whole picture, if it comes after all', async () => {
    const here = world()
    const whole = await png('red', 200)
    here.cdn.pages.set(LINK, whole.slice(0, 100))
    const id = await offered(here, { output: [LINK] })
    await archiveDue(here.deps, 10)
    here.cdn.pages.set(LINK, whole)

    await attempts(here, 10, 1)

    expect((await shown(here, id)).images).toMatchObject([
      { status: 'archived', suspect: null, sha256: sha256(whole), bytes: whole.byteLength },
    ])
  })

  it('is short where fewer bytes came than were declared', async () => {
    const here = world({ LINK_LIFETIME_HOURS: '1' })
    const bytes = await png('red')
    const headers = { 'content-length': String(bytes.byteLength + 1) }
    here.cdn.pages.set(LINK, { status: 200, bytes, headers })
    const id = await offered(here, { output: [LINK] })

    await attempts(here, HOUR, 100)

    expect((await shown(here, id)).images).toMatchObject([
      { status: 'archived', suspect: 'truncated' },
    ])
  })

  it('loses the secrets of its links', async () => {
    const here = world()
    const secret = 'a-signature-that-lets-anybody-in'
    const signed = (link: string) => `${link}?X-Amz-Signature=${secret}`
    here.cdn.pages.set(signed(LINK), await png('red'))
    const id = await offered(here, { output: [signed(LINK)], proxy_links: [signed(LINK)] })

    await archiveDue(here.deps, 10)

    expect((await shown(here, id)).archive_status).toBe('archived')
    expect(here.cdn.gets).toEqual([signed(LINK)])
    expect(await linksInLedger(here)).not.toContain(secret)
  })
})

describe('archive status', () => {
  const kinds = ['none', 'pending', 'archived', 'lost'] as const
  type Kind = (typeof kinds)[number]
  const link = (kind: Kind, name: string) =>
    ({
      none: null,
      pending: `https://cdn.net/${name}`,
      archived: LINK,
      lost: `http://cdn.net/${name}`,
    })[kind]

  /** What becomes of a position, by what became of its output (down) and its proxy (across). */
  const FATES: Record<Kind, Record<Kind, 'absent' | 'open' | 'kept' | 'substituted' | 'gone'>> = {
    none: { none: 'absent', pending: 'open', archived: 'kept', lost: 'gone' },
    pending: { none: 'open', pending: 'open', archived: 'open', lost: 'open' },
    archived: { none: 'kept', pending: 'kept', archived: 'kept', lost: 'kept' },
    lost: { none: 'gone', pending: 'open', archived: 'substituted', lost: 'gone' },
  }
  const STATUS_OF_ONE = {
    absent: 'none',
    open: 'pending',
    kept: 'archived',
    substituted: 'partial',
    gone: 'lost',
  }
  const combinations = kinds.flatMap((output) => kinds.map((proxy) => ({ output, proxy })))

  async function statusOf(positions: { output: Kind; proxy: Kind }[]) {
    const here = world()
    here.cdn.pages.set(LINK, await png('red'))
    const id = await offered(here, {
      output: positions.map(({ output }, n) => link(output, `o${n}`)),
      proxy_links: positions.map(({ proxy }, n) => link(proxy, `p${n}`)),
      nsfw_content_detected: true,
    })
    await archiveDue(here.deps, 100)
    return shown(here, id)
  }

  it.each(combinations)('of one position: output $output, proxy $proxy', async (position) => {
    const { archive_status, archived_at } = await statusOf([position])

    const expected = STATUS_OF_ONE[FATES[position.output][position.proxy]]
    expect(archive_status).toBe(expected)
    expect(archived_at !== null).toBe(!['none', 'pending'].includes(expected))
  })

  const examples = {
    open: { output: 'pending', proxy: 'archived' },
    kept: { output: 'archived', proxy: 'lost' },
    substituted: { output: 'lost', proxy: 'archived' },
    gone: { output: 'lost', proxy: 'lost' },
  } as const
  const fates = Object.keys(examples) as (keyof typeof examples)[]
  const pairs = fates.flatMap((one, n) => fates.slice(n).map((two) => [one, two] as const))

  it.each(pairs)('of one position that is %s and one that is %s', async (one, two) => {
    const { archive_status } = await statusOf([examples[one], examples[two]])

    const said = new Set([one, two])
    const both = (fate: string) => said.size === 1 && said.has(fate as typeof one)
    const expected = said.has('open')
      ? 'pending'
      : both('kept')
        ? 'archived'
        : both('gone')
          ? 'lost'
          : 'partial'
    expect(archive_status).toBe(expected)
  })

  it('leaves pending once, at archived_at, and a mirror that is lost later changes only its own row', async () => {
    const here = world({ LINK_LIFETIME_HOURS: '1' })
    const id = await offered(here, { output: [LINK], proxy_links: [MIRROR] })
    here.clock.advance(10)
    here.cdn.pages.set(LINK, await png('red'))
    await archiveDue(here.deps, 10)
    const leftAt = new Date(here.clock.now).toISOString()
    const archived = await shown(here, id)

    await attempts(here, 2 * HOUR, 100)

    const after = await shown(here, id)
    expect(archived).toMatchObject({ archive_status: 'archived', archived_at: leftAt })
    expect(after).toMatchObject({ archive_status: 'archived', archived_at: leftAt })
    expect(after.images.map(({ status }) => status)).toEqual(['archived', 'lost'])
  })
})

it('tries what the store did not take as soon as the store answers again: its links may not live until the backoff ends', async () => {
  const here = world({ RETRY_BASE_SECONDS: '60' })
  const lasting = await offered(here, { output: [LINK] })
  here.cdn.pages.set(LINK, await png('red'))
  const away = vi.spyOn(here.store, 'put').mockRejectedValue(new Error('the store is away'))
  await archiveDue(here.deps, 10)
  here.clock.advance(5)
  expect(await archiveDue(here.deps, 10)).toBe(0)

  away.mockRestore()
  const other = await offered(here, { output: [OTHER_LINK] })
  here.cdn.pages.set(OTHER_LINK, await png('blue'))
  await archiveDue(here.deps, 1)
  await archiveDue(here.deps, 1)

  for (const id of [other, lasting]) expect((await shown(here, id)).archive_status).toBe('archived')
})
