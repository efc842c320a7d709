/** What of a refused request the hub's log says, the same at all doors. */
import { SynclineError, stackOf } from "#model/error.ts";
import { ApiProblem } from "#gateway/api/problem.ts";

/** Is it trouble of the hub? What has to wait, and what is full by a limit that people set, is none. */
export function isTrouble(status: number, code: string): boolean {
  return status >= 500 && code !== "BUSY" && code !== "QUOTA";
}

/** What the hub's surroundings refuse is said in words; a fault of the program with where it happened. */
export function troubleText(error: unknown): string {
  if (error instanceof SynclineError && error.code !== "INTERNAL") {
    return error.path === undefined ? error.message : `${error.message} (${error.path})`;
  }
  if (error instanceof ApiProblem) return error.message;
  return stackOf(error);
}

/** Below this part of a disk commits may be refused at any time. The alert rules say the same. */
const FREE_PART_MIN = 0.02;

/** Undefined while there is room. */
export function diskWarning({ freeBytes, totalBytes }: { readonly freeBytes: number; readonly totalBytes: number }): string | undefined {
  if (freeBytes >= totalBytes * FREE_PART_MIN) return undefined;
  const [free, total] = [freeBytes, totalBytes].map((bytes) => Math.floor(bytes / 1e6));
  return `the disk of the hub is full: ${free} MB of ${total} MB are left; make room, or commits are refused`;
}
