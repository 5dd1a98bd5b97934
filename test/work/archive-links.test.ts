import { sql } from 'drizzle-orm'
import { describe, expect, it } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import { recordDue } from '../../src/work/record.ts'
import { absent, linksInLedger, offered } from '../support/archiving.ts'
import {
  decisions,
  happened,
  LINK,
  MIRROR,
  png,
  sha256,
  shown,
  submitted,
  success,
  type World,
  world,
} from '../support/world.ts'

const IMAGE = 'https://cdn.example.net/image'
const [red, blue] = [await png('red'), await png('blue')]

/** Whatever tells of a generation. */
async function told(here: World, id: string) {
  const doors = [`/v1/generations/${id}`, '/v1/generations', `/v1/generations/${id}/timeline`]
  const bodies = await Promise.all(doors.map(async (door) => (await here.call(door)).text()))
  while ((await recordDue(here.deps, 10)) > 0);
  const record = await here.deps.objects.get(`generations/2026/01/31/${id}.json`)
  bodies.push(record ? await new Response(record.body).text() : '', JSON.stringify(here.logged))
  return bodies.join('\n')
}

describe('the query of a link', () => {
  const QUERIES = [
    'X-Goog-Algorithm=GOOG4&X-Goog-Signature=s3cret',
    'Expires=1769990000&OSSAccessKeyId=s3cret&Signature=s3cret',
    'sv=2026-01-01&se=2026-02-28T00:00:00Z&sig=s3cret',
    'ex=697ffe00&is=697eac80&hm=s3cret&',
    'q-sign-time=1769860800;1769990000&q-signature=s3cret',
    'hdnts=exp=1769990000~acl=/*~hmac=s3cret',
    'never-heard-of=s3cret',
    'a=b?s3cret&c=d?e=s3cret',
  ]

  it.each(QUERIES)('is shown nowhere while the image is pending: %s', async (query) => {
    const here = world()
    const link = `${LINK}?${query}`
    const body = { output: [link], meta: { output: [link] }, tip: `see ${link}` }
    const id = await offered(here, body)
    await archiveDue(here.deps, 10)

    expect((await shown(here, id)).images).toMatchObject([{ status: 'pending' }])
    expect(here.cdn.gets).toEqual([link])
    expect(await told(here, id)).not.toContain('s3cret')
  })

  it.each(QUERIES)('is nowhere once the image is archived: %s', async (query) => {
    const here = world()
    const link = `${LINK}?${query}`
    here.cdn.pages.set(link, await png('red'))
    const id = await offered(here, { output: [link], proxy_links: [link] })
    await archiveDue(here.deps, 10)

    const names = new URLSearchParams(query).keys()
    const { images } = await shown(here, id)
    expect(images).toMatchObject([{ status: 'archived' }, { status: 'archived' }])
    for (const name of names) expect(images[0]?.source_url).toContain(`${name}=***`)
    expect(await told(here, id)).not.toContain('s3cret')
    expect(await linksInLedger(here)).not.toContain('s3cret')
  })

  it('is not shown of a link that an older ledger remembers with more of it', async () => {
    const here = world()
    const link = `${LINK}?Expires=1769990000&X-Goog-Signature=s3cret&Signature=s3cret`
    here.cdn.pages.set(link, await png('red'))
    const { id } = await submitted(here)
    await here.callback(id, success(id, { output: [link] }))
    await archiveDue(here.deps, 10)
    const older = link.replace('&Signature=s3cret', '&Signature=***')
    const at = JSON.stringify({ source: 'output', position: 0, url: older, code: 'timeout' })
    await here.db.run(sql`update offers set url = ${older}`)
    await here.db.run(sql`update images set source_url = ${older}`)
    await here.db.run(
      sql`insert into events (generation_id, at, event, detail) values (${id}, 1, 'attempt', ${at})`,
    )

    expect(await told(here, id)).not.toMatch(/s3cret|1769990000/u)

    await here.callback(id, success(id, { output: [link], n: 1 }))
    expect((await decisions(here, id)).at(-1)).toBe('duplicate')
    expect(await happened(here, id, 'offered')).toHaveLength(1)
  })

  it('stays in the ledger of a lost image, unless it may be signed: a retry needs it', async () => {
    const here = world()
    const links = [`${LINK}?v=2`, `${MIRROR}?Expires=1500000000&X-Goog-Signature=s3cret`]
    for (const link of links) here.cdn.pages.set(link, absent)
    const id = await offered(here, { output: links })
    here.clock.advance(25 * 3600)
    await archiveDue(here.deps, 10)
    expect((await shown(here, id)).images).toMatchObject([{ status: 'lost' }, { status: 'lost' }])
    expect(await linksInLedger(here)).toContain('?v=2')
    expect(await linksInLedger(here)).not.toContain('s3cret')
    expect((await shown(here, id)).images[0]?.source_url).toBe(`${LINK}?v=***`)

    here.cdn.pages.set(`${LINK}?v=2`, await png('red'))
    await here.call(`/v1/generations/${id}/retry`, { method: 'POST' })
    await archiveDue(here.deps, 10)

    expect((await shown(here, id)).images[0]).toMatchObject({ status: 'archived' })
    expect(await linksInLedger(here)).not.toContain('?v=2')
  })
})

describe('outputs whose links differ in their queries alone', () => {
  const [first, second] = [`${IMAGE}?id=1`, `${IMAGE}?id=2`]

  /** The first is archived, and its query forgotten; the second does not come yet. */
  async function halfArchived(query = '') {
    const here = world()
    here.cdn.pages.set(`${first}${query}`, red)
    const { id } = await submitted(here)
    const output = [`${first}${query}`, `${second}${query}`]
    await here.callback(id, success(id, { output }))
    await archiveDue(here.deps, 10)
    return { here, id }
  }

  const hashes = async (here: World, id: string) =>
    (await shown(here, id)).images.map((image) => image.sha256)

  it.each([
    ['in their order', [first, second]],
    ['in another order', [second, first]],
    ['alone, at the place of the other', [second]],
  ])('are not taken for one another when they are named again %s', async (_, output) => {
    const { here, id } = await halfArchived()
    await here.callback(id, success(id, { output, n: 1 }))
    here.cdn.pages.set(second, blue)
    here.clock.advance(60)
    while ((await archiveDue(here.deps, 10)) > 0);

    expect(await hashes(here, id)).toEqual([sha256(red), sha256(blue)])
    expect(here.cdn.gets.filter((url) => url === first)).toHaveLength(1)
  })

  it('are not taken for one another when they are signed anew', async () => {
    const { here, id } = await halfArchived('&sig=old')
    const output = [`${first}&sig=new`, `${second}&sig=new`]
    here.cdn.pages.set(`${second}&sig=new`, blue)
    await here.callback(id, success(id, { output }))
    here.clock.advance(60)
    while ((await archiveDue(here.deps, 10)) > 0);

    expect(await hashes(here, id)).toEqual([sha256(red), sha256(blue)])
    expect(here.cdn.gets).not.toContain(`${first}&sig=new`)
  })

  it('are not taken for one another when one is left out between them', async () => {
    const here = world()
    const third = `${IMAGE}?id=3`
    here.cdn.pages.set(first, red)
    const { id } = await submitted(here)
    await here.callback(id, success(id, { output: [first, second, third] }))
    await archiveDue(here.deps, 10)

    await here.callback(id, success(id, { output: [third, first], n: 1 }))
    here.cdn.pages.set(second, blue)
    here.clock.advance(60)
    while ((await archiveDue(here.deps, 10)) > 0);

    expect(await hashes(here, id)).toEqual([sha256(red), sha256(blue), null])
  })

  it.each([
    ['by a name', '?id=1', '?id=***'],
    ['without one', `?${'a'.repeat(40)}`, '?***'],
    ['behind another', `?a&${'b'.repeat(40)}`, '?a&***'],
  ])(
    'are not copied from one that is only named like what was forgotten %s',
    async (_, query, forgotten) => {
      const here = world()
      const link = IMAGE + query
      here.cdn.pages.set(link, red)
      const { id } = await submitted(here)
      await here.callback(id, success(id, { output: [link] }))
      await archiveDue(here.deps, 10)
      expect(await linksInLedger(here)).toContain(forgotten)
      here.cdn.pages.set(IMAGE + forgotten, blue)

      const proxyLinks = [IMAGE + forgotten]
      await here.callback(id, success(id, { output: [link], proxy_links: proxyLinks }))
      while ((await archiveDue(here.deps, 10)) > 0);

      const proxy = (await shown(here, id)).images.find(({ source }) => source === 'proxy')
      expect(proxy).toMatchObject({ status: 'archived', sha256: sha256(blue) })
    },
  )
})
