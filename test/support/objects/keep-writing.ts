import { createHash, randomBytes } from 'node:crypto'
import { diskStore } from '../../../src/objects/disk.node.ts'

// Run by disk.test.ts, and killed: puts objects of that length, named by their hash, until then,
// and says each key once it is durable.
const [folder = '', length] = process.argv.slice(2)
const store = diskStore(folder)

async function keepWriting(ifAbsent: boolean) {
  for (;;) {
    const bytes = randomBytes(Number(length))
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    const key = `sha256/${sha256.slice(0, 2)}/${sha256}`
    await store.put(key, bytes, { sha256, contentType: 'image/png', ifAbsent })
    process.stdout.write(`${key}\n`)
  }
}

await Promise.all([keepWriting(true), keepWriting(false)])
