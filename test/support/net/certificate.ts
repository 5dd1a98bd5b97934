import { generateKeyPairSync, sign } from 'node:crypto'

/**
 * A self-signed certificate for one name, made for one test: X.509 (RFC 5280) in just enough DER.
 */
export function certificateFor(hostname: string) {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const name = sequence(der(0x31, sequence(OID_COMMON_NAME, der(0x0c, Buffer.from(hostname)))))
  const toBeSigned = sequence(
    der(0xa0, integer(2)),
    integer(1),
    ECDSA_WITH_SHA256,
    name,
    sequence(utcTime('200101000000Z'), utcTime('491231235959Z')),
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(
      0xa3,
      sequence(sequence(OID_ALT_NAME, der(0x04, sequence(der(0x82, Buffer.from(hostname)))))),
    ),
  )
  const signature = der(0x03, Buffer.from([0]), sign('sha256', toBeSigned, privateKey))
  const certificate = sequence(toBeSigned, ECDSA_WITH_SHA256, signature).toString('base64')
  return {
    cert: `-----BEGIN CERTIFICATE-----\n${certificate.replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`,
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
}

const OID_COMMON_NAME = Buffer.from('0603550403', 'hex')
const OID_ALT_NAME = Buffer.from('0603551d11', 'hex')
const ECDSA_WITH_SHA256 = Buffer.from('300a06082a8648ce3d040302', 'hex')

function der(tag: number, ...parts: Uint8Array[]) {
  const contents = Buffer.concat(parts)
  const { length } = contents
  const header = length < 128 ? [tag, length] : [tag, 0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from(header), contents])
}

function sequence(...parts: Uint8Array[]) {
  return der(0x30, ...parts)
}

function integer(value: number) {
  return der(0x02, Buffer.from([value]))
}

function utcTime(value: string) {
  return der(0x17, Buffer.from(value))
}
