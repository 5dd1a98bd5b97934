import { afterAll, beforeAll, describe } from 'vitest'
import { startR2 } from '../support/r2.ts'
import { behavesAsObjectStore } from './object-store.ts'

describe('objects in R2', () => {
  let r2: Awaited<ReturnType<typeof startR2>>
  beforeAll(async () => {
    r2 = await startR2()
  })
  afterAll(() => r2.stop())

  behavesAsObjectStore(() => r2.store)
})
