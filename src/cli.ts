#!/usr/bin/env node
/** The same as `engines` in package.json: the releases that are kept up for years. */
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
const isSupported = (major === 22 && minor >= 19) || major === 24 || major >= 26
if (isSupported) {
  // Not before: on an older Node what it imports may not even parse, or crash as SQLite's driver.
  await import('./commands/main.ts')
} else {
  process.stderr.write(
    'afterimage needs Node 22 from 22.19 on, Node 24, or Node 26 and later, ' +
      `and this is ${process.version}.\n`,
  )
  process.exitCode = 2
}
