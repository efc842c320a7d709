/** When what a foreign system broke off may be tried again. Pure. */
import { SynclineError } from "#model/error.ts";

/** The connection is gone, and not because we have closed it. */
export const isLost = (error: unknown): boolean => error instanceof SynclineError && error.code === "LINK_LOST" && error.retryable;

/** @param tries made so far, this one among them */
export const mayTryAgain = (error: unknown, tries: number, triesMax: number, signal: AbortSignal): boolean =>
  isLost(error) && tries < triesMax && !signal.aborted;
