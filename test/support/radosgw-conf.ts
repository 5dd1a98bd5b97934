/** A key that the gateway encrypts with where it is told to: it stands in its settings. */
export const KMS_KEY = 'key-of-the-tests'

interface Places {
  folder: string
  fsid: string
  port: number
  monitorPort: number
}

/**
 * The smallest Ceph that serves S3: no manager, no authentication between its parts, one copy,
 * nothing on disk but the monitor.
 */
export function cephConf({ folder, fsid, port, monitorPort }: Places) {
  return `
[global]
fsid = ${fsid}
mon host = v1:127.0.0.1:${monitorPort}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = false
osd pool default size = 1
osd pool default min size = 1
osd crush chooseleaf type = 0
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon warn on pool no redundancy = false
mon osd min in ratio = 0
mon cpu threads = 1
mon tick interval = 1
paxos propose interval = 0.02
paxos min wait = 0.01
osd boot grace = 1
osd op num shards = 2
run dir = ${folder}/run
log file = ${folder}/$name.log
admin socket = ${folder}/run/$name.$pid.asok
crash dir = ${folder}/crash
setuser match path =
[mon.a]
mon data = ${folder}/mon
mon cluster log file = ${folder}/cluster.log
mon data avail crit = 1
mon data avail warn = 2
[osd.0]
osd data = ${folder}/osd
osd objectstore = memstore
osd class update on start = false
osd crush update on start = false
memstore device bytes = 4294967296
osd class load list = *
osd class default list = *
[client.rgw.a]
rgw data = ${folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:${port}
rgw dns name = localhost
rgw enable usage log = false
rgw gc obj min wait = 1
rgw run sync thread = false
rgw override bucket index max shards = 1
rgw dynamic resharding = false
rgw thread pool size = 32
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = ${KMS_KEY}=${Buffer.alloc(32, 7).toString('base64')}
`
}
