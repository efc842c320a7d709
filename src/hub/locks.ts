/**
 * Locks of versions: who may take the content of a version away for good, and when. A lock never keeps anybody from making
 * another version of the path, or from removing it: what it protects is what was there.
 *
 * - A term ends at a time by the hub's own clock, and by no other: what a host, an agent or a client thinks the time is
 *   plays no part. A clock that goes back makes terms longer.
 * - "governance": who has the right to bypass may shorten or end it. "compliance": nobody, it only gets longer.
 * - A hold lasts until somebody takes it off.
 *
 * Pure. Enforced where content is dropped, in the same transaction: hub/meta/purge.ts, expire.ts, spaces.ts.
 */
export const LOCK_MODES = ["governance", "compliance"] as const;
export type LockMode = (typeof LOCK_MODES)[number];

export type LockTerm = { readonly mode: LockMode; readonly untilMs: number };
export type VersionLock = { readonly term: LockTerm | undefined; readonly hold: boolean };

/** How long new versions are locked for. */
export type LockPeriod = { readonly mode: LockMode; readonly unit: "days" | "years"; readonly count: number };
/** A space with this keeps locks; it cannot be taken away again. */
export type SpaceLock = { readonly period: LockPeriod | undefined };

export const LOCK_DAYS_MAX = 36_500;
export const LOCK_YEARS_MAX = 100;
const DAY_MS = 24 * 3_600_000;
/** The year 10000: what is written down ends before it. */
export const LOCK_UNTIL_MS_MAX = Date.UTC(9999, 11, 31);

export const NO_LOCK: VersionLock = { term: undefined, hold: false };

export function isLocked({ term, hold }: VersionLock, nowMs: number): boolean {
  return hold || (term !== undefined && term.untilMs > nowMs);
}

export function termOf({ mode, unit, count }: LockPeriod, fromMs: number): LockTerm {
  if (unit === "days") return { mode, untilMs: fromMs + count * DAY_MS };
  const until = new Date(fromMs);
  until.setUTCFullYear(until.getUTCFullYear() + count);
  return { mode, untilMs: until.getTime() };
}

/** What a new version gets: what was asked for, else what its space gives to all. Undefined: no lock. */
export function lockOfNew(space: SpaceLock | undefined, asked: VersionLock | undefined, nowMs: number): VersionLock | undefined {
  if (space === undefined) return undefined;
  const term = asked?.term ?? (space.period === undefined ? undefined : termOf(space.period, nowMs));
  const hold = asked?.hold ?? false;
  return term === undefined && !hold ? undefined : { term, hold };
}

/** Why a term may not become another one; undefined: it may. */
export function termFault(
  old: LockTerm | undefined,
  next: LockTerm | undefined,
  nowMs: number,
  mayBypass: boolean,
): string | undefined {
  if (next !== undefined && !(next.untilMs > nowMs)) return "a lock ends in the future, by the hub's clock";
  if (next !== undefined && next.untilMs > LOCK_UNTIL_MS_MAX) return "a lock ends before the year 10000";
  if (old === undefined || old.untilMs <= nowMs) return undefined;
  const isLonger = next !== undefined && next.mode === old.mode && next.untilMs >= old.untilMs;
  if (isLonger || (old.mode === "governance" && mayBypass)) return undefined;
  return old.mode === "governance"
    ? `it is locked until ${timeText(old.untilMs)}, which only who may bypass it can shorten`
    : `it is locked until ${timeText(old.untilMs)} for compliance, which nobody can shorten`;
}

/** Why a version may not lose its content; undefined: it may. */
export function lockFault({ term, hold }: VersionLock, nowMs: number, mayBypass: boolean): string | undefined {
  if (hold) return "it is under a legal hold";
  return termFault(term, undefined, nowMs, mayBypass);
}

const timeText = (ms: number): string => new Date(ms).toISOString();
