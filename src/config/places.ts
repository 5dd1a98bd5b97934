import { z } from 'zod'
import type { FieldError } from '../errors.ts'

/**
 * What takes a path for something else, and what to do about it. A scheme has two letters or more:
 * one is a drive of Windows. Nothing of the text is quoted: a URL may have a password in it.
 */
const NO_PATHS: [RegExp, string][] = [
  [/^:/u, 'what is only in memory would be gone with the process'],
  [/^file:/iu, 'leave out "file:"'],
  [/^s3:/iu, 'a bucket is named by S3_BUCKET'],
  [/^[a-z][a-z0-9+.-]+:/iu, 'this is a URL, and would be made a folder of that name'],
  [/\?[\w-]+=/u, 'leave out the "?" and what follows it'],
  [/^~/u, 'nobody replaces "~" here: write the folder out'],
]

/** What is wrong with a path, if anything; `example` is a good one. */
export function pathProblem(text: string, example: string): string | undefined {
  const [, advice] = NO_PATHS.find(([form]) => form.test(text)) ?? []
  return advice && `expected a path such as ${example}; ${advice}`
}

/** Where on this machine something is kept. */
export const path = (example: string) =>
  z.string().superRefine((text, context) => {
    const problem = pathProblem(text, example)
    if (problem !== undefined) context.addIssue(problem)
  })

/** The same for a file. */
export const filePath = (example: string) =>
  path(example).refine((text) => !/[/\\]$/u.test(text), `expected a file such as ${example}`)

/** An access point of AWS is named by its ARN. */
export const bucketName = z
  .string()
  .regex(
    /^(?:arn:.+|[a-z0-9][\w.-]*)$/iu,
    'expected the name of a bucket alone, without "s3://", address or folder',
  )

/**
 * The SDK puts the bucket's name before or behind S3_ENDPOINT by itself: given twice, every object
 * is looked for in a bucket, or under a key, that nobody meant. A store may really be called like a
 * bucket in it: with S3_FORCE_PATH_STYLE said, its host counts for nothing.
 */
export function endpointProblems({
  S3_BUCKET: bucket,
  S3_ENDPOINT: endpoint,
  S3_FORCE_PATH_STYLE: forced,
}: Record<string, string | undefined>): FieldError[] {
  if (!bucket || !endpoint || !URL.canParse(endpoint)) return []
  const { hostname, pathname } = new URL(endpoint)
  const name = bucket.toLowerCase()
  const isInPath = pathname.toLowerCase().split('/').includes(name)
  const isInHost =
    hostname.startsWith(`${name}.`) || (name.includes('.') && hostname.endsWith(name))
  const isChosen = /^(?:true|yes|1)$/u.test(forced ?? '')
  if (!isInPath && (!isInHost || isChosen)) return []
  const advice = isInPath
    ? ''
    : '; where its host is really called so, say S3_FORCE_PATH_STYLE=true'
  return [
    {
      pointer: 'S3_ENDPOINT',
      message: `expected the address of the store without its bucket, which S3_BUCKET names${advice}`,
    },
  ]
}
