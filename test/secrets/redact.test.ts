import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { redact, redactBytes, redactJson } from '../../src/secrets/redact.ts'

describe('redact', () => {
  it.each([
    ['key=hunter2&x=1', ['hunter2'], 'key=***&x=1'],
    ['hunter2 hunter2', ['hunter2'], '*** ***'],
    ['nothing here', ['hunter2'], 'nothing here'],
    ['two: a1b2, c3d4', ['a1b2', 'c3d4'], 'two: ***, ***'],
    [
      'the longer hunter22 has the shorter in it',
      ['hunter2', 'hunter22'],
      'the longer *** has the shorter in it',
    ],
    ['{"url":"https:\\/\\/x\\/se\\/cret"}', ['se/cret'], '{"url":"https:\\/\\/x\\/***"}'],
    ['?key=se%2Fcret', ['se/cret'], '?key=***'],
    [JSON.stringify({ key: 'a"b\\c' }), ['a"b\\c'], '{"key":"***"}'],
    ['an empty secret is none', [''], 'an empty secret is none'],
  ])('makes of %j without %j %j', (text, secrets, expected) => {
    expect(redact(text, secrets)).toBe(expected)
  })

  const MAC = '3b0c44298fc1c149afbf4c8996fb9242'
  const escaped = (write: (code: number) => string) =>
    Array.from(MAC, (character) => write(character.charCodeAt(0))).join('')

  it.each([
    ['in capitals', MAC.toUpperCase()],
    ['percent-encoded', escaped((code) => `%${code.toString(16)}`)],
    ['percent-encoded twice', escaped((code) => `%25${code.toString(16)}`)],
    ['percent-encoded here and there', `${MAC.slice(0, 9)}%66%63${MAC.slice(11)}`],
    ['escaped as JSON may escape it', escaped((code) => `\\u00${code.toString(16)}`)],
    [
      'escaped so by two writers, one after the other',
      escaped((code) => `\\\\u00${code.toString(16).toUpperCase()}`),
    ],
    ['escaped as HTML may escape it', escaped((code) => `&#${code};`)],
    ['escaped so in hex', escaped((code) => `&#x${code.toString(16)};`)],
    ['in hex', Buffer.from(MAC).toString('hex')],
    ['in base64', Buffer.from(MAC).toString('base64').slice(0, 42)],
  ])('finds a secret %s', (_how, spelled) => {
    expect(redact(`"…/${spelled}"`, ['another', MAC])).toBe('"…/***"')
  })

  it.each([0, 1, 2, 3])('finds a secret in base64 behind %i other bytes', (before) => {
    const text = Buffer.from(`${'x'.repeat(before)}${MAC}/and more`).toString('base64')

    expect(Buffer.from(redact(text, [MAC]).replace('***', ''), 'base64').toString()).not.toContain(
      MAC.slice(2, -2),
    )
    expect(redact(text, [MAC])).toContain('***')
  })

  it('leaves escapes of anything else', () => {
    const text = '%41%42 \\u0041 &#65; %253b \\x41'

    expect(redact(text, [MAC])).toBe(text)
  })

  it('leaves no secret in any text', () => {
    const secret = fc.stringMatching(/^[a-z0-9]{8,20}$/u)
    fc.assert(
      fc.property(
        fc.array(secret, { minLength: 1, maxLength: 4 }),
        fc.string(),
        (secrets, text) => {
          const redacted = redact(secrets.join(text), secrets)
          return secrets.every((one) => !redacted.includes(one))
        },
      ),
    )
  })
})

const whole = { cut: false }

describe('redactBytes', () => {
  it('finds a secret between bytes of any encoding, and leaves every other byte', () => {
    const bytes = Buffer.concat([
      Buffer.of(0xff, 0x00, 0xc3),
      Buffer.from('hunter2'),
      Buffer.of(0x80, 0xfe),
    ])

    expect(redactBytes(bytes, ['hunter2'], whole)).toEqual(
      Buffer.concat([Buffer.of(0xff, 0x00, 0xc3), Buffer.from('***'), Buffer.of(0x80, 0xfe)]),
    )
  })

  it('finds a secret with letters beyond ASCII', () => {
    expect(redactBytes(Buffer.from('key=schlüssel!'), ['schlüssel'], whole).toString()).toBe(
      'key=***!',
    )
  })

  it('leaves bytes without a secret as they are', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(new Uint8Array(redactBytes(bytes, ['a-secret-of-some-length'], whole))).toEqual(
          bytes,
        )
      }),
    )
  })

  it.each([
    ['…/a-secret-of-some-lengt', '…/***'],
    ['…/a-secret', '…/***'],
    ['…/a-secr', '…/a-secr'],
    ['a-secret-of and more', 'a-secret-of and more'],
  ])('hides of %j, where it was cut, a secret that may have begun', (text, expected) => {
    const redacted = redactBytes(Buffer.from(text), ['a-secret-of-some-length'], { cut: true })

    expect(redacted.toString()).toBe(expected)
  })

  it('looks at the given part of a buffer alone', () => {
    const buffer = Buffer.from('hunter2 is before hunter2 here')

    expect(redactBytes(buffer.subarray(8, 17), ['hunter2'], whole).toString()).toBe('is before')
  })
})

describe('redactJson', () => {
  it('reaches every text, however deep, and names too', () => {
    const json = { a: ['x hunter2 y', { b: 'hunter2' }], hunter2: null, c: 7, d: true }

    expect(redactJson(json, ['hunter2'])).toEqual({
      a: ['x *** y', { b: '***' }],
      '***': null,
      c: 7,
      d: true,
    })
  })

  it('leaves numbers as they are, even where a secret is one', () => {
    expect(redactJson({ id: 112345, text: '112345' }, ['1234'])).toEqual({
      id: 112345,
      text: '1***5',
    })
  })

  it('changes nothing of a value that has no secret', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (json) => {
        expect(redactJson(json, ['a-secret-of-some-length'])).toEqual(json)
      }),
    )
  })
})
