import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'

/** As much of a generation as is looked at. */
export interface Shown {
  id: string
  status: string
  archive_status: string
  prompt: string | null
  provider_id: string | null
  requested_at: string
  failure: { code: string } | null
  images: {
    source: 'output' | 'proxy'
    position: number
    status: string
    source_url: string
    sha256: string | null
    object_key: string | null
    suspect: string | null
    failure: { code: string } | null
  }[]
}

export interface Event {
  event: string
  detail: Record<string, unknown>
}

/** A client that tries again, with the same Idempotency-Key, until it has its answer. */
export class Client {
  /** Prompt by id, of every request that was answered 202. */
  readonly answered = new Map<string, string>()
  /** How often no answer came, or none that is a 202. */
  unanswered = 0
  private readonly url: string
  private readonly headers: Record<string, string>

  constructor(url: string, token: string) {
    this.url = url
    this.headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  }

  async submit(prompt: string, samples: number) {
    const body = JSON.stringify({
      model_id: 'pony_realism',
      prompt,
      samples,
      init_image: 'https://images.example.com/init.png',
      mask_image: 'https://images.example.com/mask.png',
    })
    const headers = { ...this.headers, 'idempotency-key': randomUUID() }
    for (;;) {
      const id = await this.accepted(body, headers)
      if (id !== null) {
        this.answered.set(id, prompt)
        return
      }
      this.unanswered++
      await delay(50)
    }
  }

  /** Throws where nobody answers, or not with a 200. */
  async read(path: string): Promise<unknown> {
    const response = await fetch(this.url + path, { headers: this.headers })
    if (response.status !== 200) throw new Error(`${path}: ${response.status}`)
    return response.json()
  }

  async timeline(id: string) {
    return ((await this.read(`/v1/generations/${id}/timeline`)) as { data: Event[] }).data
  }

  /** Every generation there is. */
  async all(): Promise<Shown[]> {
    const found: Shown[] = []
    let cursor: string | null = null
    do {
      const query: string = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`
      const page = (await this.read(`/v1/generations?limit=100${query}`)) as {
        data: Shown[]
        next_cursor: string | null
      }
      found.push(...page.data)
      cursor = page.next_cursor
    } while (cursor !== null)
    return found
  }

  private async accepted(body: string, headers: Record<string, string>) {
    try {
      const response = await fetch(`${this.url}/v1/generations`, { method: 'POST', body, headers })
      if (response.status === 202) return ((await response.json()) as Shown).id
      await response.arrayBuffer()
      return null
    } catch {
      return null
    }
  }
}
