import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe } from 'vitest'
import { diskStore } from '../../src/objects/disk.node.ts'
import { behavesAsObjectStore } from './object-store.ts'

describe('objects in a folder', () => {
  const folder = mkdtempSync(join(tmpdir(), 'afterimage-objects-'))
  afterAll(() => rmSync(folder, { recursive: true }))

  behavesAsObjectStore(() => diskStore(folder))
})
