import { defineConfig } from 'vitest/config'

/** The stories of the verbs and doors, which run over both drivers of the ledger, but for those that look thousands of times. */
const OVER_D1 = [
  'test/work/{submit,receive,settle,record,retry,reconcile,held-queue,promise,clock}.test.ts',
  'test/work/archive{,-leases}.test.ts',
  'test/http/v1/{generations,idempotency,list}.test.ts',
  'test/conformance/ledger.test.ts',
]

export default defineConfig({
  test: {
    // What may not take long is measured by its test: these only end what hangs.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Half of the time is spent waiting for processes, and vitest itself would run one file at a time on two cores.
    maxWorkers: 2,
    projects: [
      { extends: true, test: { name: 'node', include: ['test/**/*.test.ts'] } },
      {
        extends: true,
        test: { name: 'd1', include: OVER_D1, globalSetup: 'test/support/d1-setup.ts' },
      },
    ],
  },
})
