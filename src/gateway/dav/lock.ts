/** What locks mean (RFC 4918 §6, §7), as values. Pure. */
import { type RelPath, isWithin } from "#model/path.ts";

export type Lock = {
  /** A URI. */
  readonly token: string;
  readonly path: RelPath;
  /** Also for everything below the path. */
  readonly isDeep: boolean;
  readonly isExclusive: boolean;
  /** Principal that made it; only its requests may use the token. */
  readonly user: string;
  /** XML of what the client says of itself; "" when it said nothing. */
  readonly owner: string;
  readonly timeoutSeconds: number;
  readonly expiresMs: number;
};

/** A path that a request changes. */
export type Touched = {
  readonly path: RelPath;
  /** With everything below it. */
  readonly isTree: boolean;
};

export const covers = (lock: Lock, path: RelPath): boolean =>
  lock.path === path || (lock.isDeep && isWithin(path, lock.path));

/**
 * Locks that stand in the way of changes: each path that is touched needs the token of its exclusive lock, or of one of
 * its shared ones, and the token must be the caller's own.
 */
export function locksInTheWay(
  locks: readonly Lock[],
  touched: readonly Touched[],
  tokens: ReadonlySet<string>,
  user: string,
): Lock[] {
  const paths = new Set<RelPath>();
  for (const { path, isTree } of touched) {
    paths.add(path);
    if (isTree) for (const lock of locks) if (isWithin(lock.path, path)) paths.add(lock.path);
  }
  const found = new Set<Lock>();
  for (const path of paths) {
    const covering = locks.filter((lock) => covers(lock, path));
    const isHeld = covering.some((lock) => lock.user === user && tokens.has(lock.token));
    if (!isHeld) for (const lock of covering) found.add(lock);
  }
  return [...found];
}

/** Locks beside which a new one cannot be. */
export function locksAgainst(locks: readonly Lock[], wanted: Pick<Lock, "path" | "isDeep" | "isExclusive">): Lock[] {
  const meets = (lock: Lock): boolean =>
    covers(lock, wanted.path) || (wanted.isDeep && isWithin(lock.path, wanted.path));
  return locks.filter((lock) => meets(lock) && (wanted.isExclusive || lock.isExclusive));
}

/** Seconds that a client gets for what it asks for in its Timeout header. */
export function timeoutOf(header: string | null, most: number, usual: number): number {
  for (const part of (header ?? "").split(",")) {
    const match = /^\s*(?:Second-(\d{1,10})|(Infinite))\s*$/i.exec(part);
    if (match !== null) return match[2] === undefined ? Math.max(1, Math.min(most, Number(match[1]))) : most;
  }
  return usual;
}
