import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import { describe, expect, it, vi } from 'vitest'
import { macs } from '../../src/secrets/mac.ts'

vi.mock('node:crypto', async (original) => {
  const crypto = await original<typeof import('node:crypto')>()
  return { ...crypto, timingSafeEqual: vi.fn(crypto.timingSafeEqual) }
})

const ID = '019c13ec-9e00-71b8-a8aa-37a2240d1d20'

describe('macs', () => {
  it('is lower-case hex HMAC-SHA256 with a key by HKDF, as the contract has it', () => {
    const key = Buffer.from(hkdfSync('sha256', 'a secret', '', 'callback', 32))
    const expected = createHmac('sha256', key).update(`afterimage/callback/v1\n${ID}`).digest('hex')

    expect(macs('callback', ['a secret']).sign(ID)).toBe(expected)
  })

  it('makes today what it made before: callback URLs outlive releases', () => {
    expect(macs('callback', ['a secret']).sign(ID)).toBe(
      '27b42e2bf27a1d6951aeead87b9ad7c7f6a4e2251c79bb61924d3530c2704735',
    )
  })

  it('verifies what it signed, of that field alone', () => {
    const { sign, verifies } = macs('callback', ['a secret'])

    expect(verifies(ID, sign(ID))).toBe(true)
    expect(verifies(ID.replace('0', '1'), sign(ID))).toBe(false)
    expect(macs('callback', ['another secret']).verifies(ID, sign(ID))).toBe(false)
  })

  it('signs with the first secret and accepts every one', () => {
    const [first, second] = [macs('callback', ['new']), macs('callback', ['old'])]
    const both = macs('callback', ['new', 'old'])

    expect(both.sign(ID)).toBe(first.sign(ID))
    expect(both.accepted(ID)).toEqual([first.sign(ID), second.sign(ID)])
    expect(both.verifies(ID, second.sign(ID))).toBe(true)
  })

  const { sign, verifies } = macs('callback', ['a secret'])
  it.each([
    ['nothing', ''],
    ['a digit less', sign(ID).slice(1)],
    ['a digit more', `${sign(ID)}0`],
    ['upper case', sign(ID).toUpperCase()],
    ['a line end', `${sign(ID)}\n`],
    ['a space before', ` ${sign(ID)}`],
    ['letters beyond hex', 'g'.repeat(64)],
    ['full-width digits', '０'.repeat(64)],
  ])('refuses %s', (_what, mac) => {
    expect(verifies(ID, mac)).toBe(false)
  })

  it('refuses every MAC of which one digit was changed', () => {
    const mac = sign(ID)
    const changed = Array.from(
      mac,
      (digit, n) => mac.slice(0, n) + (digit === '0' ? '1' : '0') + mac.slice(n + 1),
    )

    expect(changed.filter((one) => verifies(ID, one))).toEqual([])
  })

  it('compares in constant time, with every secret also after one has matched', () => {
    const { accepted, verifies } = macs('callback', ['new', 'old', 'older'])
    for (const mac of [...accepted(ID), '0'.repeat(64)]) {
      vi.mocked(timingSafeEqual).mockClear()

      verifies(ID, mac)

      const lengths = vi
        .mocked(timingSafeEqual)
        .mock.calls.map((pair) => pair.map(({ byteLength }) => byteLength))
      expect(lengths).toEqual([
        [32, 32],
        [32, 32],
        [32, 32],
      ])
    }
  })

  it.each([
    ['with the key of another purpose', 'image', 'callback'],
    ['with the words of another purpose', 'callback', 'image'],
    ['for another purpose', 'image', 'image'],
    ['for no purpose', '', ''],
  ])('does not verify what the same secret signed %s', (_how, info, words) => {
    const key = Buffer.from(hkdfSync('sha256', 'a secret', '', info, 32))
    const mac = createHmac('sha256', key).update(`afterimage/${words}/v1\n${ID}`).digest('hex')

    expect(verifies(ID, mac)).toBe(false)
  })

  it('does not verify what the secret itself signed, without a derived key', () => {
    const mac = createHmac('sha256', 'a secret')
      .update(`afterimage/callback/v1\n${ID}`)
      .digest('hex')

    expect(verifies(ID, mac)).toBe(false)
  })

  it('does not work without a secret', () => {
    expect(() => macs('callback', [])).toThrow('no secret')
  })
})
