import { describe, expect, it } from 'vitest'
import { linkExpiresAt } from '../../src/model/link.ts'

const OFFERED_AT = Date.UTC(2026, 0, 31, 12)
const DAY_MS = 24 * 3600 * 1000
const hour = Date.UTC(2026, 0, 31, 13)
const SIGNED = '&X-Goog-Signature=a'

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
    ['X-Goog-Date and X-Goog-Expires', `X-Goog-Date=20260131T120000Z&X-Goog-Expires=3600${SIGNED}`],
    ["Google's version 2", `GoogleAccessId=a&Expires=${hour / 1000}&Signature=b`],
    ['Azure, to the second', 'sv=2026-01-01&se=2026-01-31T13%3A00%3A00Z&sr=b&sig=a%3D'],
    ['Azure, to the minute', 'se=2026-01-31T13:00Z&sig=a'],
    ['Azure, to a fraction', 'se=2026-01-31T13:00:00.0000000Z&sig=a'],
    ['Discord', `ex=${(hour / 1000).toString(16)}&is=697de0b0&hm=a`],
    ['Discord in capitals', `EX=${(hour / 1000).toString(16).toUpperCase()}&IS=1&HM=a`],
    ['OSS, version 1', `Expires=${hour / 1000}&OSSAccessKeyId=a&Signature=b`],
    ['OSS, version 4', `x-oss-date=20260131T120000Z&x-oss-expires=3600&x-oss-signature=a`],
    ['OBS', 'X-Obs-Date=20260131T120000Z&X-Obs-Expires=3600&X-Obs-Signature=a'],
    ['TOS', 'X-Tos-Date=20260131T120000Z&X-Tos-Expires=3600&X-Tos-Signature=a'],
    ['COS', `q-sign-algorithm=sha1&q-sign-time=1769857200;${hour / 1000}&q-signature=a`],
    [
      'COS, escaped, the earlier of both periods',
      `q-sign-time=1%3B${hour / 1000 + 9}&q-key-time=1%3B${hour / 1000}`,
    ],
    ['Akamai', `hdnts=exp=${hour / 1000}~acl=/*~hmac=a`],
    ['Akamai with a beginning', `__token__=st=1769857200~exp=${hour / 1000}~acl=/*~hmac=a`],
    ['Akamai, escaped', `hdnea=${encodeURIComponent(`exp=${hour / 1000}~hmac=a`)}`],
    ['the earliest of different signers', `Expires=${hour / 1000 + 5}&hdnts=exp=${hour / 1000}`],
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
    'https://cdn.test/?X-Goog-Date=20260131T120000Z&X-Amz-Expires=3600',
    'https://cdn.test/?se=2026-01-31T13:00:00Z',
    'https://cdn.test/?se=1769864400&sig=a',
    'https://cdn.test/?se=2026-13-31T13:00:00Z&sig=a',
    'https://cdn.test/?se=soon&sig=a',
    'https://cdn.test/?ex=697df350',
    'https://cdn.test/?ex=tomorrow&hm=a',
    'https://cdn.test/?ex=ffffffffffff&hm=a',
    'https://cdn.test/?q-sign-time=1769864400',
    'https://cdn.test/?q-sign-time=1769864400;',
    'https://cdn.test/?hdnts=exp=~hmac=a',
    'https://cdn.test/?hdnts=1exp=1769864400~hmac=a',
    'https://cdn.test/?exp=1769864400',
    'https://cdn.test/?%',
    'not a url?Expires=1769864400',
    '',
  ])('assumes the usual lifetime for %s', (url) => {
    expect(linkExpiresAt(url, OFFERED_AT, DAY_MS)).toBe(OFFERED_AT + DAY_MS)
  })
})
