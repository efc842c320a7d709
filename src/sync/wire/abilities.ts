/** Optional abilities that a side greets with, by number. Numbers are never used again for another one. */

/** Its endpoints may tell of files that are coming: the calls "coming" and "supply-coming". */
export const TELLS_COMING = 1;

/** Its endpoints may tell which trace something belongs to: the call "traces". */
export const TELLS_TRACES = 2;

/** Its endpoints make durable what they have told of when they are asked to: the call "vouch". */
export const VOUCHES = 3;

export const OWN_ABILITIES = Uint8Array.of(TELLS_COMING, TELLS_TRACES, VOUCHES);
