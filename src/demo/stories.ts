/** One generation of the demo: what is asked of the simulator, and how it must end. */
export interface Story {
  name: string
  /** The knobs of the simulator, as words in the prompt. */
  knobs: string
  body?: Record<string, unknown>
  status: 'succeeded' | 'failed'
  archive: 'none' | 'archived' | 'partial' | 'lost'
  nsfw: 'clear' | 'flagged' | 'unknown'
  failure?: string
}

export const STORIES: Story[] = [
  {
    name: 'all is well',
    knobs: 'delay=1',
    status: 'succeeded',
    archive: 'archived',
    nsfw: 'clear',
  },
  {
    name: 'flagged as NSFW',
    knobs: 'nsfw=flagged format=jpeg',
    status: 'succeeded',
    archive: 'archived',
    nsfw: 'flagged',
  },
  {
    name: 'silent about NSFW',
    knobs: 'nsfw=silent callback_body=short',
    status: 'succeeded',
    archive: 'archived',
    nsfw: 'unknown',
  },
  {
    name: 'success at once',
    knobs: 'reply=success delay=0.5',
    status: 'succeeded',
    archive: 'archived',
    nsfw: 'clear',
  },
  {
    name: 'callback lost',
    knobs: 'callback=lost',
    status: 'succeeded',
    archive: 'archived',
    nsfw: 'clear',
  },
  {
    name: 'callback twice',
    knobs: 'callback=doubled',
    status: 'succeeded',
    archive: 'archived',
    nsfw: 'clear',
  },
  {
    name: 'callback before the reply',
    knobs: 'callback=early',
    status: 'succeeded',
    archive: 'archived',
    nsfw: 'clear',
  },
  {
    name: 'four pictures, late',
    knobs: 'delay=3 format=webp',
    body: { samples: 4, width: 768 },
    status: 'succeeded',
    archive: 'archived',
    nsfw: 'clear',
  },
  {
    name: 'reply cut off',
    knobs: 'reply=cut',
    status: 'succeeded',
    archive: 'archived',
    nsfw: 'clear',
  },
  {
    name: 'links 404 at first',
    knobs: 'outputs=late proxies=late late=1.5',
    status: 'succeeded',
    archive: 'archived',
    nsfw: 'clear',
  },
  {
    name: 'output dead, mirror alive',
    knobs: 'outputs=dead',
    status: 'succeeded',
    archive: 'partial',
    nsfw: 'clear',
  },
  {
    name: 'all links dead',
    knobs: 'outputs=dead proxies=dead',
    status: 'succeeded',
    archive: 'lost',
    nsfw: 'clear',
  },
  {
    name: 'the job fails',
    knobs: 'result=failed',
    status: 'failed',
    archive: 'none',
    nsfw: 'unknown',
    failure: 'provider_failed',
  },
  {
    name: 'the request is refused',
    knobs: 'reply=error',
    status: 'failed',
    archive: 'none',
    nsfw: 'unknown',
    failure: 'provider_refused',
  },
]
