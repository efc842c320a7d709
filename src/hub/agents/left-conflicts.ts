/** Conflicts that a link with `conflict=leave`, or one that cannot do otherwise, leaves on both sides: as agents tell them. */
import { z } from "zod";
import { pathFault } from "#model/path.ts";

/** Conflicts of one link that are told, and the characters that they may take together: one message. */
export const CONFLICTS_TOLD_MAX = 500;
export const CONFLICTS_CHARS_MAX = 256 << 10;

/**
 * What stays at the path when a person decides: what the space has there, what the loser holds (a conflict copy, or what
 * the host of a left conflict has), or both, one of them under another name.
 */
export const KEEPS = ["current", "copy", "both"] as const;
export type Keep = (typeof KEEPS)[number];

/** In the root of a link. */
export const LEFT_PATH = z.string().refine((path) => pathFault(path) === undefined, "no path that can be used");
/** Of a conflict as it is: another one once either side has changed. */
export const LEFT_TAG = z.string().regex(/^[0-9a-f]{16}$/);

const LEFT_SIDE = z.strictObject({
  kind: z.enum(["file", "dir", "symlink", "other"]),
  size: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).nullable(),
  mtimeMs: z.number().int().nullable(),
});
export type LeftSide = z.infer<typeof LEFT_SIDE>;

export const LEFT_CONFLICT = z.strictObject({
  path: LEFT_PATH,
  reason: z.enum(["both-changed", "kind", "delete-against-change", "untracked"]),
  /** Null: nothing is there. */
  host: LEFT_SIDE.nullable(),
  space: LEFT_SIDE.nullable(),
  tag: LEFT_TAG,
});
export type LeftConflict = z.infer<typeof LEFT_CONFLICT>;

export type LeftConflicts = { readonly conflicts: readonly LeftConflict[]; readonly total: number };
