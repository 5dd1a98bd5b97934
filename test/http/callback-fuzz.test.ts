import { createHmac, hkdfSync } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  dump,
  evidence,
  SECRET,
  sampleBody,
  sha256,
  shown,
  submitted,
  type World,
  world,
} from '../support/world.ts'
import { DOOR } from '../support/doors.ts'

const MIB = 1024 * 1024
const OTHER = '019c13ec-9e00-71b8-a8aa-37a2240d1d20'

/** Fewer than the burst of wrong MACs: beyond it a forgery is answered 429. */
const RUNS = 300

async function atTheDoor() {
  const here = world()
  const { id } = await submitted(here)
  const mac = here.deps.callbackUrl(id).slice(-64)
  return { here, id, mac }
}

async function notThere({ call }: World) {
  return (await call('/nothing', { method: 'POST', token: null })).text()
}

/** A MAC as if the same secret had a purpose, or a version, that this door does not know. */
function macFor(id: string, purpose: string, words = `afterimage/${purpose}/v1\n${id}`) {
  const key = Buffer.from(hkdfSync('sha256', SECRET, '', purpose, 32))
  return createHmac('sha256', key).update(words).digest('hex')
}

const percented = (text: string) =>
  Array.from(text, (digit) => `%${digit.charCodeAt(0).toString(16)}`).join('')

describe('A path that is not the one we gave out', () => {
  const paths: [string, (id: string, mac: string) => string][] = [
    ['a digit less', (id, mac) => `/callbacks/${id}/${mac.slice(0, -1)}`],
    ['half the MAC', (id, mac) => `/callbacks/${id}/${mac.slice(0, 32)}`],
    ['a digit more', (id, mac) => `/callbacks/${id}/${mac}0`],
    ['the MAC twice', (id, mac) => `/callbacks/${id}/${mac}${mac}`],
    ['upper-case hex', (id, mac) => `/callbacks/${id}/${mac.toUpperCase()}`],
    [
      'one upper-case digit',
      (id, mac) => `/callbacks/${id}/${mac.replace(/[a-f]/u, (digit) => digit.toUpperCase())}`,
    ],
    ['the id in upper case', (id, mac) => `/callbacks/${id.toUpperCase()}/${mac}`],
    ['the id without dashes', (id, mac) => `/callbacks/${id.replaceAll('-', '')}/${mac}`],
    ['the id in braces', (id, mac) => `/callbacks/{${id}}/${mac}`],
    ['another id', (_id, mac) => `/callbacks/${OTHER}/${mac}`],
    ['id and MAC exchanged', (id, mac) => `/callbacks/${mac}/${id}`],
    [
      'a MAC percent-encoded twice',
      (id, mac) => `/callbacks/${id}/${percented(mac).replaceAll('%', '%25')}`,
    ],
    ['a NUL after the MAC', (id, mac) => `/callbacks/${id}/${mac}%00`],
    ['a NUL before the MAC', (id, mac) => `/callbacks/${id}/%00${mac}`],
    ['a line end after the MAC', (id, mac) => `/callbacks/${id}/${mac}%0d%0a`],
    ['a line end after the id', (id, mac) => `/callbacks/${id}%0a/${mac}`],
    ['a space after the MAC', (id, mac) => `/callbacks/${id}/${mac}%20`],
    ['a slash after the MAC', (id, mac) => `/callbacks/${id}/${mac}/`],
    ['an encoded slash between id and MAC', (id, mac) => `/callbacks/${id}%2f${mac}`],
    ['an encoded slash after the MAC', (id, mac) => `/callbacks/${id}/${mac}%2f`],
    ['two slashes', (id, mac) => `/callbacks//${id}/${mac}`],
    ['two slashes before the MAC', (id, mac) => `/callbacks/${id}//${mac}`],
    ['a dot segment, encoded twice', (id, mac) => `/callbacks/${id}/%252e/${mac}`],
    ['a MAC with a suffix', (id, mac) => `/callbacks/${id}/${mac}.json`],
    ['a MAC with a matrix parameter', (id, mac) => `/callbacks/${id}/${mac};a=b`],
    ['a plus sign', (id, mac) => `/callbacks/${id}/+${mac}`],
    [
      'full-width digits',
      (id, mac) =>
        `/callbacks/${id}/${mac.replaceAll(/\d/gu, (digit) => String.fromCodePoint(0xff10 + Number(digit)))}`,
    ],
    ['a letter that looks alike', (id, mac) => `/callbacks/${id}/${mac.replace(/[ace]/u, 'а')}`],
    ['a zero-width space', (id, mac) => `/callbacks/${id}/${mac}\u200b`],
    ['invalid UTF-8', (id, mac) => `/callbacks/${id}/${mac}%ff%fe`],
    ['half a percent sign', (id, mac) => `/callbacks/${id}/${mac}%`],
    ['the MAC in the query', (id, mac) => `/callbacks/${id}/?mac=${mac}`],
    ['the MAC in the fragment', (id, mac) => `/callbacks/${id}/#${mac}`],
    ['the MAC behind a question mark', (id, mac) => `/callbacks/${id}?/${mac}`],
    ['another case of the door', (id, mac) => `/Callbacks/${id}/${mac}`],
    ['a prefix', (id, mac) => `/v1/../x/callbacks/${id}/${mac}`],
    ['zeros', (id) => `/callbacks/${id}/${'0'.repeat(64)}`],
    ['a megabyte', (id) => `/callbacks/${id}/${'a'.repeat(MIB)}`],
    ['__proto__', () => '/callbacks/__proto__/__proto__'],
    ['the MAC of another purpose', (id) => `/callbacks/${id}/${macFor(id, 'image')}`],
    [
      'the MAC of another version',
      (id) => `/callbacks/${id}/${macFor(id, 'callback', `afterimage/callback/v2\n${id}`)}`,
    ],
    ['the MAC of no purpose', (id) => `/callbacks/${id}/${macFor(id, '', id)}`],
    ['the id as its own MAC', (id) => `/callbacks/${id}/${sha256(new TextEncoder().encode(id))}`],
  ]

  it.each(paths)('because of %s is answered the one 404', async (_how, forge) => {
    const { here, id, mac } = await atTheDoor()

    const response = await here.call(forge(id, mac), { method: 'POST', body: '{}', token: null })

    expect([response.status, await response.text()]).toEqual([404, await notThere(here)])
    expect(await dump(here, 'callbacks')).toBe('[]')
  })

  it.each([
    ['is refused with encoded digits', percented, 404],
    [
      'is refused with an encoded letter in front',
      (mac: string) => `%${mac.charCodeAt(0).toString(16)}${mac.slice(1)}`,
      404,
    ],
    ['is taken with a query that a sender added', (mac: string) => `${mac}?attempt=2`, 200],
    ['is taken with a fragment, which no server sees', (mac: string) => `${mac}#done`, 200],
  ])('that only a URL parser makes ours %s', async (_how, spelled, expected) => {
    const { here, id, mac } = await atTheDoor()

    const { status } = await here.call(`/callbacks/${id}/${spelled(mac)}`, {
      method: 'POST',
      body: '{}',
      token: null,
    })

    expect(status).toBe(expected)
  })

  it.each(['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND', 'post'])(
    'by its method %s is as little',
    async (method) => {
      const { here, id, mac } = await atTheDoor()
      // Request itself makes POST of post.
      const expected = method === 'post' ? 200 : 404

      expect((await here.call(`/callbacks/${id}/${mac}`, { method, token: null })).status).toBe(
        expected,
      )
    },
  )

  it('is answered the one 404 whatever it is', async () => {
    const { here, id, mac } = await atTheDoor()
    const text = await notThere(here)
    const changed = fc
      .tuple(fc.nat(63), fc.constantFrom(...Array.from('0123456789abcdefABCDEF%/.;?#\u0000é')))
      .filter(([n, digit]) => mac[n] !== digit)
      .map(([n, digit]) => `/callbacks/${id}/${mac.slice(0, n)}${digit}${mac.slice(n + 1)}`)
    const cut = fc.nat(63).map((n) => `/callbacks/${id}/${mac.slice(0, n)}`)
    const longer = fc
      .string({ minLength: 1, unit: 'binary' })
      .map((more) => `/callbacks/${id}/${mac}${encode(more)}`)
    const guessed = fc.string({
      unit: fc.constantFrom(...Array.from('0123456789abcdef')),
      minLength: 64,
      maxLength: 64,
    })
    const anything = fc.webPath().map((path) => `/callbacks${path}`)
    const path = fc.oneof(
      changed,
      cut,
      longer,
      guessed.map((other) => `/callbacks/${id}/${other}`),
      anything,
    )

    await fc.assert(
      fc.asyncProperty(path, async (forged) => {
        const response = await here.call(forged, { method: 'POST', body: '{}', token: null })
        expect([response.status, await response.text()]).toEqual([404, text])
      }),
      { numRuns: RUNS },
    )
    expect(await dump(here, 'callbacks')).toBe('[]')
  })
})

/** Percent-encoded, lone surrogates too. */
const encode = (text: string) => Buffer.from(text, 'utf8').toString('hex').replaceAll(/../gu, '%$&')

const bytes = (text: string) => new TextEncoder().encode(text)
const success = (more: string) => bytes(`{"status":"success","id":7,${more}}`)
const LINKS = Array.from({ length: 10_000 }, (_, n) => `https://cdn.example.net/${n}.png`)

describe('A body of a right URL', () => {
  const bodies: [string, Uint8Array][] = [
    ['arrays nested 100,000 deep', bytes(`${'['.repeat(100_000)}${']'.repeat(100_000)}`)],
    ['objects nested 100,000 deep', bytes(`${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`)],
    [
      'an output nested 100,000 deep',
      success(`"output":${'['.repeat(100_000)}${']'.repeat(100_000)}`),
    ],
    [
      'a meta nested 100,000 deep',
      success(`"output":[],"meta":${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`),
    ],
    [
      'a meta nested 100 deep',
      success(`"output":[],"meta":${'{"a":'.repeat(100)}1${'}'.repeat(100)}`),
    ],
    ['unclosed arrays', bytes('['.repeat(MIB))],
    [
      'duplicate keys',
      bytes('{"status":"failed","status":"success","id":1,"id":2,"output":["x"],"output":[]}'),
    ],
    ['__proto__', success('"__proto__":{"polluted":true,"status":"failed"},"output":[]')],
    ['__proto__ in meta', success('"output":[],"meta":{"__proto__":{"polluted":true},"seed":1}')],
    [
      'a constructor',
      success(
        '"constructor":{"prototype":{"polluted":true}},"toString":1,"hasOwnProperty":null,"output":[]',
      ),
    ],
    ...[
      'status',
      'id',
      'output',
      'proxy_links',
      'meta',
      'nsfw_content_detected',
      'message',
      'tip',
      'eta',
      'track_id',
    ].map((field): [string, Uint8Array] => [
      `a ${field} that makes no text`,
      bytes(
        `{"status":"success","output":[],"${field}":{"toString":0,"valueOf":0,"toJSON":0,"length":-1,"0":[{"toString":0}]}}`,
      ),
    ]),
    [
      'an array that makes no text as verdict',
      success('"nsfw_content_detected":[{"toString":0},[{"toString":0}]]'),
    ],
    [
      '__proto__ as proxy_links',
      success('"output":[],"proxy_links":{"__proto__":{"0":"https://a.example/x.png"}}'),
    ],
    [
      'numbers that are infinite',
      success('"output":[],"eta":1e400,"generationTime":-1e400,"meta":{"seed":1e400}'),
    ],
    [
      'numbers of 10,000 digits',
      success(`"output":[],"seed":${'9'.repeat(10_000)},"eta":0.${'3'.repeat(10_000)}`),
    ],
    ['an id of 10,000 digits', bytes(`{"status":"processing","id":${'9'.repeat(10_000)}}`)],
    [
      'lone surrogates',
      success(
        '"output":[],"tip":"\\ud800","message":"\\udc00\\ud800","meta":{"\\udfff":"\\ud83d"}',
      ),
    ],
    [
      'NUL in its texts',
      success('"output":["https://a.example/\\u0000.png"],"tip":"a\\u0000b","track_id":null'),
    ],
    ['NUL bytes', bytes('\0\0\0{"status":"success"}\0')],
    ['a byte order mark', bytes('\uFEFF{"status":"processing","id":9}')],
    ['two byte order marks', bytes('\uFEFF\uFEFF{"status":"processing"}')],
    ['UTF-16', new Uint8Array(Buffer.from('\uFEFF{"status":"success"}', 'utf16le'))],
    [
      'invalid UTF-8',
      Uint8Array.of(0x7b, 0x22, 0xff, 0xfe, 0xc0, 0x80, 0xed, 0xa0, 0x80, 0x22, 0x3a, 0x31, 0x7d),
    ],
    [
      'invalid UTF-8 in a text',
      new Uint8Array(Buffer.from('{"status":"failed","message":"\xff\xc0\x80"}', 'latin1')),
    ],
    ['control characters', bytes(String.fromCodePoint(...Array.from({ length: 32 }, (_, n) => n)))],
    ['a megabyte of spaces', bytes(' '.repeat(MIB))],
    ['a text of a megabyte', success(`"output":[],"message":"${'m'.repeat(MIB - 200)}"`)],
    ['a key of a megabyte', success(`"output":[],"${'k'.repeat(MIB - 200)}":1`)],
    [
      '100,000 keys',
      success(
        `"output":[],"meta":{${Array.from({ length: 60_000 }, (_, n) => `"k${n}":1`).join(',')}}`,
      ),
    ],
    ['10,000 URLs', success(`"output":${JSON.stringify(LINKS)}`)],
    [
      '10,000 mirrors',
      success(`"output":[],"proxy_links":${JSON.stringify(Object.fromEntries(LINKS.entries()))}`),
    ],
    ['the same URL 10,000 times', success(`"output":${JSON.stringify(LINKS.map(() => LINKS[0]))}`)],
    ['nested arrays in output', success('"output":[["https://a.example/x.png"],[["y"]],[]]')],
    [
      'numbers and nulls in output',
      success('"output":[null,1,-0,1e400,true,{},{"url":null},{"url":[1]},""]'),
    ],
    ['an output that is a number', success('"output":42,"proxy_links":true')],
    [
      'an index that is huge',
      success('"output":{"99":"https://a.example/x.png","1e9":"y","-1":"z","4294967295":"w"}'),
    ],
    ['a status that is an object', bytes('{"status":{"status":"success"}}')],
    ['a track_id that is an array', success('"track_id":["x"],"output":[]')],
    [
      'URLs of other schemes',
      success(
        '"output":["javascript:alert(1)","file:///etc/passwd","data:text/html,x","//x","http://[::1"]',
      ),
    ],
    ['a URL of a megabyte', success(`"output":["https://a.example/${'u'.repeat(MIB - 200)}"]`)],
    ['markup', bytes('<script>alert(1)</script>')],
    ['JSON after JSON', bytes('{"status":"success"}{"status":"failed"}')],
    ['JSON5', bytes("{status:'success',/* no */}")],
    ['NaN', bytes('{"status":"processing","eta":NaN}')],
  ]

  it.each(bodies)(
    'with %s is answered 200, kept as it came, and breaks nothing',
    async (_what, body) => {
      const { here, id } = await atTheDoor()

      const response = await deliver(here, id, body)

      expect(response.status).toBe(200)
      const kept = await evidence(here, id)
      expect(kept.map(({ bodySha256 }) => bodySha256)).toEqual([sha256(body)])
      expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false)
      expect(Object.keys(Object.prototype)).toEqual([])
      await stillWorks(here, id)
    },
  )

  it('over a megabyte is answered 413, whatever it is', async () => {
    const { here, id } = await atTheDoor()

    const answers = await Promise.all(
      [
        bytes('['.repeat(MIB + 1)),
        success(`"output":${JSON.stringify([...LINKS, ...LINKS, ...LINKS, ...LINKS])}`),
      ].map((body) => deliver(here, id, body)),
    )

    expect(answers.map(({ status }) => status)).toEqual([413, 413])
    await stillWorks(here, id)
  })

  it('is answered 200 whatever JSON it is, and whatever bytes', async () => {
    const { here, id } = await atTheDoor()
    const fields = fc.record(
      Object.fromEntries(
        [
          'status',
          'id',
          'output',
          'proxy_links',
          'meta',
          'nsfw_content_detected',
          'message',
          'eta',
          'track_id',
        ].map((name) => [
          name,
          fc.oneof(fc.jsonValue(), fc.constantFrom('success', 'processing', 'failed', id)),
        ]),
      ),
      { requiredKeys: [] },
    )
    const body = fc.oneof(
      fields.map((json) => bytes(JSON.stringify(json))),
      fc.jsonValue().map((json) => bytes(JSON.stringify(json))),
      fc.uint8Array({ maxLength: 200 }),
    )

    await fc.assert(
      fc.asyncProperty(body, async (one) => {
        expect((await deliver(here, id, one)).status).toBe(200)
      }),
      { numRuns: RUNS },
    )
    await stillWorks(here, id)
  })

  it('is told as JSON and nothing else, whatever markup it brings', async () => {
    const { here, id } = await atTheDoor()
    const markup = '</script><script>alert(1)</script><img src=x onerror=alert(1)>'
    await deliver(
      here,
      id,
      bytes(
        JSON.stringify({
          status: 'failed',
          message: markup,
          tip: markup,
          meta: { [markup]: markup },
        }),
      ),
    )

    const doors = [`${DOOR}/${id}`, `${DOOR}/${id}/timeline`, DOOR]
    const answers = await Promise.all(
      doors.map((path) => here.call(path, { headers: { accept: 'text/html' } })),
    )

    expect((await shown(here, id)).failure?.message).toBe(markup)
    for (const { headers } of answers) {
      expect(headers.get('content-type')).toBe('application/json')
      expect(headers.get('x-content-type-options')).toBe('nosniff')
    }
  })
})

const deliver = ({ call, deps }: World, id: string, body: Uint8Array) =>
  call(new URL(deps.callbackUrl(id)).pathname, { method: 'POST', body, token: null })

/** What was made of a body can be shown, and the doors take what comes next. */
async function stillWorks(here: World, id: string) {
  const answers = await Promise.all([
    here.call(`${DOOR}/${id}`),
    here.call(`${DOOR}/${id}/timeline`),
    here.call(DOOR),
    here.call('/readyz'),
    here.call(DOOR, { method: 'POST', body: JSON.stringify(sampleBody) }),
  ])
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 202])
  await here.turn()
  expect(here.logged.filter(({ level }) => level === 'error')).toEqual([])
}
