import { z } from 'zod'
import { AppError } from '../../errors.ts'
import type { InpaintRequest } from '../../model/request.ts'
import { type Seed, seedIn } from '../../model/seed.ts'
import { fieldErrors } from '../plumbing/fields.ts'

/** Of numbers that senders give as texts. */
const NUMBER = /^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?\s*$/iu
const YES = /^\s*(?:yes|y|true|t|on|1)\s*$/iu
const NO = /^\s*(?:no|n|false|f|off|0)\s*$/iu
/** What forms send of a field that was left empty, and scripts of a variable that is. */
const NOTHING = /^\s*(?:null|undefined)?\s*$/iu

const absent = (given: unknown) =>
  given === null || (typeof given === 'string' && NOTHING.test(given)) ? undefined : given

const numeric = (given: unknown) =>
  typeof given === 'bigint' || (typeof given === 'string' && NUMBER.test(given))
    ? Number(given)
    : absent(given)

function yesNo(given: unknown) {
  if (!['string', 'number', 'boolean'].includes(typeof given)) return absent(given)
  const word = String(given)
  return YES.test(word) ? 'yes' : NO.test(word) ? 'no' : absent(given)
}

/** With all its digits; what is none stays as it is, and is refused. */
function seed(given: unknown) {
  const exact = typeof given === 'string' || typeof given === 'bigint' ? seedIn(given) : null
  return exact ?? numeric(given)
}

const isSeed = (given: unknown) =>
  (typeof given === 'string' || typeof given === 'number') && seedIn(given) === given

function number(schema: z.ZodNumber, otherwise: number) {
  return z.preprocess(numeric, schema.default(otherwise))
}

function whole(least: number, most: number, otherwise: number) {
  const message =
    most === Number.MAX_SAFE_INTEGER
      ? `expected a whole number from ${least}`
      : `expected a whole number from ${least} to ${most}`
  return number(z.int(message).min(least, message).max(most, message), otherwise)
}

function between(least: number, most: number, otherwise: number) {
  const message = `expected a number from ${least} to ${most}`
  return number(z.number(message).min(least, message).max(most, message), otherwise)
}

function side() {
  const message = 'expected a whole number from 512 to 1024 that is divisible by 8'
  return number(z.int(message).min(512, message).max(1024, message).multipleOf(8, message), 512)
}

const text = (otherwise: string) =>
  z.preprocess(absent, z.string('expected a string').min(1, 'expected a string').default(otherwise))
const optionalText = z
  .string('expected a string or null')
  .nullish()
  .transform((given) => given ?? null)
const choice = z.preprocess(yesNo, z.enum(['yes', 'no'], 'expected "yes" or "no"').default('yes'))
const link = z.url({ protocol: /^https?$/u, error: 'expected an http or https URL' })

/** The body of ModelsLab's inpaint endpoint, with its bounds and defaults. */
const inpaint = z
  .strictObject({
    model_id: z
      .string('expected the id of a model, such as "pony_realism"')
      .min(1, 'expected the id of a model, such as "pony_realism"'),
    prompt: optionalText,
    negative_prompt: optionalText,
    init_image: link,
    mask_image: link,
    width: side(),
    height: side(),
    samples: whole(1, 4, 1),
    steps: whole(1, Number.MAX_SAFE_INTEGER, 21),
    guidance_scale: between(1, 20, 7.5),
    strength: between(0, 1, 0.7),
    scheduler: text('DPMSolverMultistepScheduler'),
    use_karras_sigmas: choice,
    algorithm_type: text('sde-dpmsolver++'),
    clip_skip: whole(1, 4, 2),
    safety_checker: choice,
    seed: z
      .preprocess(seed, z.custom<Seed>(isSeed, 'expected a whole number or null').optional())
      .transform((given) => given ?? null),
    key: z.unknown().optional(),
    webhook: z
      .preprocess(
        absent,
        z.undefined(
          'expected null: this service takes the callback itself, ' +
            'and calls no webhook of yours yet',
        ),
      )
      .optional(),
    track_id: z
      .union([z.string(), z.number(), z.bigint()], 'expected a string or null')
      .nullish()
      .transform((given) => (given === null || given === undefined ? null : String(given))),
  })
  .transform(({ key: dropped, webhook, track_id: clientTrackId, ...request }) => ({
    request,
    clientTrackId,
  }))

/**
 * Reads a submission; `key` is dropped.
 * @throws AppError `invalid_request` that names each field at fault
 */
export function readInpaintRequest(json: unknown): {
  request: InpaintRequest
  clientTrackId: string | null
} {
  const result = inpaint.safeParse(json)
  if (!result.success)
    throw new AppError('invalid_request', 'The request cannot be taken as it is.', {
      fields: fieldErrors(result.error, 'body'),
    })
  return result.data
}
