import type { Step, Told } from './steps.ts'
import { PROCESSING } from './wire.ts'

const success = (more: Partial<Told>): Told => ({
  says: 'success',
  outputs: ['a'],
  proxies: [],
  nsfw: false,
  hasId: true,
  n: 0,
  ...more,
})
const submission: Step = { do: 'submit', replies: [], key: null }
const callback = (...bodies: Told[]): Step => ({ do: 'callback', of: 0, bodies, beside: false })
const knows = (result: Told): Step => ({ do: 'knows', of: 0, result })
const pass = (seconds: number, turns = 2): Step => ({ do: 'pass', seconds, turns })

/** Stories that were told wrongly once, or that chance seldom finds. */
export const seeds: Record<string, Step[]> = {
  'what contradicts brings no mirror of what it does not contradict': [
    submission,
    callback(success({}), success({ outputs: ['a', 'b'], proxies: ['m', 'n'] })),
  ],
  'nor one more link to it': [
    submission,
    callback(success({}), success({ outputs: ['a?soon', 'b'] })),
  ],
  'what was suspected of a known output leaves no gap among the new ones': [
    submission,
    callback(success({}), success({ outputs: ['a?dead', 'b'] })),
    knows(success({ outputs: ['a', 'b'] })),
    pass(1, 3),
  ],
  'a callback that says too little asks, also when everything is safe already': [
    { ...submission, replies: [success({ nsfw: undefined })] },
    pass(1),
    callback(success({ nsfw: undefined, n: 1 })),
    knows(success({ nsfw: true })),
    pass(60, 3),
  ],
  'a copy that another image had is told as archived': [
    submission,
    callback(success({ proxies: ['m'] })),
    pass(1),
    callback(
      success({ outputs: ['a', 'a'], proxies: ['m'], n: 1 }),
      success({ proxies: ['b', 'm'], n: 2 }),
    ),
  ],
  'a pending mirror that turns out to be the archived output is not copied again': [
    submission,
    { do: 'page', link: 'm', page: 'absent' },
    callback(success({ proxies: ['m'] })),
    pass(1),
    callback(success({ proxies: ['a'] })),
    pass(1),
  ],
  'a copy that comes too late for its own picture serves those that waited for it': [
    submission,
    callback(
      success({ proxies: ['b', 'm'], nsfw: true, hasId: false }),
      success({ proxies: ['m'] }),
    ),
    {
      do: 'callback',
      of: 0,
      bodies: [success({ outputs: ['a', 'a'], proxies: ['a'], nsfw: null })],
      beside: true,
    },
  ],
  'mirrors of two equal outputs keep their places': [
    submission,
    callback(success({ outputs: ['a', 'a'], proxies: ['m', 'n'] })),
    callback(success({ outputs: ['a', 'a'], proxies: ['m?dead', 'b'], n: 1 })),
  ],
  'a retry of a result that never came asks, and submits nothing': [
    submission,
    pass(90_000),
    { do: 'retry', of: 0 },
    pass(1, 3),
  ],
  'a clock set back far opens the gate': [
    submission,
    { ...submission, replies: ['hesitates'] },
    { do: 'answer', reply: 'full' },
    pass(-4000),
  ],
  'a retry of lost images copies them again': [
    submission,
    { do: 'page', link: 'a', page: 'absent' },
    callback(success({})),
    knows(success({})),
    pass(1),
    pass(90_000, 4),
    { do: 'page', link: 'a', page: 'whole' },
    { do: 'retry', of: 0 },
    pass(1),
  ],
  'a retry of lost images asks for fresh links where the old ones are dead': [
    submission,
    { do: 'page', link: 'a?dead', page: 'absent' },
    callback(success({ outputs: ['a?dead'] })),
    knows(success({ outputs: ['a?dead'] })),
    pass(1, 4),
    { do: 'page', link: 'a?dead', page: 'whole' },
    { do: 'retry', of: 0 },
    pass(1, 1),
    { do: 'retry', of: 0 },
    knows(success({})),
    pass(1),
  ],
  'links that were only promised are tried at the deadline': [
    submission,
    callback({ ...PROCESSING, future: ['a', 'b'] }),
    { do: 'page', link: 'a', page: 'absent' },
    pass(90_000, 3),
    pass(3700, 4),
  ],
  'what was promised and dead gives way to a success that names it': [
    submission,
    { do: 'page', link: 'a?dead', page: 'absent' },
    callback(success({ outputs: [], future: ['a?dead'] })),
    pass(1, 2),
    { do: 'page', link: 'a?dead', page: 'whole' },
    callback(success({ outputs: ['a?dead'] })),
    pass(1, 2),
  ],
  'what was promised and retried in vain ends at the deadline': [
    submission,
    callback(success({ outputs: [], future: ['a?dead'] })),
    { do: 'page', link: 'a?dead', page: 'absent' },
    pass(1, 2),
    { do: 'retry', of: 0 },
    pass(1, 2),
    pass(90_000, 3),
  ],
  'a request that a wall refuses three times stands behind the next': [
    { do: 'submit', replies: ['wall', 'wall', 'wall', 'wall'], key: null },
    { do: 'submit', replies: [], key: null },
    pass(12),
    pass(40),
    pass(40),
    pass(40),
    pass(40),
  ],
}
