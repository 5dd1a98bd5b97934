/** What the provider says of one field, or of the whole request. */
export type RefusalMessage = string | Record<string, string[]>

/** A request that the provider turns down, readably: answered in its error shape. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly body: { status: 'error'; message: RefusalMessage }

  constructor(message: RefusalMessage) {
    super(typeof message === 'string' ? message : JSON.stringify(message))
    this.body = { status: 'error', message }
  }
}
