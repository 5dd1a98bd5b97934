import { z } from 'zod'
import { Refusal } from './refusal.ts'

const NUMBER = /^\s*-?\d+(\.\d+)?\s*$/

const requestSchema = z.object({
  model_id: z.string(required('model_id')).min(1, required('model_id')),
  init_image: link('init_image'),
  mask_image: link('mask_image'),
  prompt: text('prompt'),
  negative_prompt: text('negative_prompt'),
  width: size('width'),
  height: size('height'),
  samples: number('samples', 1, 'an integer from 1 to 4', (value) => isInteger(value, 1, 4)),
  steps: number('steps', 21, 'a positive integer', (value) => isInteger(value, 1, 1000)),
  guidance_scale: number(
    'guidance_scale',
    7.5,
    'from 1 to 20',
    (value) => value >= 1 && value <= 20,
  ),
  strength: number('strength', 0.7, 'from 0 to 1', (value) => value >= 0 && value <= 1),
  scheduler: text('scheduler', 'DPMSolverMultistepScheduler'),
  use_karras_sigmas: yesOrNo('use_karras_sigmas'),
  algorithm_type: text('algorithm_type', 'sde-dpmsolver++'),
  clip_skip: number('clip_skip', 2, 'an integer from 1 to 4', (value) => isInteger(value, 1, 4)),
  safety_checker: yesOrNo('safety_checker'),
  seed: number('seed', null, 'an integer', Number.isSafeInteger),
  webhook: link('webhook').nullish().transform(orNull),
  track_id: z
    .union([z.string(), z.int().transform(String)], { error: 'The track_id must be a string.' })
    .nullish()
    .transform(orNull),
})

/**
 * An inpaint request as the provider understood it: numbers are numbers, defaults are filled in.
 */
export type InpaintRequest = z.infer<typeof requestSchema>

/**
 * Throws Refusal with every field at fault. Numbers as strings, nulls, and booleans for yes and no
 * are taken.
 */
export function readRequest(body: unknown): InpaintRequest {
  const parsed = requestSchema.safeParse(body)
  if (parsed.success) return parsed.data
  const { fieldErrors, formErrors } = z.flattenError(parsed.error)
  if (formErrors.length > 0) throw new Refusal('The request body must be a JSON object.')
  throw new Refusal(fieldErrors)
}

function required(field: string) {
  return { error: `The ${field} field is required.` }
}

function link(field: string) {
  const error = (issue: { input?: unknown }) =>
    issue.input === undefined
      ? `The ${field} field is required.`
      : `The ${field} must be an http or https URL.`
  return z.url({ protocol: /^https?$/, error })
}

function text<F extends string | null = null>(field: string, fallback: F = null as F) {
  return z
    .string({ error: `The ${field} must be a string.` })
    .nullish()
    .transform((value) => value ?? fallback)
}

function size(field: string) {
  const rule = 'an integer from 512 to 1024, divisible by 8'
  return number(field, 512, rule, (value) => isInteger(value, 512, 1024) && value % 8 === 0)
}

function number<F extends number | null>(
  field: string,
  fallback: F,
  rule: string,
  holds: (value: number) => boolean,
) {
  const error = `The ${field} must be ${rule}.`
  return z
    .union([z.number(), z.string().regex(NUMBER).transform(Number)], { error })
    .refine(holds, { error })
    .nullish()
    .transform((value) => value ?? fallback)
}

function yesOrNo(field: string) {
  return z
    .union([z.enum(['yes', 'no']), z.boolean()], { error: `The ${field} must be yes or no.` })
    .nullish()
    .transform((value) => (value === 'no' || value === false ? 'no' : 'yes'))
}

function isInteger(value: number, least: number, most: number) {
  return Number.isInteger(value) && value >= least && value <= most
}

function orNull<T>(value: T | null | undefined) {
  return value ?? null
}
