import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import type { ObjectFacts } from '../../src/deps.ts'
import { offered } from '../support/archiving.ts'
import { LINK, png, sha256, shown, world } from '../support/world.ts'

const keyOf = (bytes: Uint8Array) =>
  `sha256/${sha256(bytes).replace(/^(..)(..)/u, '$1/$2/$1$2')}.png`

const PUT_ANEW = 'an object was there and not what its name says: it was put anew'

/** A picture that is about to be archived, and the file that it belongs in. */
async function beforeArchiving() {
  const here = world()
  const red = await png('red')
  here.cdn.pages.set(LINK, red)
  const id = await offered(here, { output: [LINK] })
  const file = join(here.config.objectsDir, keyOf(red))
  mkdirSync(dirname(file), { recursive: true })
  const saidSo = () => here.logged.filter(({ message }) => message === PUT_ANEW)
  return { here, red, id, file, saidSo }
}

describe('an object that is there already', () => {
  it.each<[string, (red: Uint8Array) => Uint8Array]>([
    ['was cut short', (red) => red.slice(0, 10)],
    ['is empty', () => new Uint8Array()],
    ['grew', (red) => Buffer.concat([red, red])],
    ['has other bytes, as many', (red) => red.with(20, (red[20] ?? 0) ^ 1)],
  ])('is put anew, and said, where it %s', async (_how, alter) => {
    const { here, red, id, file, saidSo } = await beforeArchiving()
    writeFileSync(file, alter(red))

    await archiveDue(here.deps, 1)

    expect(Buffer.compare(readFileSync(file), red)).toBe(0)
    expect((await shown(here, id)).archive_status).toBe('archived')
    expect(saidSo()).toMatchObject([{ level: 'warn', fields: { key: keyOf(red) } }])
  })

  it('is left alone, and nothing said, where it is what its name says', async () => {
    const { here, red, id, file, saidSo } = await beforeArchiving()
    writeFileSync(file, red)
    const put = vi.spyOn(here.store, 'put')

    await archiveDue(here.deps, 1)

    expect((await shown(here, id)).archive_status).toBe('archived')
    expect(put).toHaveBeenCalledOnce()
    expect(saidSo()).toEqual([])
  })

  it.each<[string, (red: Uint8Array) => ObjectFacts, number, number]>([
    ['its size alone', ({ byteLength }) => ({ bytes: byteLength }), 1, 0],
    ['its size and hash', (red) => ({ bytes: red.byteLength, sha256: sha256(red) }), 1, 0],
    ['another size', () => ({ bytes: 1 }), 2, 1],
    ['another hash', ({ byteLength }) => ({ bytes: byteLength, sha256: '0'.repeat(64) }), 2, 1],
    ['no size', () => ({ bytes: null }), 2, 0],
  ])('is judged by what the store tells: %s', async (_what, facts, puts, lines) => {
    const { here, red, id, saidSo } = await beforeArchiving()
    const put = vi
      .spyOn(here.store, 'put')
      .mockImplementation((_key, _bytes, { ifAbsent }) =>
        Promise.resolve(ifAbsent ? facts(red) : null),
      )

    await archiveDue(here.deps, 1)

    expect(put).toHaveBeenCalledTimes(puts)
    expect(saidSo()).toHaveLength(lines)
    expect((await shown(here, id)).archive_status).toBe('archived')
  })

  it('is a failure of the store where it cannot be put anew', async () => {
    const { here, id, file } = await beforeArchiving()
    mkdirSync(file)

    await archiveDue(here.deps, 1)

    expect((await shown(here, id)).images).toMatchObject([
      { status: 'pending', failure: { code: 'store_failed' } },
    ])
  })
})
