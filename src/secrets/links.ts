import type { Config } from '../config.ts'
import { macs } from './mac.ts'
import type { Deps } from '../deps.ts'

/** Callback URLs: how they are made, what proves them, and what must not be shown of them. */
export function callbackCapability({
  callbackSecrets,
  publicUrl,
  modelsLab: { apiKey },
}: Config): Pick<Deps, 'callbackUrl' | 'verifiesCallback' | 'secretsOf'> {
  const capability = macs('callback', callbackSecrets)
  return {
    callbackUrl: (id) => `${publicUrl}/callbacks/${id}/${capability.sign(id)}`,
    verifiesCallback: capability.verifies,
    secretsOf: (id) => [apiKey, ...capability.accepted(id)],
  }
}

/** Everything in the settings that no log may show. */
export const secretsIn = ({ modelsLab: { apiKey }, callbackSecrets, tokens }: Config) => [
  apiKey,
  ...callbackSecrets,
  ...tokens.flatMap(({ secret }) => ('token' in secret ? [secret.token] : [])),
]
