import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { beforeEach, expect, it, onTestFinished, vi } from 'vitest'
import { makeFolder, nameFile, syncFolder } from '../../../src/runtime/node/folder.node.ts'

/** What was synced, by inode, and with what the next calls fail. */
const watched = vi.hoisted(() => ({ synced: [] as number[], open: '', link: '', fsync: '' }))
vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>()
  const failed = (code: string) => Object.assign(new Error(code), { code })
  return {
    ...real,
    openSync: (path: string, flags: string) => {
      if (watched.open !== '') throw failed(watched.open)
      return real.openSync(path, flags)
    },
    linkSync: (from: string, to: string) => {
      if (watched.link !== '') throw failed(watched.link)
      real.linkSync(from, to)
    },
    fsyncSync: (handle: number) => {
      if (watched.fsync !== '') throw failed(watched.fsync)
      real.fsyncSync(handle)
      watched.synced.push(real.fstatSync(handle).ino)
    },
  }
})
beforeEach(() => {
  Object.assign(watched, { synced: [], open: '', link: '', fsync: '' })
})

function somewhere() {
  const parent = mkdtempSync(join(tmpdir(), 'afterimage-folder-'))
  onTestFinished(() => rmSync(parent, { recursive: true, force: true }))
  return parent
}

const inode = (path: string) => statSync(path).ino

it('syncs each folder that it makes, and the one above it', () => {
  const parent = somewhere()
  const made = ['a', 'a/b', 'a/b/c'].map((name) => join(parent, name))
  makeFolder(made.at(-1) ?? '')
  expect(watched.synced).toEqual(made.flatMap((path) => [inode(path), inode(dirname(path))]))
})

it('has nothing to do where the folder is there', () => {
  makeFolder(somewhere())
  expect(watched.synced).toEqual([])
})

it.each(['/proc/afterimage/data', '/proc/1/no/such/place'])(
  'ends where nobody can make a folder: %s',
  (path) => {
    expect(() => makeFolder(path)).toThrow('ENOENT')
  },
)

it('fails below what is no folder', () => {
  const file = join(somewhere(), 'a-file')
  writeFileSync(file, '')
  expect(() => makeFolder(join(file, 'below'))).toThrow('ENOTDIR')
})

it.each(['EINVAL', 'ENOTSUP', 'EPERM', 'EISDIR'])(
  'goes on where no folder can be synced at all (%s)',
  (code) => {
    watched.fsync = code
    const path = join(somewhere(), 'a', 'b')
    makeFolder(path)
    expect(existsSync(path)).toBe(true)
  },
)

it.each(['EIO', 'ENOSPC', 'EDQUOT'])('fails where a sync does (%s)', (code) => {
  watched.fsync = code
  expect(() => syncFolder(somewhere())).toThrow(code)
})

it('goes on where the folder above may not be read', () => {
  const path = join(somewhere(), 'a')
  watched.open = 'EACCES'
  makeFolder(path)
  expect(existsSync(path)).toBe(true)
})

it.each(['', 'EPERM', 'ENOTSUP', 'EMLINK'])(
  'gives a finished file its name, also where links are refused (%s)',
  (code) => {
    watched.link = code
    const parent = somewhere()
    writeFileSync(join(parent, 'draft'), 'whole')
    nameFile(join(parent, 'draft'), join(parent, 'name'))
    expect(readdirSync(parent)).toEqual(['name'])
    expect(watched.synced).toEqual([inode(parent)])
  },
)

it.each(['', 'EPERM'])('takes no name that something has (%s)', (code) => {
  watched.link = code
  const parent = somewhere()
  for (const name of ['draft', 'name']) writeFileSync(join(parent, name), name)
  expect(() => nameFile(join(parent, 'draft'), join(parent, 'name'))).toThrow(/^EEXIST/u)
  expect(readFileSync(join(parent, 'name'), 'utf8')).toBe('name')
  expect(existsSync(join(parent, 'draft'))).toBe(true)
})
