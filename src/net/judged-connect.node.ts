import { lookup } from 'node:dns/promises'
import { isIP, type LookupFunction, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import ipaddr from 'ipaddr.js'
import { buildConnector } from 'undici'
import { ImageFailure } from '../errors.ts'
import { isPublicUnicast } from './address.ts'

/** Every address of a name. Rejects where it has none. */
export type Resolve = (hostname: string) => Promise<readonly string[]>

export interface JudgedConnectOptions {
  /** Exact origins whose addresses are not judged. */
  allowedPrivateOrigins: ReadonlySet<string>
  resolve: Resolve
  /** Those of this machine: never reached, however public. Asked for at every connection. */
  ownAddresses: () => readonly string[]
  /** For looking up the name and connecting together; undici's timers may be a second late. */
  connectTimeoutMs: number
  /** Certificates to trust in place of the system's (PEM). */
  ca?: string
}

export const resolveBySystem: Resolve = async (hostname) => {
  const answers = await lookup(hostname, { all: true })
  return answers.map(({ address }) => address)
}

/** The addresses of this machine as of now: an interface may come or go. */
export const addressesOfSystem = () =>
  Object.values(networkInterfaces()).flatMap((interfaces = []) =>
    interfaces.map(({ address }) => address),
  )

type IsAllowed = (address: string) => boolean

/**
 * Opens connections to judged addresses only. The name is looked up once, here, and what was judged
 * is what is connected to, so that a name cannot answer differently the second time (DNS
 * rebinding).
 */
export function judgedConnector(options: JudgedConnectOptions): buildConnector.connector {
  const isAllowed: IsAllowed = (address) =>
    isPublicUnicast(address) && !isOwn(address, options.ownAddresses())
  const toPublic = connectorVia(judging(options.resolve, isAllowed), options)
  const toAny = connectorVia(options.resolve, options)
  return (target, callback) => {
    if (options.allowedPrivateOrigins.has(originOf(target))) {
      toAny(target, callback)
    } else if (isIP(target.hostname) !== 0 && !isAllowed(target.hostname)) {
      // Node connects to a literal address without any lookup, so the lookup below never sees it.
      queueMicrotask(() => callback(refusedAddress(target.hostname), null))
    } else {
      toPublic(target, (...[error, socket]) =>
        error ? callback(error, null) : judgePeer(socket, isAllowed, callback),
      )
    }
  }
}

/**
 * A public address of this machine is reached from inside past every firewall, at doors that the
 * world finds shut.
 */
function isOwn(address: string, own: readonly string[]) {
  const plain = ipaddr.parse(address).toNormalizedString()
  return own.some((one) => ipaddr.parse(one).toNormalizedString() === plain)
}

/** Hands the socket on if its other end is allowed, and destroys it if not. */
export function judgePeer(socket: Socket, isAllowed: IsAllowed, callback: buildConnector.Callback) {
  const peer = socket.remoteAddress
  if (peer !== undefined && isAllowed(peer)) {
    callback(null, socket)
    return
  }
  socket.destroy()
  // A socket that closed meanwhile has no peer any more.
  callback(
    peer === undefined ? new ImageFailure('unreachable', 'Closed at once.') : refusedAddress(peer),
    null,
  )
}

function connectorVia(resolve: Resolve, options: JudgedConnectOptions) {
  return buildConnector({
    lookup: lookupVia(resolve),
    timeout: options.connectTimeoutMs,
    autoSelectFamily: true,
    // Node's 250 ms gives up on each of a distant host's addresses but the last.
    autoSelectFamilyAttemptTimeout: 1000,
    ...(options.ca === undefined ? {} : { ca: options.ca }),
  })
}

function judging(resolve: Resolve, isAllowed: IsAllowed): Resolve {
  return async (hostname) => {
    const addresses = await resolve(hostname)
    // One private answer among public ones is refused whole: whoever mixes them waits for us to try
    // the other.
    const refused = addresses.find((address) => !isAllowed(address))
    if (refused !== undefined) throw refusedAddress(`${hostname} (${refused})`)
    return addresses
  }
}

function lookupVia(resolve: Resolve): LookupFunction {
  return (hostname, { all }, callback) => {
    resolve(hostname).then(
      (addresses) => {
        const answers = addresses.map((address) => ({ address, family: isIP(address) }))
        const [first] = answers
        if (first === undefined)
          callback(new ImageFailure('unreachable', `${hostname} has no address.`), '')
        else if (all) callback(null, answers)
        else callback(null, first.address, first.family)
      },
      (error: unknown) => callback(error as Error, ''),
    )
  }
}

function originOf({ protocol, host, hostname }: buildConnector.Options) {
  return new URL(`${protocol}//${host ?? hostname}`).origin
}

function refusedAddress(address: string) {
  return new ImageFailure(
    'refused_address',
    `${address} is not a public address of another machine.`,
    {
      final: true,
    },
  )
}
