import { archiveDue } from '../../src/work/archive.ts'
import { createApp } from '../../src/http/app.ts'
import { submitted, type World } from './world.ts'

/** Every generation's URL starts with it. */
export const DOOR = '/v1/generations'

/** Posts a submission: text and bytes as they are, anything else as JSON. */
export function post({ call }: World, body: unknown, headers: Record<string, string> = {}) {
  const raw = typeof body === 'string' || body instanceof Uint8Array ? body : JSON.stringify(body)
  return call(DOOR, { method: 'POST', body: raw, headers })
}

export interface Problem {
  title: string
  status: number
  code: string
  errors?: { pointer: string; message: string }[]
}

export const problem = async (response: Response) => (await response.json()) as Problem

/** What a refusal names as at fault. */
export async function pointers(response: Response) {
  return (await problem(response)).errors?.map(({ pointer }) => pointer)
}

/** A generation whose success named these links; what `pages` shows of them is archived. */
export async function succeeded(
  here: World,
  links: { output?: string[]; proxy_links?: string[] },
  pages: Record<string, Uint8Array> = {},
) {
  const { id } = await submitted(here)
  for (const [url, bytes] of Object.entries(pages)) here.cdn.pages.set(url, bytes)
  const response = await here.callback(id, {
    status: 'success',
    id: 7,
    track_id: id,
    proxy_links: [],
    ...links,
  })
  if (response.status !== 200) throw new Error(`the callback was answered ${response.status}`)
  await archiveDue(here.deps, 10)
  return id
}

/** The front door of the same world, once the process was told to end. */
export const draining = ({ deps }: World) => createApp(deps, { isDraining: () => true })
