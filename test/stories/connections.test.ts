import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'vitest'
import { it } from '../support/process/bench.ts'
import { submitted, timeline } from '../support/process/client.ts'
import { RawConnection } from '../support/process/raw.ts'

/** Longer than Node itself keeps a connection on which nothing is said. */
const IDLE_MS = 6300

it.concurrent(
  'takes callbacks of a proxy that keeps its connection, names no host and speaks HTTP/1.0 too',
  async ({ stage }) => {
    const { provider, program } = await stage.service((job, answer, provider) =>
      answer.json(provider.processing(job)),
    )
    const { id } = await submitted(program)
    const { pathname } = new URL(provider.submissions[0]?.webhook ?? '')
    const used = new RawConnection(program.url)
    const fresh = new RawConnection(program.url)
    const post = (version: string, n: number, ...headers: string[]) =>
      [`POST ${pathname} HTTP/${version}`, 'Content-Length: 7', ...headers, '', `{"n":${n}}`].join(
        '\r\n',
      )

    used.say(post('1.1', 1))
    await delay(IDLE_MS)
    used.say(post('1.1', 2, 'Connection: close'))
    fresh.say(post('1.0', 3))

    expect([await used.statuses(), await fresh.statuses()]).toEqual([[200, 200], [200]])
    expect(await timeline(program, id, 'callback')).toHaveLength(3)
  },
  60_000,
)
