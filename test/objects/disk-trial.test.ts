import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, expect, it, onTestFinished, vi } from 'vitest'
import { diskStore } from '../../src/objects/disk.node.ts'
import { tryDisk } from '../../src/objects/disk-trial.node.ts'

type Call = 'openSync' | 'fsyncSync' | 'renameSync'

/** Which call fails, and with what. */
const failing = vi.hoisted(() => ({ call: '', code: '' }))
vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>()
  const fails =
    <Args extends unknown[], Result>(name: Call, call: (...args: Args) => Result) =>
    (...args: Args) => {
      if (failing.call === name) throw Object.assign(new Error(failing.code), failing)
      return call(...args)
    }
  return {
    ...real,
    openSync: fails('openSync', real.openSync),
    fsyncSync: fails('fsyncSync', real.fsyncSync),
    renameSync: fails('renameSync', real.renameSync),
  }
})
beforeEach(() => {
  Object.assign(failing, { call: '', code: '' })
})

/** A folder of objects that was made when its file system was still in order. */
function objectsDir() {
  const folder = mkdtempSync(join(tmpdir(), 'afterimage-disk-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  diskStore(folder)
  return { folder, leftovers: () => readdirSync(folder, { recursive: true }) }
}

it.each<[Call, string]>([
  ['openSync', 'EROFS'],
  ['openSync', 'EACCES'],
  ['fsyncSync', 'ENOSYS'],
  ['fsyncSync', 'EINVAL'],
  ['renameSync', 'EPERM'],
])('refuses a folder in which %s fails with %s, and leaves nothing in it', (call, code) => {
  const { folder, leftovers } = objectsDir()
  Object.assign(failing, { call, code })
  expect(() => tryDisk(folder)).toThrow(code)
  expect(leftovers()).toEqual(['.tmp'])
})

it.each(['ENOSPC', 'EDQUOT', 'EIO'])('lets a start pass that may get better: %s', (code) => {
  const { folder, leftovers } = objectsDir()
  Object.assign(failing, { call: 'fsyncSync', code })
  tryDisk(folder)
  expect(leftovers()).toEqual(['.tmp'])
})

it('leaves nothing where all is well', () => {
  const { folder, leftovers } = objectsDir()
  tryDisk(folder)
  expect(leftovers()).toEqual(['.tmp'])
})
