/** Letter for letter as the provider's page prints it. */
export const SEED_SAMPLE = `{
    "key": "your_api_key",
    "model_id": "pony_realism",
    "prompt": "a cat sitting on a bench",
    "negative_prompt": null,
    "init_image": "https://raw.githubusercontent.com/CompVis/stable-diffusion/main/data/inpainting_examples/overture-creations-5sI6fQgYIuo.png",
    "mask_image": "https://raw.githubusercontent.com/CompVis/stable-diffusion/main/data/inpainting_examples/overture-creations-5sI6fQgYIuo_mask.png",
    "width": "512",
    "height": "512",
    "samples": "1",
    "steps": "21",
    "safety_checker": "no",
    "guidance_scale": 7.5,
    "strength": 0.7,
    "scheduler": "DPMSolverMultistepScheduler",
    "use_karras_sigmas": "yes",
    "algorithm_type": "sde-dpmsolver++",
    "clip_skip": "2",
    "seed": null,
    "webhook": null,
    "track_id": null
}`

/** The same, normalised. */
export const SEED_REQUEST = {
  model_id: 'pony_realism',
  prompt: 'a cat sitting on a bench',
  negative_prompt: null,
  init_image:
    'https://raw.githubusercontent.com/CompVis/stable-diffusion/main/data/inpainting_examples/overture-creations-5sI6fQgYIuo.png',
  mask_image:
    'https://raw.githubusercontent.com/CompVis/stable-diffusion/main/data/inpainting_examples/overture-creations-5sI6fQgYIuo_mask.png',
  width: 512,
  height: 512,
  samples: 1,
  steps: 21,
  safety_checker: 'no',
  guidance_scale: 7.5,
  strength: 0.7,
  scheduler: 'DPMSolverMultistepScheduler',
  use_karras_sigmas: 'yes',
  algorithm_type: 'sde-dpmsolver++',
  clip_skip: 2,
  seed: null,
}

/** The least that is a submission, and what it means. */
export const REQUIRED = {
  model_id: 'pony_realism',
  init_image: 'https://example.com/a.png',
  mask_image: 'https://example.com/a_mask.png',
}

export const DEFAULTS = {
  ...REQUIRED,
  prompt: null,
  negative_prompt: null,
  width: 512,
  height: 512,
  samples: 1,
  steps: 21,
  guidance_scale: 7.5,
  strength: 0.7,
  scheduler: 'DPMSolverMultistepScheduler',
  use_karras_sigmas: 'yes',
  algorithm_type: 'sde-dpmsolver++',
  clip_skip: 2,
  safety_checker: 'yes',
  seed: null,
}
