import type { ServerResponse } from 'node:http'
import { describe, expect, it, vi } from 'vitest'
import { storeOver } from '../../support/objects/scripted-s3.ts'
import { png, world } from '../../support/world.ts'
import { DOOR, succeeded } from '../../support/doors.ts'

const OUTPUT = 'https://cdn.example.net/a.png'

/** An archived picture that is read from a server which answers whatever is asked like this. */
async function readingFrom(answer: (picture: Uint8Array, response: ServerResponse) => void) {
  const here = world()
  const picture = await png('red')
  const id = await succeeded(here, { output: [OUTPUT] }, { [OUTPUT]: picture })
  const { store } = await storeOver((_, response) => answer(picture, response))
  vi.spyOn(here.store, 'get').mockImplementation((...asked) => store.get(...asked))
  return { here, url: `${DOOR}/${id}/images/0`, picture }
}

const bytesOf = async (response: Response) => new Uint8Array(await response.arrayBuffer())

describe('an image in a store whose answers are legal and unexpected', () => {
  it.each<[string, (bytes: Uint8Array, response: ServerResponse) => void]>([
    [
      'the whole with its length',
      (bytes, response) =>
        response.writeHead(200, { 'content-length': bytes.byteLength }).end(bytes),
    ],
    ['the whole without a length', (bytes, response) => response.writeHead(200).end(bytes)],
    [
      'a part of nobody knows what',
      (bytes, response) =>
        response
          .writeHead(206, { 'content-range': `bytes 0-${bytes.byteLength - 1}/*` })
          .end(bytes),
    ],
  ])('is served whole and in parts where each is %s', async (_how, answer) => {
    const { here, url, picture } = await readingFrom(answer)

    const whole = await here.call(url)
    const part = await here.call(url, { headers: { range: 'bytes=3-12' } })

    expect([whole.status, part.status]).toEqual([200, 206])
    expect(whole.headers.get('content-length')).toBe(String(picture.byteLength))
    expect(part.headers.get('content-range')).toBe(`bytes 3-12/${picture.byteLength}`)
    expect(await bytesOf(whole)).toEqual(picture)
    expect(await bytesOf(part)).toEqual(picture.slice(3, 13))
    expect(await (await here.call('/readyz')).json()).toMatchObject({ objects: 'ok' })
    expect(here.logged.filter(({ level }) => level === 'warn' || level === 'error')).toEqual([])
  })

  it('is the image and no more, however much comes', async () => {
    const { here, url, picture } = await readingFrom((bytes, response) => {
      response.writeHead(200)
      response.write(bytes)
      response.end('and what nobody asked for')
    })

    expect(await bytesOf(await here.call(url))).toEqual(picture)
  })
})
