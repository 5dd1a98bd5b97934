import { KNOBS, knobNames, type KnobName } from './knobs.ts'
import type { Simulator } from './simulator.ts'

/** The text of `--help`. */
export const usage = `A ModelsLab that runs on loopback, and misbehaves when asked to.

Usage: afterimage simulator [options]

Options:
  --port PORT          of the API; 0 for any free one (9100)
  --output-port PORT   where output links lead (the API's and one)
  --proxy-port PORT    where proxy_links lead (the API's and two)
  --key KEY            the only API key that is taken (any)
  --max-queued COUNT   more unfinished jobs are answered 429 (no limit)
  --help               this text

Every knob below is an option too (--callback lost, --reply-delay 2) and then holds for all
requests. One request asks for itself by words in its prompt, in square brackets:

  a quiet harbour at dawn [callback=lost delay=2 nsfw=flagged]

${knobNames.map(describeKnob).join('\n\n')}
`

/** How a knob is spelled as an option of the command line. */
export function optionName(name: KnobName) {
  return name.replaceAll('_', '-')
}

/** What someone needs to know who has just started it by hand. */
export function banner({ apiUrl, outputOrigin, proxyOrigin }: Simulator, key = 'any-key-will-do') {
  const request = {
    key,
    model_id: 'pony_realism',
    prompt: 'a quiet harbour at dawn [delay=2]',
    init_image: 'https://example.com/init.png',
    mask_image: 'https://example.com/mask.png',
  }
  return `A ModelsLab that runs on loopback is ready.

  API      ${apiUrl}
  output   ${outputOrigin}
  proxies  ${proxyOrigin}
  journal  ${apiUrl}/simulator/journal

Settings for Afterimage:

  MODELSLAB_BASE_URL=${apiUrl}
  MODELSLAB_API_KEY=${key}
  ALLOWED_PRIVATE_ORIGINS=${outputOrigin},${proxyOrigin}

Try:

  curl -s ${apiUrl}/api/v6/images/inpaint -H 'content-type: application/json' -d '${JSON.stringify(request)}'

`
}

function describeKnob(name: KnobName) {
  const knob = KNOBS[name]
  if (knob.kind === 'amount')
    return `${name}=${knob.min}..${knob.max}   ${knob.unit} ${knob.about} (${knob.fallback})`
  const values = knob.values.map(([value, meaning]) => `  ${value.padEnd(12)}${meaning}`)
  const fallback = knob.kind === 'sequence' ? knob.fallback.join('+') : knob.fallback
  return [`${name}   ${knob.about} (${fallback})`, ...values].join('\n')
}
