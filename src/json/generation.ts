import type { ImageRow, NsfwReportRow, WholeGeneration } from '../ledger/generations.ts'
import type { TimelineEntry } from '../ledger/timeline.ts'
import { seedFrom } from '../model/seed.ts'
import { redactUrl, redactUrlsInText } from '../model/shown-url.ts'

const rfc3339 = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString())
const failure = (code: string | null, message: string | null) =>
  code === null ? null : { code, message: redactUrlsIn(message) }

/** A generation as every door shows it (contract, section 3). Links lose their secrets here. */
export function generationJson(
  { generation: row, images, reports }: WholeGeneration,
  publicUrl: string,
) {
  return {
    id: row.id,
    status: row.status,
    archive_status: row.archiveStatus,
    endpoint: row.endpoint,
    model_id: row.modelId,
    prompt: row.prompt,
    negative_prompt: row.negativePrompt,
    parameters: parametersJson(row),
    client_track_id: row.clientTrackId,
    provider_id: row.providerId,
    submitted_by: row.submittedBy,
    nsfw: {
      verdict: row.nsfwVerdict,
      disputed: row.nsfwDisputed,
      reports: reports.map(reportJson),
    },
    requested_at: rfc3339(row.requestedAt),
    finished_at: rfc3339(row.finishedAt),
    archived_at: rfc3339(row.archivedAt),
    generation_time_s: row.generationTimeS,
    eta_s: row.etaS,
    seed: seedFrom(row),
    meta: redactUrlsIn(row.meta),
    tip: redactUrlsIn(row.tip),
    webhook_status: row.webhookStatus,
    failure: failure(row.failureCode, row.failureMessage),
    images: images.map((image) => imageJson(image, publicUrl)),
  }
}

function parametersJson({
  parameters,
  modelId,
  prompt,
  negativePrompt,
}: WholeGeneration['generation']) {
  if (parameters === null) return null
  const { init_image, mask_image, ...rest } = parameters
  return {
    model_id: modelId,
    prompt,
    negative_prompt: negativePrompt,
    init_image: redactUrl(init_image),
    mask_image: redactUrl(mask_image),
    ...rest,
  }
}

/** The provider's words repeat the links that were sent and that came, wherever they like. */
export function redactUrlsIn(json: unknown): unknown {
  if (typeof json === 'string') return redactUrlsInText(json)
  if (Array.isArray(json)) return json.map(redactUrlsIn)
  if (typeof json !== 'object' || json === null) return json
  return Object.fromEntries(
    Object.entries(json).map(([name, inner]) => [name, redactUrlsIn(inner)]),
  )
}

const reportJson = ({ value, by, at }: NsfwReportRow) => ({ value, by, at: rfc3339(at) })

const imageJson = (image: ImageRow, publicUrl: string) => ({
  source: image.source,
  position: image.position,
  status: image.status,
  source_url: redactUrl(image.sourceUrl),
  url: `${publicUrl}/v1/generations/${image.generationId}/images/${image.position}?source=${image.source}`,
  sha256: image.sha256,
  bytes: image.bytes,
  content_type: image.contentType,
  width: image.width,
  height: image.height,
  object_key: image.objectKey,
  attempts: image.attempts,
  archived_at: rfc3339(image.archivedAt),
  suspect: image.suspect,
  failure: failure(image.failureCode, image.failureMessage),
})

export function timelineJson({ generation }: WholeGeneration, entries: TimelineEntry[]) {
  const requested = {
    at: rfc3339(generation.requestedAt),
    event: 'requested',
    detail: { submitted_by: generation.submittedBy },
  }
  const rest = entries.map(({ at, event, detail }) => ({
    at: rfc3339(at),
    event,
    detail: redactUrlsIn(detail),
  }))
  // A generation that was adopted from its callback was requested of another ledger.
  return { data: generation.parameters === null ? rest : [requested, ...rest] }
}
