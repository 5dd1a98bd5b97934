import fc from 'fast-check'
import type { Message } from './model.ts'

/**
 * Pictures by name; a query makes the same picture another place: `soon` dies within the hour,
 * `dead` died long ago.
 */
const LINKS = ['a', 'b', 'c', 'a?soon', 'b?soon', 'a?dead', 'b?dead', 'm', 'n', 'm?dead'] as const
export type LinkName = (typeof LINKS)[number]

/** What a message says, its links by name. `n` makes bodies differ that say the same. */
export interface Told {
  says: Message['says']
  outputs: LinkName[]
  proxies: LinkName[] | null
  nsfw: boolean | null | undefined
  /** Links that are only promised. */
  future?: LinkName[]
  hasId: boolean
  n: number
}

const NOISES = ['unreadable', 'mismatched', 'too_large'] as const
export type Body = Told | { noise: (typeof NOISES)[number]; n: number }

/** Replies that say nothing, or that nothing was accepted. */
const SILENCES = ['lost', 'page', 'odd', 'cut'] as const
const REFUSALS = ['full', 'limited', 'not there', 'wall'] as const
export type Reply = Told | (typeof SILENCES)[number] | (typeof REFUSALS)[number] | 'hesitates'
export type Result = Told | 'page' | 'full'

const PAGES = ['whole', 'absent', 'short', 'html', 'refused', 'hangs'] as const
export type Page = (typeof PAGES)[number]

/**
 * Where a process may die: before a list of the ledger is written, or when it is and nobody was
 * told.
 */
const DEATHS = [
  'submit.write',
  'held.claim',
  'settle.writeDecision',
  'held.writeRefusal',
  'settle.writeRecovered',
  'settle.writeRepeat',
  'archive.claim',
  'archive.writeArchived',
  'archive.writeFailed',
  'reconcile.claim',
  'expire.writeExpired',
  'promise.writeTried',
  'retry.write',
  'record.writeRecorded',
] as const
export interface Death {
  at: (typeof DEATHS)[number]
  when: 'before' | 'after'
}

/** `of` counts generations from the latest. */
export type Step =
  | { do: 'submit'; replies: Reply[]; key: 'one' | 'two' | null; dies?: Death | undefined }
  | { do: 'answer'; reply: Reply }
  | { do: 'callback'; of: number; bodies: Body[]; beside: boolean; dies?: Death | undefined }
  | { do: 'stranger'; body: Body; dies?: Death | undefined }
  | { do: 'forged'; of: number }
  | { do: 'flood'; of: number }
  | { do: 'knows'; of: number; result: Result }
  | { do: 'page'; link: LinkName; page: Page }
  | { do: 'store'; works: boolean }
  | { do: 'pass'; seconds: number; turns: number; dies?: Death | undefined }
  | { do: 'restart' }
  | { do: 'retry'; of: number; dies?: Death | undefined }

const outputs: fc.Arbitrary<LinkName[]> = fc.oneof(
  { weight: 3, arbitrary: fc.constant<LinkName[]>(['a']) },
  fc.constantFrom<LinkName[]>(
    ['b'],
    ['a', 'b'],
    ['b', 'a'],
    ['a', 'a'],
    ['a', 'b', 'c'],
    ['a?soon'],
    ['a?dead'],
  ),
  fc.constantFrom<LinkName[]>(
    ['c'],
    ['a?dead', 'b?soon'],
    ['a?soon', 'b?dead'],
    [],
    ['a', 'a?soon'],
  ),
)
const proxies: fc.Arbitrary<LinkName[] | null> = fc.oneof(
  fc.constantFrom<LinkName[] | null>(null, [], ['m'], ['m', 'n']),
  fc.constantFrom<LinkName[]>(['a'], ['n'], ['m?dead'], ['a?dead'], ['b', 'm']),
)
const future = fc.constantFrom<LinkName[]>([], [], ['a'], ['b', 'a?soon'], ['a?dead'], ['a', 'a'])
const success = fc.record({
  says: fc.constant('success' as const),
  outputs,
  proxies,
  nsfw: fc.constantFrom(true, false, null, undefined),
  future,
  hasId: fc.boolean(),
  n: fc.nat(2),
})
const other = fc.record({
  says: fc.constantFrom('processing' as const, 'failed' as const),
  outputs: fc.constant<LinkName[]>([]),
  proxies: fc.constant(null),
  nsfw: fc.constantFrom(true, false, undefined, undefined),
  future,
  hasId: fc.boolean(),
  n: fc.nat(2),
})
const told: fc.Arbitrary<Told> = fc.oneof(
  { weight: 3, arbitrary: success },
  { weight: 2, arbitrary: other },
)
const body: fc.Arbitrary<Body> = fc.oneof(
  { weight: 9, arbitrary: told },
  fc.record({ noise: fc.constantFrom(...NOISES), n: fc.nat(1) }),
)
const reply: fc.Arbitrary<Reply> = fc.oneof(
  { weight: 3, arbitrary: told },
  fc.constantFrom(...SILENCES),
  fc.constantFrom(...REFUSALS),
  fc.constant('hesitates' as const),
)
const of = fc.nat(2)
/** Most steps are survived. */
const dies = fc.option(
  fc.record({
    at: fc.constantFrom(...DEATHS),
    when: fc.constantFrom('before' as const, 'after' as const),
  }),
  { freq: 6, nil: undefined },
)
const seconds = fc.constantFrom(0, 1, 12, 40, 700, 3700, 90_000, -5, -4000)

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('submit' as const),
      replies: fc.array(reply, { maxLength: 3 }),
      key: fc.constantFrom(null, null, 'one' as const, 'two' as const),
      dies,
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('answer' as const), reply }) },
  {
    weight: 9,
    arbitrary: fc.record({
      do: fc.constant('callback' as const),
      of,
      bodies: fc.array(body, { minLength: 1, maxLength: 3 }),
      beside: fc.boolean(),
      dies,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('stranger' as const), body, dies }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('forged' as const), of }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('flood' as const), of }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('knows' as const),
      of,
      result: fc.oneof(
        { weight: 5, arbitrary: told },
        fc.constantFrom('page' as const, 'full' as const),
      ),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('page' as const),
      link: fc.constantFrom(...LINKS),
      page: fc.constantFrom(...PAGES),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('store' as const), works: fc.boolean() }) },
  {
    weight: 9,
    arbitrary: fc.record({
      do: fc.constant('pass' as const),
      seconds,
      turns: fc.integer({ min: 1, max: 4 }),
      dies,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('retry' as const), of, dies }) },
)

/** A submission, and then anything. */
export const story: fc.Arbitrary<Step[]> = fc
  .tuple(
    fc.record({
      do: fc.constant('submit' as const),
      replies: fc.array(reply, { maxLength: 2 }),
      key: fc.constant(null),
    }),
    fc.array(step, { maxLength: 24, size: 'max' }),
  )
  .map(([first, rest]) => [first, ...rest])

/** What the provider may say in callbacks, and the same in another order. */
export const reordered = fc
  .uniqueArray(told, { minLength: 2, maxLength: 5, selector: (one) => JSON.stringify(one) })
  .chain((all) =>
    fc.tuple(
      fc.constant(all),
      fc.shuffledSubarray(all, { minLength: all.length, maxLength: all.length }),
    ),
  )
