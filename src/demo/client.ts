import { z } from 'zod'

/** As much of a Generation as the demo shows. */
const generation = z.object({
  id: z.string(),
  status: z.string(),
  archive_status: z.string(),
  nsfw: z.object({ verdict: z.string() }),
  failure: z.object({ code: z.string() }).nullable(),
  images: z.array(z.object({ status: z.string(), url: z.string() })),
})
const timeline = z.object({
  data: z.array(
    z.object({
      event: z.string(),
      detail: z.object({ status: z.string().optional(), count: z.number().optional() }),
    }),
  ),
})

export type Generation = z.output<typeof generation>
export type TimelineEvent = z.output<typeof timeline>['data'][number]

/** A client of Afterimage, like the one that an application has. */
export function client(url: string, token: string) {
  const call = async (
    path: string,
    init: { method?: string; body?: string } = {},
  ): Promise<unknown> => {
    const response = await fetch(url + path, {
      ...init,
      headers: { authorization: `Bearer ${token}` },
    })
    if (!response.ok)
      throw new Error(
        `${init.method ?? 'GET'} ${path} was answered ${response.status}: ${await response.text()}`,
      )
    return response.json()
  }
  return {
    submit: async (body: object) =>
      generation.parse(
        await call('/v1/generations', {
          method: 'POST',
          body: JSON.stringify(body),
        }),
      ),
    generation: async (id: string) => generation.parse(await call(`/v1/generations/${id}`)),
    timeline: async (id: string) =>
      timeline.parse(await call(`/v1/generations/${id}/timeline`)).data,
  }
}

export type Client = ReturnType<typeof client>
