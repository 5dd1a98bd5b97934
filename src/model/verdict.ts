export const NSFW_VERDICTS = ['flagged', 'clear', 'unknown'] as const
/** Silence is `unknown`, never `clear`. */
export type NsfwVerdict = (typeof NSFW_VERDICTS)[number]

/**
 * `flagged` if any report says so, else `clear` if any does: the order of the reports does not
 * matter.
 */
export function withReport(
  current: { verdict: NsfwVerdict; disputed: boolean },
  reported: NsfwVerdict,
) {
  const said = (verdict: NsfwVerdict) =>
    reported === verdict ||
    current.verdict === verdict ||
    (current.disputed && verdict !== 'unknown')
  const verdict: NsfwVerdict = said('flagged') ? 'flagged' : said('clear') ? 'clear' : 'unknown'
  return { verdict, disputed: said('flagged') && said('clear') }
}
