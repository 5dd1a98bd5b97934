import { describe, expect, it } from 'vitest'
import { world } from '../../support/world.ts'
import { REQUIRED, SEED_SAMPLE } from '../../support/bodies.ts'
import { DOOR, pointers, post, problem } from '../../support/doors.ts'

describe('Idempotency-Key', () => {
  const again = { 'idempotency-key': 'order 66 / ~' }

  it('submits once, and answers a repetition with the generation as it is now', async () => {
    const here = world()
    const first = (await (await post(here, SEED_SAMPLE, again)).json()) as { id: string }
    await here.callback(first.id, { status: 'failed', id: 7, message: 'no' })

    const response = await post(here, sampleBodyInOtherWords(), again)

    expect(response.status).toBe(202)
    expect(response.headers.get('idempotency-replayed')).toBe('true')
    expect(await response.json()).toMatchObject({ id: first.id, status: 'failed' })
    expect(here.provider.submissions).toHaveLength(1)
  })

  it('does not call a first answer replayed', async () => {
    const response = await post(world(), REQUIRED, again)

    expect(response.headers.get('idempotency-replayed')).toBeNull()
  })

  it.each([
    ['another parameter', { ...REQUIRED, seed: 5 }],
    ['another track_id', { ...REQUIRED, track_id: 'other' }],
  ])('answers 422 to the same key with %s', async (_what, other) => {
    const here = world()
    await post(here, REQUIRED, again)

    const response = await post(here, other, again)

    expect(response.status).toBe(422)
    expect(await problem(response)).toMatchObject({ code: 'idempotency_key_reused' })
    expect(here.provider.submissions).toHaveLength(1)
  })

  it('is not used up by a request that was refused', async () => {
    const here = world()
    await post(here, { ...REQUIRED, width: 1 }, again)

    const response = await post(here, REQUIRED, again)

    expect(response.status).toBe(202)
    expect(response.headers.get('idempotency-replayed')).toBeNull()
  })

  it('belongs to its token: another may use the same', async () => {
    const here = world({
      API_TOKENS: 'app:submit:app-token-of-the-tests,web:submit:web-token-of-the-tests',
    })
    const ask = (token: string) =>
      here.call(DOOR, { method: 'POST', body: JSON.stringify(REQUIRED), headers: again, token })

    const answers = [await ask('app-token-of-the-tests'), await ask('web-token-of-the-tests')]

    expect(answers.map(({ headers }) => headers.get('idempotency-replayed'))).toEqual([null, null])
    expect(here.provider.submissions).toHaveLength(2)
  })

  it('makes one generation of ten requests at the same time', async () => {
    const here = world()

    const answers = await Promise.all(
      Array.from({ length: 10 }, async () => post(here, REQUIRED, again)),
    )

    const ids = await Promise.all(
      answers.map(async (answer) => ((await answer.json()) as { id: string }).id),
    )
    expect(answers.map(({ status }) => status)).toEqual(Array(10).fill(202))
    expect(new Set(ids).size).toBe(1)
    expect(here.provider.submissions).toHaveLength(1)
  })

  it.each([
    ['255 characters', 'k'.repeat(255), 202],
    ['256 characters', 'k'.repeat(256), 400],
    ['nothing', '', 400],
    ['a letter beyond ASCII', 'é', 400],
    ['a tab', 'a\tb', 400],
  ])('of %s is answered %i', async (_what, key, status) => {
    const response = await post(world(), REQUIRED, { 'idempotency-key': key })

    expect(response.status).toBe(status)
    if (status === 400) expect(await pointers(response)).toEqual(['Idempotency-Key'])
  })
})

/** The seed's sample as a different client would write it. */
function sampleBodyInOtherWords() {
  const {
    key: _key,
    webhook: _webhook,
    seed: _seed,
    ...rest
  } = JSON.parse(SEED_SAMPLE) as Record<string, unknown>
  return { ...rest, width: 512, steps: 21, safety_checker: false, key: 'another' }
}
