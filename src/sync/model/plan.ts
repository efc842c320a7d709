/** The plan: a value built before any effect. Made by plan/, executed by session/. */
import type { Entry } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";

export type Side = "alpha" | "beta";
export type Mode = "two-way-safe" | "two-way-resolved" | "one-way-safe" | "one-way-replica";
export const MODES: readonly Mode[] = ["two-way-safe", "two-way-resolved", "one-way-safe", "one-way-replica"];
export type ConflictPolicy = "leave" | "copy" | "alpha" | "beta" | "newer";

/** One change to make on one side. `old` is what must be there still; undefined is absence. */
export type Change = {
  readonly side: Side;
  readonly path: RelPath;
  readonly old: Entry | undefined;
  readonly new: Entry | undefined;
  /**
   * `content`: bytes, kind or target change (or the entry is new) · `metadata`: only metadata is set, no data moves ·
   * `remove`: the entry goes to the trash.
   */
  readonly action: "content" | "metadata" | "remove";
  /** Where on the same side the wanted bytes (or the whole subtree, for a directory) already are. */
  readonly from?: RelPath | undefined;
  /**
   * The file's bytes are damaged; those that both sides agreed on come back from the other side. Content and metadata of
   * `old` and `new` are the same, and what the session does not carry stays as well.
   */
  readonly heals?: true | undefined;
};

/** What a change is called, for people and in records. */
export type ChangeName = "create" | "replace" | "metadata" | "remove" | "heal";

export function nameOfChange({ action, old, new: entry, heals }: Change): ChangeName {
  if (action === "metadata") return "metadata";
  if (entry === undefined) return "remove";
  return heals === true ? "heal" : old === undefined ? "create" : "replace";
}

/** A subtree that only changed its name: performed on `side` as one rename, for a file or a whole directory. */
export type Move = {
  readonly side: Side;
  readonly from: RelPath;
  readonly to: RelPath;
  /** Entries in it, itself included; at least 1. */
  readonly count: number;
  /**
   * The loser of a conflict is put aside under another name before the winner takes `from`: nothing is agreed at
   * either path, so the ancestor forgets `from` with everything below and gets nothing at `to`.
   */
  readonly aside?: boolean | undefined;
};

export type Conflict = {
  readonly path: RelPath;
  readonly reason:
    | "both-changed" // different new content on both sides
    | "kind" // a file against a directory or link
    | "delete-against-change" // only where the mode forbids content to win by itself
    | "untracked"; // ignored or special content stands in the way
  readonly ancestor: Entry | undefined;
  readonly alpha: Entry | undefined;
  readonly beta: Entry | undefined;
};

/** The two sides agree at `path` although the ancestor says otherwise: only the ancestor is corrected. */
export type Agreement = { readonly path: RelPath; readonly entry: Entry | undefined };

export type PlanCounts = {
  /** Per side: entries created, content replaced, metadata only, removed, moved. */
  alpha: SideCounts;
  beta: SideCounts;
};
export type SideCounts = {
  creates: number;
  replaces: number;
  metadata: number;
  removes: number;
  moves: number;
  /** Bytes of file content that must be brought to that side, before delta and reuse. */
  bytes: number;
};

export type Plan = {
  /** In path order; parents before children. Removes too: the executor reverses them. */
  readonly changes: readonly Change[];
  readonly moves: readonly Move[];
  readonly conflicts: readonly Conflict[];
  readonly agreements: readonly Agreement[];
  /** Paths left alone because a side is unknown there. */
  readonly blocked: readonly Problem[];
  readonly counts: PlanCounts;
};
