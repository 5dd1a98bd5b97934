import { describe, expect, it } from 'vitest'
import { rateLimit } from '../../../src/http/plumbing/rate-limit.ts'

/** Five at once, one more every two seconds, at most three keys. */
function limited() {
  const clock = { now: 1_000_000 }
  const take = rateLimit({ burst: 5, perSecond: 0.5 }, () => clock.now, 3)
  return {
    clock,
    take,
    spend: (key: string, times: number) => Array.from({ length: times }, () => take(key)),
  }
}

describe('A rate limit', () => {
  it('lets a burst pass, then says when the next one will', () => {
    const { take, spend, clock } = limited()

    expect(spend('a', 5)).toEqual([0, 0, 0, 0, 0])
    expect(take('a')).toBe(2)
    clock.now += 1500
    expect(take('a')).toBe(1)
    clock.now += 500
    expect(spend('a', 2)).toEqual([0, 2])
  })

  it('lets as many pass as were said, and refills no further than the burst', () => {
    const { take, spend, clock } = limited()
    spend('a', 50)

    clock.now += 4000
    expect(spend('a', 3)).toEqual([0, 0, 2])
    clock.now += 3_600_000
    expect(spend('a', 6)).toEqual([0, 0, 0, 0, 0, 2])
    expect(take('a')).toBe(2)
  })

  it('counts each key by itself', () => {
    const { take, spend } = limited()
    spend('a', 6)

    expect(take('b')).toBe(0)
    expect(take('a')).toBe(2)
  })

  it('neither fills nor blocks a bucket when the clock is set back', () => {
    const { take, spend, clock } = limited()
    spend('a', 5)

    clock.now -= 3_600_000
    expect(take('a')).toBe(2)
    clock.now += 2000
    expect(spend('a', 2)).toEqual([0, 2])
  })

  it('forgets the key that was used longest ago once its bucket is full again', () => {
    const { take, spend, clock } = limited()
    spend('a', 5)
    clock.now += 10_000
    for (const key of ['b', 'c', 'd']) spend(key, 5)

    expect(['b', 'c', 'd'].map(take)).toEqual([2, 2, 2])
    expect(spend('a', 2)).toEqual([0, 0])
  })

  it('gives nobody a fresh bucket for crowding others out: whoever comes when it is full shares one', () => {
    const { take, spend } = limited()
    for (const key of ['a', 'b', 'c']) spend(key, 5)

    const crowd = Array.from({ length: 1000 }, (_, n) => take(`crowd-${n}`))

    expect(crowd.filter((wait) => wait === 0)).toHaveLength(5)
    expect(['a', 'b', 'c'].map(take)).toEqual([2, 2, 2])
  })
})
