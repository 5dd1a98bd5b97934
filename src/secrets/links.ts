import type { Config } from '../config.ts'
import { macs } from './mac.ts'
import type { Deps } from '../deps.ts'

/** Callback URLs: how they are made, what proves them, and what must not be shown of them. */
export function callbackCapability({
  callbackSecrets,
  linkSecrets,
  publicUrl,
  modelsLab: { apiKey },
}: Config): Pick<Deps, 'callbackUrl' | 'verifiesCallback' | 'secretsOf'> {
  const capability = macs('callback', callbackSecrets)
  return {
    callbackUrl: (id) => `${publicUrl}/callbacks/${id}/${capability.sign(id)}`,
    verifiesCallback: capability.verifies,
    secretsOf: (id) => [apiKey, ...linkSecrets, ...capability.accepted(id)],
  }
}

/** What makes a record ours, and proves it. Where there is no secret, nothing does. */
export function recordCapability({
  linkSecrets,
}: Pick<Config, 'linkSecrets'>): Pick<Deps, 'signRecord' | 'verifiesRecord'> {
  if (linkSecrets.length === 0) return { signRecord: null, verifiesRecord: () => false }
  const { sign, verifies } = macs('record', linkSecrets)
  return { signRecord: sign, verifiesRecord: verifies }
}

/** Everything in the settings that no log may show. */
export const secretsIn = ({
  modelsLab: { apiKey },
  callbackSecrets,
  linkSecrets,
  tokens,
}: Config) => [
  apiKey,
  ...callbackSecrets,
  ...linkSecrets,
  ...tokens.flatMap(({ secret }) => ('token' in secret ? [secret.token] : [])),
]
