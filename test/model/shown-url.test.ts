import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  isRedacted,
  redactUrl,
  redactUrlsInText,
  withoutSecrets,
} from '../../src/model/shown-url.ts'
import { cpuClock } from '../support/cpu.ts'

describe('redactUrl', () => {
  it.each([
    ['https://cdn.test/1.png', 'https://cdn.test/1.png'],
    [
      'https://cdn.test/1.png?Expires=1&Signature=abc&Key-Pair-Id=K',
      'https://cdn.test/1.png?Expires=***&Signature=***&Key-Pair-Id=***',
    ],
    [
      'https://s3.test/a?X-Amz-Credential=AKIA%2F1&X-Amz-Date=2',
      'https://s3.test/a?X-Amz-Credential=***&X-Amz-Date=***',
    ],
    [
      'https://s3.test/a?x-amz-signature=1&X-AMZ-SECURITY-TOKEN=2',
      'https://s3.test/a?x-amz-signature=***&X-AMZ-SECURITY-TOKEN=***',
    ],
    ['https://a.test/?sv=1&sig=a%3D%3D&se=2#sig', 'https://a.test/?sv=***&sig=***&se=***#sig'],
    ['https://a.test/?token=a&token=b=c', 'https://a.test/?token=***&token=***'],
    [
      'https://g.test/?X-Goog-Signature=5f&alt=media',
      'https://g.test/?X-Goog-Signature=***&alt=***',
    ],
    ['https://d.test/?ex=6&is=5&hm=4&', 'https://d.test/?ex=***&is=***&hm=***&'],
    [
      'https://o.test/?OSSAccessKeyId=a&x-oss-x=b',
      'https://o.test/?OSSAccessKeyId=***&x-oss-x=***',
    ],
    ['https://c.test/?q-sign-time=1;2&q-key=', 'https://c.test/?q-sign-time=***&q-key=***'],
    ['https://k.test/?hdnts=exp=1~acl=/*~hmac=a', 'https://k.test/?hdnts=***'],
    ['https://u.test/?never-heard-of=hunter2&v', 'https://u.test/?never-heard-of=***&v'],
    ['https://u.test/?u=https://b.test/?sig=1', 'https://u.test/?u=***'],
    [`https://u.test/?${'a1'.repeat(20)}&b`, 'https://u.test/?***&b'],
    ['https://u.test/?a=b?c&d?e=f?g=h', 'https://u.test/?a=***&d?e=***'],
    [`https://u.test/?b&${'a1'.repeat(20)}`, 'https://u.test/?b&***'],
    ['https://u.test/?=a&=', 'https://u.test/?=***&=***'],
    ['https://u.test/?a=1;b=2', 'https://u.test/?a=***'],
    ['https://a.test/?%74oken=a&to%6Ben=b', 'https://a.test/?%74oken=***&to%6Ben=***'],
    ['https://a.test/?to\nken=a', 'https://a.test/?to\nken=***'],
    ['https://a.test/?a?token=b', 'https://a.test/?a?token=***'],
    ['https://user:hunter2@a.test/?x=a@b', 'https://a.test/?x=***'],
    ['https://user:p@ss@a.test/b@c', 'https://a.test/b@c'],
    ['https:\\\\user:hunter2@a.test\\b', 'https:\\\\a.test\\b'],
    ['https:user:hunter2@a.test/', 'https:a.test/'],
    ['//user:hunter2@a.test/b', '//a.test/b'],
    [' ht\ttps://user:hunter2@a.test/b', ' ht\ttps://a.test/b'],
    ['http://[not a url?token=hunter2&b=%zz', 'http://[not a url?token=***&b=***'],
    ['user:hunter2@http://', 'user:http://'],
  ])('%s', (url, redacted) => {
    expect(redactUrl(url)).toBe(redacted)
  })

  it.each([
    'https://cdn.test/a%20b/é?token&X%20#token=4',
    'HTTPS://CDN.test:443/../a//b?',
    '/relative/path@x?y',
    'https://cdn.test/path@x',
    '',
  ])('leaves %s byte for byte as it was', (url) => {
    expect(redactUrl(url)).toBe(url)
  })

  it('changes nothing that it redacted already', () => {
    fc.assert(
      fc.property(
        fc.webUrl({ withQueryParameters: true }),
        (url) => redactUrl(redactUrl(url)) === redactUrl(url),
      ),
    )
  })

  it('shows no value of any query, and every name', () => {
    const word = fc.stringMatching(/^[a-z0-9%._~+/:;,@!-]{1,20}$/u)
    fc.assert(
      fc.property(fc.array(fc.tuple(word, word), { minLength: 1 }), (pairs) => {
        const secret = (value: string) => `hunter2${value}`
        const query = (of: (value: string) => string) =>
          pairs.map(([name, value]) => `${name}=${of(value)}`).join('&')
        const shown = redactUrl(`https://cdn.test/1.png?${query(secret)}`)
        return shown === `https://cdn.test/1.png?${query(() => '***')}`
      }),
    )
  })

  it('hides the user and the token of any URL', () => {
    const secret = fc.stringMatching(/^[a-z0-9]{12}$/).map((text) => `hunter2${text}`)
    fc.assert(
      fc.property(secret, fc.webUrl({ withQueryParameters: true }), (hidden, url) => {
        const { host, pathname, search } = new URL(url)
        const signed = `https://${hidden}:${hidden}@${host}${pathname}${search || '?'}&Token=${hidden}`
        return !redactUrl(signed).includes(hidden)
      }),
    )
  })

  it('never throws, and is not slow on a megabyte', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => typeof redactUrl(text) === 'string'),
    )
    const tookMs = cpuClock()
    for (const unit of [':', '/', '@', '?', '&', 'a', 'a:', '&token=', '%'])
      redactUrl(unit.repeat(1_000_000))
    expect(tookMs()).toBeLessThan(10_000)
  })
})

describe('isRedacted', () => {
  it.each([
    'https://a.test/?token=***',
    'https://a.test/?Expires=1&Signature=***',
    'https://a.test/?Signature=***&Expires=1#a',
    'https://a.test/?=***',
    'https://a.test/?***&b',
  ])('knows what is redacted, today or by older rules: %s', (url) => {
    expect(isRedacted(url)).toBe(true)
  })

  it.each([
    'https://a.test/***',
    'https://a.test/?a=1',
    'https://a.test/?a=****',
    'https://a/#b=***',
  ])('knows what is not: %s', (url) => {
    expect(isRedacted(url)).toBe(false)
  })
})

describe('withoutSecrets', () => {
  it.each([
    'https://a.test/1.png',
    'https://a.test/1.png?v=2',
    'https://a.test/1.png?Expires=1769864400',
    'https://a.test/?width=512&height=512&format=png#a',
  ])('leaves what nobody signed whole: %s', (url) => {
    expect(withoutSecrets(url)).toBe(url)
  })

  it.each([
    'https://a.test/?Expires=1&Signature=s3cret',
    'https://a.test/?X-Goog-Signature=5f',
    'https://a.test/?se=2026-01-31&sig=a',
    'https://a.test/?ex=6&is=5&hm=4',
    'https://a.test/?q-signature=1',
    'https://a.test/?hdnts=exp=1~hmac=a',
    'https://a.test/?__token__=1',
    'https://a.test/?expires=1&md5=a',
    'https://a.test/?auth_key=1-2-3-4',
    'https://a.test/?Policy=a&Key-Pair-Id=b',
    'https://a.test/?whatever=0123456789abcdef',
    'https://a.test/?0123456789abcdef',
  ])('redacts what may be signed: %s', (url) => {
    expect(withoutSecrets(url)).toBe(redactUrl(url))
  })

  it('leaves out who asks', () => {
    expect(withoutSecrets('https://user:hunter2@a.test/?v=2')).toBe('https://a.test/?v=2')
  })
})

describe('redactUrlsInText', () => {
  it.each([
    [
      'see https://a.test/?a=b and "HTTP://b.test/?c=d".',
      'see https://a.test/?a=*** and "HTTP://b.test/?c=***".',
    ],
    ['{"u":"https:\\/\\/a.test\\/?a=b"}', '{"u":"https:\\/\\/a.test\\/?a=***"}'],
    ['no link? a=b', 'no link? a=b'],
  ])('%s', (text, shown) => {
    expect(redactUrlsInText(text)).toBe(shown)
  })
})
