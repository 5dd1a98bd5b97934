import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it, vi } from 'vitest'
import { diskStore } from '../../src/objects/disk.node.ts'
import { behavesAsObjectStore } from './object-store.ts'

const links = vi.hoisted(() => ({ refused: 0 }))
/** As FAT, exFAT and some file systems of clouds and user space are. */
vi.mock('node:fs/promises', async (original) => ({
  ...(await original<typeof import('node:fs/promises')>()),
  link: () => {
    links.refused++
    return Promise.reject(Object.assign(new Error('not permitted'), { code: 'EPERM' }))
  },
}))

describe('objects in a folder of a file system without hard links', () => {
  const folder = mkdtempSync(join(tmpdir(), 'afterimage-objects-'))
  afterAll(() => rmSync(folder, { recursive: true }))

  behavesAsObjectStore(() => diskStore(folder))

  it('were put without one', () => {
    expect(links.refused).toBeGreaterThan(0)
  })
})
