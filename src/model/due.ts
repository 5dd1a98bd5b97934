/**
 * Every kind of work that comes due. The ledger says when each is due (`ledger/due.ts`), the verbs
 * say what is done then (`work/due.ts`); a kind that one of them lacks does not compile.
 */
export type DueKind = 'spooled' | 'unanswered' | 'overdue' | 'image' | 'held' | 'fetch' | 'record'
