import { describe, expect, it } from 'vitest'
import { linkExpiresAt } from '../../src/model/link.ts'

const OFFERED_AT = Date.UTC(2026, 0, 31, 12)
const DAY_MS = 24 * 3600 * 1000
const hour = Date.UTC(2026, 0, 31, 13)

describe('linkExpiresAt', () => {
  it.each([
    ['Expires of CloudFront', `Expires=${hour / 1000}&Signature=a&Key-Pair-Id=b`],
    ['Expires of S3, version 2', `AWSAccessKeyId=a&Expires=${hour / 1000}&Signature=b`],
    ['the names in other case', `eXPIRES=${hour / 1000}`],
    [
      'X-Amz-Date and X-Amz-Expires',
      'X-Amz-Date=20260131T120000Z&X-Amz-Expires=3600&X-Amz-Signature=a',
    ],
    ['those in other case', 'x-amz-date=20260131T120000Z&x-amz-expires=3600'],
    [
      'the earlier of both',
      `Expires=${hour / 1000 + 60}&X-Amz-Date=20260131T120000Z&X-Amz-Expires=3600`,
    ],
    ['the believable of both', `Expires=5&X-Amz-Date=20260131T120000Z&X-Amz-Expires=3600`],
  ])('reads %s', (_, query) => {
    expect(linkExpiresAt(`https://cdn.test/1.png?${query}`, OFFERED_AT, DAY_MS)).toBe(hour)
  })

  it('believes a link that was dead when it was offered', () => {
    const url = 'https://cdn.test/?X-Amz-Date=20260130T120000Z&X-Amz-Expires=60'
    expect(linkExpiresAt(url, OFFERED_AT, DAY_MS)).toBe(Date.UTC(2026, 0, 30, 12, 1))
  })

  it.each([
    'https://cdn.test/1.png',
    'https://cdn.test/1.png#Expires=1769864400',
    'https://cdn.test/?Expires=',
    'https://cdn.test/?Expires=tomorrow',
    'https://cdn.test/?Expires=-1',
    'https://cdn.test/?Expires=1e9',
    'https://cdn.test/?Expires=0x7f000000',
    'https://cdn.test/?Expires=Infinity',
    'https://cdn.test/?Expires=3600',
    'https://cdn.test/?Expires=946684799',
    'https://cdn.test/?Expires=1769864400000',
    'https://cdn.test/?Expires=99999999999999999999',
    'https://cdn.test/?X-Amz-Date=20260131T120000Z',
    'https://cdn.test/?X-Amz-Expires=3600',
    'https://cdn.test/?X-Amz-Date=20261331T120000Z&X-Amz-Expires=3600',
    'https://cdn.test/?X-Amz-Date=yesterday&X-Amz-Expires=3600',
    'https://cdn.test/?X-Amz-Date=20260131T120000Z&X-Amz-Expires=999999999',
    'https://cdn.test/?%',
    'not a url?Expires=1769864400',
    '',
  ])('assumes the usual lifetime for %s', (url) => {
    expect(linkExpiresAt(url, OFFERED_AT, DAY_MS)).toBe(OFFERED_AT + DAY_MS)
  })
})
