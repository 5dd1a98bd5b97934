/** The host that a link names, as fairness between hosts counts it; empty where it is no URL. */
export const hostOf = (url: string) => (URL.canParse(url) ? new URL(url).host : '')
