import { describe, expect, it } from 'vitest'
import { archiveDue } from '../../../src/work/archive.ts'
import { png, submitted, type GenerationJson, type World, world } from '../../support/world.ts'
import { DOOR, pointers, succeeded } from '../../support/doors.ts'

interface List {
  data: GenerationJson[]
  has_more: boolean
  next_cursor: string | null
}

async function list({ call }: World, query = '') {
  const response = await call(DOOR + query)
  if (response.status !== 200)
    throw new Error(`not a list: ${response.status} ${await response.text()}`)
  return (await response.json()) as List
}

const ids = async (here: World, query: string) => (await list(here, query)).data.map(({ id }) => id)

/** Requests of `count` generations, a second apart; the newest first. */
async function requested(here: World, count: number) {
  const newestFirst: string[] = []
  for (let n = 0; n < count; n++) {
    newestFirst.unshift((await submitted(here)).id)
    here.clock.advance(1)
  }
  return newestFirst
}

/** Follows the Link headers from the first page to the last. */
async function walk({ call }: World, query: string, meanwhile = () => Promise.resolve()) {
  const pages: string[][] = []
  let next: string | undefined = DOOR + query
  while (next !== undefined) {
    const response: Response = await call(next)
    const page = (await response.json()) as List
    pages.push(page.data.map(({ id }) => id))
    const link: string | undefined = /^<https:\/\/images\.example\.com(\/.*)>; rel="next"$/u.exec(
      response.headers.get('link') ?? '',
    )?.[1]
    expect(page.has_more).toBe(link !== undefined)
    expect(page.next_cursor).toBe(
      link === undefined ? null : new URLSearchParams(link.split('?')[1]).get('cursor'),
    )
    next = link
    await meanwhile()
  }
  return pages
}

/** Ten seconds apart, and their names by id. */
async function fourGenerations(here: World) {
  const first = await submitted(here)
  here.clock.advance(10)
  here.provider.answers({ status: 'error', message: 'no' })
  const refused = await submitted(here, { model_id: 'other_model' })
  here.clock.advance(10)
  const clear = await submitted(here, { track_id: 'c&c' })
  here.cdn.pages.set('https://cdn.example.net/a.png', await png('red'))
  const success = { status: 'success', output: ['https://cdn.example.net/a.png'] }
  await here.callback(clear.id, { ...success, nsfw_content_detected: false })
  await archiveDue(here.deps, 10)
  here.clock.advance(10)
  const flagged = await submitted(here)
  await here.callback(flagged.id, { ...success, nsfw_content_detected: true })
  return new Map([
    [first.id, 'requested first'],
    [refused.id, 'refused'],
    [clear.id, 'clear'],
    [flagged.id, 'flagged'],
  ])
}

describe('GET /v1/generations', () => {
  it('lists nothing of an empty ledger', async () => {
    expect(await list(world())).toEqual({ data: [], has_more: false, next_cursor: null })
  })

  it('lists the newest first, each as its own door shows it', async () => {
    const here = world()
    const newestFirst = await requested(here, 3)

    const { data } = await list(here)

    expect(data.map(({ id }) => id)).toEqual(newestFirst)
    expect(data[0]).toEqual(await (await here.call(`${DOOR}/${newestFirst[0]}`)).json())
  })

  it.each([
    ['status=processing', 'requested first'],
    ['status=failed', 'refused'],
    ['status=succeeded', 'flagged, clear'],
    ['status=unconfirmed', ''],
    ['archive_status=none', 'refused, requested first'],
    ['archive_status=archived', 'clear'],
    ['archive_status=pending', 'flagged'],
    ['archive_status=lost', ''],
    ['nsfw=flagged', 'flagged'],
    ['nsfw=clear', 'clear'],
    ['nsfw=unknown', 'refused, requested first'],
    ['model_id=other_model', 'refused'],
    ['model_id=other', ''],
    ['client_track_id=c%26c', 'clear'],
    ['client_track_id=', ''],
    ['status=succeeded&nsfw=clear', 'clear'],
    ['status=succeeded&model_id=other_model', ''],
    ['status=succeeded&nsfw=flagged&archive_status=pending&model_id=pony_realism', 'flagged'],
    ['requested_after=2026-01-31T12:00:20.000Z', 'flagged, clear'],
    ['requested_after=2026-01-31T12:00:20.001Z', 'flagged'],
    ['requested_after=2026-01-31T13:00:20%2B01:00', 'flagged, clear'],
    ['requested_before=2026-01-31T12:00:20.000Z', 'refused, requested first'],
    ['requested_before=2026-01-31T12:00:20.001Z', 'clear, refused, requested first'],
    [
      'requested_after=2026-01-31T12:00:10Z&requested_before=2026-01-31T12:00:30Z',
      'clear, refused',
    ],
    ['requested_after=2026-01-31T12:00:10Z&requested_before=2026-01-31T12:00:10Z', ''],
    ['requested_after=2026-01-31t12:00:20z', 'flagged, clear'],
    ['requested_after=2026-01-31t13:00:20.001%2B01:00', 'flagged'],
    [
      'requested_after=2016-12-31T23:59:60Z&requested_before=2026-01-31t12:00:10Z',
      'requested first',
    ],
    ['requested_before=2016-12-31t15:59:60.5-08:00', ''],
    ['requested_after=1950-01-01T00:00:00Z', 'flagged, clear, refused, requested first'],
    ['requested_before=1950-01-01T00:00:00Z', ''],
    ['requested_after=9999-12-31T23:59:59Z', ''],
    ['requested_after=2026-01-31T12:00:10Z&nsfw=unknown', 'refused'],
  ])('shows for ?%s: %s', async (query, expected) => {
    const here = world()
    const names = await fourGenerations(here)

    const found = await ids(here, `?${query}`)

    expect(found.map((id) => names.get(id)).join(', ')).toBe(expected)
  })

  it('walks all pages by their Link, without a gap or a repetition, with the filters kept', async () => {
    const here = world()
    const newestFirst = await requested(here, 7)
    here.provider.answers({ status: 'error', message: 'no' })
    await submitted(here)

    const pages = await walk(here, '?limit=3&status=processing')

    expect(pages).toEqual([newestFirst.slice(0, 3), newestFirst.slice(3, 6), newestFirst.slice(6)])
  })

  it('walks on undisturbed while new generations arrive', async () => {
    const here = world()
    const newestFirst = await requested(here, 6)

    const pages = await walk(here, '?limit=2', async () => {
      await requested(here, 3)
    })

    expect(pages).toEqual([newestFirst.slice(0, 2), newestFirst.slice(2, 4), newestFirst.slice(4)])
  })

  it('walks generations of one millisecond without a gap or a repetition', async () => {
    const here = world()
    const all = await Promise.all(Array.from({ length: 9 }, async () => (await submitted(here)).id))

    const pages = await walk(here, '?limit=2')

    expect(pages.flat().toSorted()).toEqual(all.toSorted())
    expect(pages.map(({ length }) => length)).toEqual([2, 2, 2, 2, 1])
  })

  it('keeps a page that ends exactly at the last generation the last', async () => {
    const here = world()
    await requested(here, 2)

    expect(await list(here, '?limit=2')).toMatchObject({ has_more: false, next_cursor: null })
  })

  it('takes the older of cursor and requested_before', async () => {
    const here = world()
    const [, middle, oldest] = await requested(here, 3)

    expect(await ids(here, `?cursor=${middle}&requested_before=2027-01-01T00:00:00Z`)).toEqual([
      oldest,
    ])
    expect(await ids(here, `?cursor=${middle}&requested_before=2026-01-31T12:00:00Z`)).toEqual([])
  })

  it('shows 20 unless told, and up to 100', async () => {
    const here = world()
    await Promise.all(Array.from({ length: 101 }, () => submitted(here)))

    expect((await list(here)).data).toHaveLength(20)
    expect((await list(here, '?limit=100')).data).toHaveLength(100)
    expect((await list(here, '?limit=1')).data).toHaveLength(1)
  })

  it.each([
    ['limit=0', ['limit']],
    ['limit=101', ['limit']],
    ['limit=1.5', ['limit']],
    ['limit=-1', ['limit']],
    ['limit=', ['limit']],
    ['limit=ten', ['limit']],
    ['cursor=', ['cursor']],
    ['cursor=first', ['cursor']],
    ['cursor=019c13ec-9e00-41b8-a8aa-37a2240d1d20', ['cursor']],
    ['status=done', ['status']],
    ['status=SUCCEEDED', ['status']],
    ['archive_status=kept', ['archive_status']],
    ['nsfw=true', ['nsfw']],
    ['requested_after=yesterday', ['requested_after']],
    ['requested_after=2026-01-31', ['requested_after']],
    ['requested_after=2026-02-30T00:00:00Z', ['requested_after']],
    ['requested_after=2026-01-31T12:00:00', ['requested_after']],
    ['requested_after=2026-01-31T12:00:60Z', ['requested_after']],
    ['requested_after=2026-01-31T23:59:60%2B01:00', ['requested_after']],
    ['requested_after=2026-01-31T23:59:61Z', ['requested_after']],
    ['requested_after=2026-02-30t23:59:60z', ['requested_after']],
    ['requested_before=1769860800', ['requested_before']],
    ['page=2', ['page']],
    ['Status=failed', ['Status']],
    ['__proto__=1', ['__proto__']],
    ['status=failed&status=failed', ['status']],
    ['limit=2&limit=3&nsfw=no&colour=red', ['limit', 'nsfw', 'colour']],
  ])('refuses ?%s, naming %j', async (query, named) => {
    const response = await world().call(`${DOOR}?${query}`)

    expect(response.status).toBe(400)
    expect(await pointers(response)).toEqual(named)
  })
})

describe.each(['', '/timeline'])('GET /v1/generations/{id}%s', (door) => {
  it('refuses a query parameter, naming it', async () => {
    const here = world()
    const { id } = await submitted(here)

    const response = await here.call(`${DOOR}/${id}${door}?expand=1`)

    expect(response.status).toBe(400)
    expect(await pointers(response)).toEqual(['expand'])
  })

  it.each(['019c13ec-9e00-71b8-a8aa-37a2240d1d20', 'latest', '%00', '..%2f..%2fetc'])(
    'answers 404 to the id %s, which nobody has',
    async (id) => {
      expect((await world().call(`${DOOR}/${id}${door}`)).status).toBe(404)
    },
  )
})

describe('GET /v1/generations/{id}/timeline', () => {
  it('tells what happened, oldest first', async () => {
    const here = world()
    const id = await succeeded(here, { output: ['https://cdn.example.net/a.png?token=secret'] })

    const { data } = (await (await here.call(`${DOOR}/${id}/timeline`)).json()) as {
      data: { at: string; event: string; detail: unknown }[]
    }

    expect(data.map(({ event }) => event).toSorted()).toEqual(
      ['requested', 'submitted', 'replied', 'callback', 'verdict', 'offered', 'attempt'].toSorted(),
    )
    expect(data[0]).toEqual({
      at: '2026-01-31T12:00:00.000Z',
      event: 'requested',
      detail: { submitted_by: 'admin' },
    })
    expect(JSON.stringify(data)).not.toContain('secret')
  })
})
