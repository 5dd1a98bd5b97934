import { describe, expect, it } from 'vitest'
import { dump, world } from '../../support/world.ts'
import { DEFAULTS, REQUIRED } from '../../support/bodies.ts'
import { pointers, post, problem } from '../../support/doors.ts'

describe('A parameter of POST /v1/generations', () => {
  it.each([
    ['width', 512, 512],
    ['width', '1024', 1024],
    ['width', null, 512],
    ['height', 520, 520],
    ['height', 1024.0, 1024],
    ['height', ' 768 ', 768],
    ['height', null, 512],
    ['samples', 1, 1],
    ['samples', '4', 4],
    ['samples', null, 1],
    ['steps', 1, 1],
    ['steps', '50', 50],
    ['steps', null, 21],
    ['guidance_scale', 1, 1],
    ['guidance_scale', '20', 20],
    ['guidance_scale', '7.25', 7.25],
    ['guidance_scale', null, 7.5],
    ['strength', 0, 0],
    ['strength', '1', 1],
    ['strength', '1e-1', 0.1],
    ['strength', null, 0.7],
    ['clip_skip', 1, 1],
    ['clip_skip', '4', 4],
    ['clip_skip', null, 2],
    ['seed', 0, 0],
    ['seed', 4139316548, 4139316548],
    ['seed', '4139316548', 4139316548],
    ['seed', null, null],
    ['use_karras_sigmas', 'no', 'no'],
    ['use_karras_sigmas', true, 'yes'],
    ['use_karras_sigmas', false, 'no'],
    ['use_karras_sigmas', null, 'yes'],
    ['safety_checker', 'no', 'no'],
    ['safety_checker', true, 'yes'],
    ['safety_checker', false, 'no'],
    ['safety_checker', null, 'yes'],
    ['scheduler', 'LCMScheduler', 'LCMScheduler'],
    ['scheduler', 'ASchedulerOfTomorrow', 'ASchedulerOfTomorrow'],
    ['scheduler', null, 'DPMSolverMultistepScheduler'],
    ['algorithm_type', 'dpmsolver++', 'dpmsolver++'],
    ['algorithm_type', null, 'sde-dpmsolver++'],
    ['prompt', 'ein Kätzchen 🐈 "so"\n', 'ein Kätzchen 🐈 "so"\n'],
    ['prompt', null, null],
    ['prompt', '', ''],
    ['negative_prompt', 'dogs', 'dogs'],
    ['negative_prompt', null, null],
    ['model_id', 'pony-realism', 'pony-realism'],
    ['init_image', 'http://example.com:8080/i.png', 'http://example.com:8080/i.png'],
    ['mask_image', 'https://example.com/ü.png', 'https://example.com/ü.png'],
  ])('takes %s %j as %j', async (field, given, normalised) => {
    const here = world()

    const response = await post(here, { ...REQUIRED, [field]: given })

    expect(response.status).toBe(202)
    const { parameters } = (await response.json()) as { parameters: unknown }
    expect(parameters).toStrictEqual({ ...DEFAULTS, [field]: normalised })
    expect(here.provider.submissions.map(({ request }) => request)).toStrictEqual([
      { ...DEFAULTS, [field]: normalised },
    ])
  })

  it('sends a link as it was given, and shows no value of its query', async () => {
    const here = world()
    const link = 'http://example.com:8080/i.png?x=1'

    const response = await post(here, { ...REQUIRED, init_image: link })

    const { parameters } = (await response.json()) as { parameters: { init_image: string } }
    expect(parameters.init_image).toBe('http://example.com:8080/i.png?x=***')
    expect(here.provider.submissions.map(({ request }) => request.init_image)).toEqual([link])
  })

  it.each([
    ['seed', '18446744073709551615', '18446744073709551615'],
    ['seed', '"18446744073709551615"', '18446744073709551615'],
    ['seed', '9007199254740993', '9007199254740993'],
    ['seed', '-9007199254740993', '-9007199254740993'],
    ['seed', '" +009007199254740993 "', '9007199254740993'],
    ['seed', '9007199254740991', 9007199254740991],
    ['seed', '"0009007199254740991"', 9007199254740991],
    ['seed', '1e3', 1000],
    ['seed', '-1.187654321098765432e18', '-1187654321098765432'],
    ['seed', '1187654321098765432.0', '1187654321098765432'],
    ['seed', '"1e21"', '1000000000000000000000'],
    ['seed', '1e21', '1000000000000000000000'],
  ])('takes the %s %s with every digit', async (field, spelled, normalised) => {
    const here = world()
    const body = JSON.stringify(REQUIRED).replace(/\}$/u, `,"${field}":${spelled}}`)

    const response = await post(here, body)

    expect(response.status).toBe(202)
    expect(await response.json()).toMatchObject({ parameters: { seed: normalised } })
    expect(here.provider.submissions).toMatchObject([{ request: { seed: normalised } }])
  })

  const numbers = ['width', 'height', 'samples', 'steps', 'guidance_scale', 'strength', 'clip_skip']
  const words = ['scheduler', 'algorithm_type', 'use_karras_sigmas', 'safety_checker']
  it.each(['', ' ', 'null', 'undefined', 'NULL'])(
    'takes each field that a form sends as %j as left out',
    async (nothing) => {
      const here = world()
      const empty = Object.fromEntries(
        [...numbers, ...words, 'seed', 'webhook'].map((field) => [field, nothing]),
      )

      const response = await post(here, { ...REQUIRED, ...empty })

      expect(response.status).toBe(202)
      expect(here.provider.submissions).toMatchObject([{ request: DEFAULTS }])
    },
  )

  it.each([
    ['yes', ['yes', 'Yes', ' YES ', 'y', 'true', 'True', 't', 'on', '1', 1, true]],
    ['no', ['no', 'No', ' NO ', 'n', 'false', 'False', 'f', 'off', '0', 0, false]],
  ])('takes %s in every way that forms have', async (word, ways) => {
    const here = world()

    for (const way of ways)
      await post(here, { ...REQUIRED, safety_checker: way, use_karras_sigmas: way })

    expect(here.provider.submissions).toHaveLength(ways.length)
    for (const { request } of here.provider.submissions)
      expect(request).toMatchObject({ safety_checker: word, use_karras_sigmas: word })
  })

  it.each([
    ['strength', '.5', 0.5],
    ['strength', '1.', 1],
    ['guidance_scale', '+7.5', 7.5],
    ['width', '+1024', 1024],
  ])('takes %s %j as the number %d', async (field, given, number) => {
    const here = world()

    await post(here, { ...REQUIRED, [field]: given })

    expect(here.provider.submissions).toMatchObject([{ request: { [field]: number } }])
  })

  it.each([
    ['prompt', 'a cat \ud83d', 'a cat \ufffd'],
    ['negative_prompt', '\ude00 dogs', '\ufffd dogs'],
    ['model_id', 'pony\ud83d\ud83d\ude00', 'pony\ufffd\u{1f600}'],
    ['scheduler', '\udfff', '\ufffd'],
  ])('makes %s %j well-formed, once, on entry', async (field, given, normalised) => {
    const here = world()

    const response = await post(here, { ...REQUIRED, [field]: given })

    expect(await response.json()).toMatchObject({ parameters: { [field]: normalised } })
    expect(here.provider.submissions).toMatchObject([{ request: { [field]: normalised } }])
  })

  it('keeps an escaped backslash before what looks like half a character', async () => {
    const here = world()

    await post(here, { ...REQUIRED, prompt: '\\ud83d \\\\ud83d' })

    expect(here.provider.submissions).toMatchObject([{ request: { prompt: '\\ud83d \\\\ud83d' } }])
  })

  it.each([
    ['key', 'your_api_key'],
    ['key', null],
    ['key', 12],
    ['webhook', null],
    ['track_id', null],
  ])('submits the same whether %s is %j or absent', async (field, given) => {
    const here = world()

    const response = await post(here, { ...REQUIRED, [field]: given })

    expect(response.status).toBe(202)
    expect(await response.json()).toMatchObject({ parameters: DEFAULTS, client_track_id: null })
  })

  it.each([
    ['video_001', 'video_001'],
    [12, '12'],
    ['', ''],
    ['half \ud83d', 'half \ufffd'],
  ])(
    'keeps the track_id %j of the caller as client_track_id, and sends its own',
    async (given, kept) => {
      const here = world()

      const response = await post(here, { ...REQUIRED, track_id: given })

      const { id, client_track_id } = (await response.json()) as {
        id: string
        client_track_id: string
      }
      expect(client_track_id).toBe(kept)
      expect(here.provider.submissions.map(({ trackId }) => trackId)).toEqual([id])
    },
  )

  it.each([
    '1187654321098765432',
    '-1187654321098765433',
    '340282366920938463463374607431768211455',
  ])('keeps every digit of the track_id %s, as a number too', async (digits) => {
    const here = world()
    const body = JSON.stringify(REQUIRED).replace(/\}$/u, `,"track_id":${digits}}`)

    const response = await post(here, body)

    expect(await response.json()).toMatchObject({ client_track_id: digits })
  })

  it("drops the caller's key: it is neither kept nor sent", async () => {
    const here = world()

    await post(here, { ...REQUIRED, key: 'a-key-of-the-caller' })

    expect((await dump(here, 'generations')) + (await dump(here, 'events'))).not.toContain(
      'a-key-of-the-caller',
    )
    expect(JSON.stringify(here.provider.submissions)).not.toContain('a-key-of-the-caller')
  })

  const side = 'expected a whole number from 512 to 1024 that is divisible by 8'
  const url = 'expected an http or https URL'
  const yesNo = 'expected "yes" or "no"'
  it.each([
    ['width', 511, side],
    ['width', 504, side],
    ['width', 516, side],
    ['width', 1032, side],
    ['width', 100, side],
    ['width', 512.5, side],
    ['width', '512px', side],
    ['width', '0x200', side],
    ['width', true, side],
    ['width', [512], side],
    ['height', 504, side],
    ['height', '1025', side],
    ['samples', 0, 'expected a whole number from 1 to 4'],
    ['samples', 5, 'expected a whole number from 1 to 4'],
    ['samples', 1.5, 'expected a whole number from 1 to 4'],
    ['samples', false, 'expected a whole number from 1 to 4'],
    ['steps', 0, 'expected a whole number from 1'],
    ['steps', 'many', 'expected a whole number from 1'],
    ['steps', '1e400', 'expected a whole number from 1'],
    ['guidance_scale', 0.99, 'expected a number from 1 to 20'],
    ['guidance_scale', 20.01, 'expected a number from 1 to 20'],
    ['guidance_scale', 'NaN', 'expected a number from 1 to 20'],
    ['strength', -0.01, 'expected a number from 0 to 1'],
    ['strength', 1.01, 'expected a number from 0 to 1'],
    ['clip_skip', 0, 'expected a whole number from 1 to 4'],
    ['clip_skip', 5, 'expected a whole number from 1 to 4'],
    ['seed', 1.5, 'expected a whole number or null'],
    ['seed', 'random', 'expected a whole number or null'],
    ['safety_checker', {}, yesNo],
    ['safety_checker', 2, yesNo],
    ['safety_checker', 'yes please', yesNo],
    ['use_karras_sigmas', 'on off', yesNo],
    ['use_karras_sigmas', ['yes'], yesNo],
    ['seed', '1'.repeat(40), 'expected a whole number or null'],
    ['seed', '0x10', 'expected a whole number or null'],
    ['seed', true, 'expected a whole number or null'],
    ['scheduler', 5, 'expected a string'],
    ['algorithm_type', ['sde'], 'expected a string'],
    ['prompt', 5, 'expected a string or null'],
    ['negative_prompt', false, 'expected a string or null'],
    ['model_id', null, 'expected the id of a model, such as "pony_realism"'],
    ['model_id', '', 'expected the id of a model, such as "pony_realism"'],
    ['model_id', undefined, 'expected the id of a model, such as "pony_realism"'],
    ['init_image', undefined, url],
    ['init_image', null, url],
    ['init_image', 'data:image/png;base64,AAAA', url],
    ['init_image', 'file:///etc/passwd', url],
    ['mask_image', 'example.com/mask.png', url],
    ['mask_image', undefined, url],
    [
      'webhook',
      'https://example.com/hook',
      'expected null: this service takes the callback itself, and calls no webhook of yours yet',
    ],
    ['track_id', true, 'expected a string or null'],
    ['track_id', {}, 'expected a string or null'],
    ['num_inference_steps', 21, 'this field is not known'],
    ['__proto__', 1, 'this field is not known'],
  ])('refuses %s %j: %s', async (field, given, message) => {
    const here = world()
    const body = JSON.stringify({ ...REQUIRED, [field]: given })

    const response = await post(here, body)

    expect(response.status).toBe(400)
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    expect(await problem(response)).toEqual({
      type: 'urn:afterimage:problem:invalid_request',
      title: 'The request cannot be taken as it is.',
      status: 400,
      code: 'invalid_request',
      errors: [{ pointer: `/${field}`, message }],
    })
    expect(here.provider.submissions).toEqual([])
    expect(await dump(here, 'generations')).toBe('[]')
  })

  it('names every field at fault at once, unknown ones by their JSON Pointer', async () => {
    const body = {
      init_image: 'nowhere',
      width: 1,
      samples: 9,
      webhook: 'https://example.com',
      'a/b~c': 1,
      extra: {},
    }

    const response = await post(world(), body)

    expect((await pointers(response))?.toSorted()).toEqual(
      [
        '/a~1b~0c',
        '/extra',
        '/init_image',
        '/mask_image',
        '/model_id',
        '/samples',
        '/webhook',
        '/width',
      ].toSorted(),
    )
  })
})
