/** A knob that takes one of a few words. */
interface Choice<V extends string> {
  kind: 'choice'
  about: string
  fallback: V
  values: readonly (readonly [value: V, meaning: string])[]
}

/** A knob that takes a number from `min` to `max`. */
interface Amount {
  kind: 'amount'
  about: string
  unit: 'seconds' | 'times'
  fallback: number
  min: number
  max: number
}

/** Every misbehaviour there is to ask for. The reading of prompts and flags, the types and the help text all come from here. */
export const KNOBS = {
  reply: choice(
    'what the submission is answered',
    ['processing', 'accepted; the result comes later'],
    ['queued', 'the same with status queued'],
    ['success', 'accepted; answered with the result when the job has ended'],
    ['400', 'accepted; the processing body under HTTP 400'],
    ['500', 'accepted, yet answered with an HTML page under HTTP 500'],
    ['cut', 'accepted, but the connection is cut in the middle of the reply'],
    ['error', 'refused with status error and a message, under HTTP 200'],
    ['failed', 'refused with status failed and no id, under HTTP 200'],
    ['429', 'refused for too many queued requests, with retry_after'],
    ['503', 'refused with an HTML page under HTTP 503'],
  ),
  reply_delay: seconds('before the submission is answered', 0),
  retry_after: seconds('named by the 429 reply', 30),
  result: choice(
    'what becomes of the job',
    ['images', 'as many pictures as samples'],
    ['none', 'success without a picture'],
    ['failed', 'failed, by callback and fetch alike'],
    ['never', 'processing for ever'],
  ),
  delay: seconds('from acceptance to the end of the job', 1),
  callback: choice(
    'what the webhook hears',
    ['auto', 'one callback after the reply, but none after reply=success'],
    ['sent', 'one callback after the reply, also after reply=success'],
    ['lost', 'nothing'],
    ['doubled', 'the same callback twice'],
    ['early', 'the callback before the reply to the submission'],
    ['failed', 'a failure, although a fetch gives the result'],
  ),
  callback_body: choice(
    'how much a callback says',
    ['full', 'everything that a fetch says'],
    ['short', 'as documented: no proxy_links and no nsfw_content_detected'],
  ),
  callback_tries: {
    kind: 'amount',
    about: 'a callback is delivered until it gets a 2xx, one second apart',
    unit: 'times',
    fallback: 1,
    min: 1,
    max: 5,
  },
  outputs: choice(
    'the links in output',
    ['ok', 'alive as soon as the job has ended'],
    ['late', '404 at first, alive after `late` seconds'],
    ['dead', '404 for ever'],
  ),
  proxies: choice(
    'the links in proxy_links',
    ['ok', 'the same paths on the mirror, alive'],
    ['late', 'on the mirror, 404 at first, alive after `late` seconds'],
    ['dead', 'on the mirror, 404 for ever'],
    ['identical', 'the links of output once more'],
    ['none', 'no links'],
  ),
  late: seconds('that late links answer 404, from the end of the job', 3),
  nsfw: choice(
    'nsfw_content_detected',
    ['clear', 'false'],
    ['flagged', 'true; the pictures are blurred unless safety_checker is no'],
    ['silent', 'absent'],
  ),
  format: choice('of the pictures', ['png', 'PNG'], ['jpeg', 'JPEG, in links that end in .jpg'], ['webp', 'WebP']),
} as const satisfies Record<string, Choice<string> | Amount>

export type KnobName = keyof typeof KNOBS

export type Knobs = { [K in KnobName]: (typeof KNOBS)[K] extends Choice<infer V> ? V : number }

export const knobNames = Object.keys(KNOBS) as KnobName[]

/** The first word is the default. */
function choice<const V extends string>(about: string, first: [V, string], ...others: [V, string][]): Choice<V> {
  return { kind: 'choice', about, fallback: first[0], values: [first, ...others] }
}

function seconds(about: string, fallback: number): Amount {
  return { kind: 'amount', about, unit: 'seconds', fallback, min: 0, max: 3600 }
}
