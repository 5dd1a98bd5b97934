import type { Seed } from './seed.ts'

/**
 * An inpaint request as ModelsLab's schema describes it, normalised: numbers are numbers, absences
 * are nulls.
 */
export interface InpaintRequest {
  model_id: string
  prompt: string | null
  negative_prompt: string | null
  init_image: string
  mask_image: string
  width: number
  height: number
  samples: number
  steps: number
  guidance_scale: number
  strength: number
  scheduler: string
  use_karras_sigmas: 'yes' | 'no'
  algorithm_type: string
  clip_skip: number
  safety_checker: 'yes' | 'no'
  seed: Seed | null
}
