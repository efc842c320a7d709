/**
 * Damage: a file whose bytes are others than the index knows, though nothing says that anybody wrote them. What became of
 * it is told by a problem, and its content goes nowhere. Certain damage may be healed from the other side; what may also
 * be somebody's edit waits for a person.
 */
import type { Sum } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { Stat } from "#platform/file-system.ts";
import { type IndexRecord, isDamage } from "#sync/index/record-codecs.ts";

/** Codes of damage: certain, so that it can be healed, and what may be an edit as well. */
export const CORRUPT = "CORRUPT";
export const SUSPECT = "SUSPECT";

/**
 * A file whose ctime is younger may have been written once more without a trace: who writes through a mapping moves the
 * times only with the first write to a page after it was last written back. Systems write back after half a minute,
 * laptops after ten.
 */
export const SETTLED_MS = 10 * 60_000;
const NS_PER_MS = 1_000_000;

export type Damage = typeof CORRUPT | typeof SUSPECT;

/**
 * What speaks against the bytes of a file that was read whole while `stat` was true of it; undefined when nothing does, or
 * when they are an edit.
 *
 * @param nowMs the wall clock of the host that read
 */
export function damageOf(record: IndexRecord, stat: Stat, sum: Sum, nowMs: number): Damage | undefined {
  if (!isDamage(record, stat, sum)) return undefined;
  // A record that was found damaged under a new ctime has taken that over: who moved it may have written the file, too.
  const isUntouched = record.ctimeNs === stat.ctimeNs && record.damaged !== true;
  return isUntouched && isSettled(stat, nowMs) ? CORRUPT : SUSPECT;
}

/** Has it been left alone for so long that all writes to it would show? */
export function isSettled(stat: Stat, nowMs: number): boolean {
  return Number(stat.ctimeNs) / NS_PER_MS < nowMs - SETTLED_MS;
}

const MESSAGES: Record<Damage, string> = {
  CORRUPT: "the disk returns other bytes than were there, though nothing says that the file was written",
  SUSPECT:
    "it holds other bytes than were there under the same size and time: damage, or an edit whose time was put back; " +
    "touch it if they are right, otherwise copy the other side's file over it",
};

export function damageProblem(path: RelPath, damage: Damage): Problem {
  return { path, side: "alpha", code: damage, message: MESSAGES[damage], transient: false };
}

/** Is it about a file's bytes alone? Then the path itself is known, and only reading it again clears it. */
export function isDamageCode(code: string): boolean {
  return code === CORRUPT || code === SUSPECT;
}
