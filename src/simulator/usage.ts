import { KNOBS, knobNames, type KnobName } from './knobs/knobs.ts'
import type { Simulator } from './simulator.ts'

/** The text of `--help`. */
export function usage(call: string) {
  return `A ModelsLab that runs on loopback, and misbehaves when asked to.

Usage: ${call} simulator [options]

Options:
  --port PORT          of the API; 0 for any free one (9100)
  --output-port PORT   where output links lead (the API's and one)
  --proxy-port PORT    where proxy_links lead (the API's and two)
  --key KEY            the only API key that is taken (any)
  --max-queued COUNT   more unfinished jobs are answered 429 (no limit)
  --help               this text

Every knob below is an option too (--callback lost, --reply-delay 2) and then
holds for all requests. One request asks for itself by words in its prompt, in
square brackets:

  a quiet harbour at dawn [callback=lost delay=2 nsfw=flagged]

${knobNames.map((name) => describeKnob(name).map(folded).join('\n')).join('\n\n')}
`
}

/** How a knob is spelled as an option of the command line. */
export function optionName(name: KnobName) {
  return name.replaceAll('_', '-')
}

/** Where a service listens that nobody told otherwise; callbacks go nowhere but to this machine. */
const SERVICE_URL = 'http://127.0.0.1:8787'

/** What someone needs to know who has just started it by hand, and can paste as it is. */
export function banner(
  { apiUrl, outputOrigin, proxyOrigin }: Simulator,
  call: string,
  key = 'any-key-will-do',
) {
  return `A ModelsLab that runs on loopback is ready.

  API      ${apiUrl}
  output   ${outputOrigin}
  proxies  ${proxyOrigin}
  journal  ${apiUrl}/simulator/journal

To start Afterimage on it, in another terminal:

  export MODELSLAB_BASE_URL=${apiUrl}
  export MODELSLAB_API_KEY=${quoted(key)}
  export PUBLIC_URL=${SERVICE_URL}
  export ALLOWED_PRIVATE_ORIGINS=${outputOrigin},${proxyOrigin}
  ${call} serve

To ask it without Afterimage:

  curl -s ${apiUrl}/api/v6/images/inpaint \\
    -H 'content-type: application/json' -d ${quoted(`{
    "key": ${JSON.stringify(key)},
    "model_id": "pony_realism",
    "prompt": "a quiet harbour at dawn [delay=2]",
    "init_image": "https://example.com/init.png",
    "mask_image": "https://example.com/mask.png"
  }`)}

`
}

/** One word of a shell, whatever is in it. */
function quoted(text: string) {
  return /^[\w.:/-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

function describeKnob(name: KnobName): string[] {
  const knob = KNOBS[name]
  if (knob.kind === 'amount')
    return [`${name}=${knob.min}..${knob.max}   ${knob.unit} ${knob.about} (${knob.fallback})`]
  const values = knob.values.map(([value, meaning]) => `  ${value.padEnd(12)}${meaning}`)
  const fallback = knob.kind === 'sequence' ? knob.fallback.join('+') : knob.fallback
  return [`${name}   ${knob.about} (${fallback})`, ...values]
}

/** Within a terminal of 80 columns. */
function folded(line: string): string {
  const end = line.length > 80 ? line.lastIndexOf(' ', 80) : line.length
  return end === line.length
    ? line
    : `${line.slice(0, end)}\n${folded(`    ${line.slice(end + 1)}`)}`
}
