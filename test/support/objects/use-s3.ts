import { s3Store } from '../../../src/objects/s3.node.ts'

// Run by s3.test.ts, which watches what it prints: two stores are made, and one is used.
const [endpoint = ''] = process.argv.slice(2)
const stores = [1, 2].map(() =>
  s3Store({ bucket: 'images', endpoint, region: 'us-east-1', forcePathStyle: true }),
)
const found = await stores[0]?.head('anything')
for (const store of stores) store.close()
process.stdout.write(
  JSON.stringify({
    found,
    switch: process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ?? null,
  }),
)
