/** The mass-change brake: a plan that would take away too much of a side is held until a person approves it. */
import type { Entry } from "#model/entry.ts";
import type { Plan, Side } from "#model/plan.ts";
import type { Brake } from "#sync/session/events.ts";

/** Without a limit of its own a session holds a plan that removes more than this share of a side … */
export const BRAKE_PERCENT_DEFAULT = 50;
/** … and more than this many entries. */
export const BRAKE_COUNT_DEFAULT = 20;
/**
 * With replacements counted as well, so many pass in any case. Content that is edited all the time is everyday work: a
 * small root of busy files is replaced in whole by every batch over a slow line, and a hold would stop it for good,
 * since its plan is another one whenever a person approves it. What is replaced stays in the trash and in history.
 */
export const BRAKE_REPLACED_COUNT = 1000;
/** A side with fewer entries than this cannot be "emptied": losing its only entry is everyday work. */
export const EMPTIED_ENTRIES_MIN = 2;

/** Entries of each side now, before the plan. */
export type Totals = { readonly [side in Side]: number };

export type Held = { readonly side: Side; readonly reason: string };

/**
 * Why the plan must be held, or undefined. Removals on each side count against the limit; together with replacements
 * they count against the limit, half of the side or BRAKE_REPLACED_COUNT, whichever is the largest. Creations, moves and
 * metadata never trip the brake. Without count and percent the defaults hold; one alone is the whole limit; of two the
 * larger counts. A plan that removes every entry of a side is held whatever the limit.
 *
 * @param recent entries by which earlier plans have made each side smaller lately: they count as part of this one
 */
export function judge(
  plan: Plan,
  brake: Brake | undefined,
  totals: Totals,
  recent: Totals = { alpha: 0, beta: 0 },
): Held | undefined {
  for (const side of ["alpha", "beta"] as const) {
    const { removes, replaces } = plan.counts[side];
    const total = totals[side];
    if (removes >= total && removes >= EMPTIED_ENTRIES_MIN) {
      return { side, reason: `all ${removes} entries of ${side} would be removed` };
    }
    const before = recent[side];
    const limit = limitOf(brake, total + before);
    const also = before === 0 ? "" : `, after ${before} in the last minutes`;
    if (removes > 0 && removes + before > limit) {
      return { side, reason: `${removes} of ${total} entries of ${side} would be removed${also}` };
    }
    const lost = removes + replaces;
    if (replaces > 0 && lost + before > Math.max(limit, limitOf(undefined, total + before), BRAKE_REPLACED_COUNT)) {
      return { side, reason: `${lost} of ${total} entries of ${side} would be removed or replaced${also}` };
    }
  }
  return undefined;
}

/** The largest number of removed and replaced entries that passes. */
function limitOf(brake: Brake | undefined, total: number): number {
  const given = brake?.count !== undefined || brake?.percent !== undefined;
  const count = given ? (brake?.count ?? 0) : BRAKE_COUNT_DEFAULT;
  const percent = given ? (brake?.percent ?? 0) : BRAKE_PERCENT_DEFAULT;
  return Math.max(count, Math.floor((total * percent) / 100));
}

/** Characters hashed at a time, so that the text of a large plan never is one string. */
const HASH_BLOCK_CHARS = 1 << 16;

/**
 * Names exactly the effects of a plan: equal for equal moves and changes, whenever they were planned. `hash` turns text
 * into hex digits (SHA-256, cut to 12 digits, in the session); an approval names the result.
 */
export function planHash(plan: Plan, hash: (text: string) => string): string {
  let block = "plan 1\n";
  const add = (line: string) => {
    block += line;
    if (block.length > HASH_BLOCK_CHARS) block = `${hash(block)}\n`;
  };
  for (const { side, from, to, count, aside } of plan.moves) {
    add(`${JSON.stringify(["move", side, from, to, count, aside === true])}\n`);
  }
  for (const { side, path, action, old, new: wanted } of plan.changes) {
    add(`${JSON.stringify([action, side, path, canonical(old), canonical(wanted)])}\n`);
  }
  return hash(block);
}

function canonical(entry: Entry | undefined): unknown {
  if (entry === undefined) return null;
  if (entry.kind === "other") return ["other", entry.what];
  const { owner: who } = entry;
  const owner = who === undefined ? null : [who.uid, who.gid, who.user, who.group];
  if (entry.kind === "symlink") return ["symlink", entry.target, owner];
  const xattrs = entry.xattrs ?? [];
  if (entry.kind === "dir") return ["dir", entry.mode, owner, xattrs];
  const { size, mode, mtimeNs, sum, linkTo } = entry;
  return ["file", size, mode, String(mtimeNs), sum ?? null, linkTo ?? null, owner, xattrs];
}
