/**
 * What a first copy does: nothing was ever agreed, one side holds nothing, and all that the other holds comes over. It is
 * what reconcile makes of it, path by path and without a look at anything else, so that it can begin before all is known.
 */
import type { Entry } from "#model/entry.ts";
import type { RelPath } from "#model/path.ts";
import type { Change, Mode, Side } from "#model/plan.ts";

/** Does the mode bring to the other side what `from` alone holds? */
export function carriesFrom(from: Side, mode: Mode): boolean {
  return from === "alpha" || mode === "two-way-safe" || mode === "two-way-resolved";
}

/** Undefined where there is something to decide: the entry cannot be synchronised. */
export function firstCopyOf(side: Side, path: RelPath, entry: Entry): Change | undefined {
  return entry.kind === "other" ? undefined : { side, path, old: undefined, new: entry, action: "content" };
}
