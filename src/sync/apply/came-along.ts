/**
 * What appeared together with a directory that was staged whole. The intent names the directory alone, so after a crash
 * its entries are found on the disk; without them the run could not be taken back.
 */
import type { Entry } from "#model/entry.ts";
import { type RelPath, joinPath, nameOf } from "#model/path.ts";
import { type Stat, isCode, isNotThere } from "#platform/file-system.ts";
import type { ApplyContext } from "#sync/apply/apply-context.ts";
import type { RunItem } from "#sync/apply/run-journal.ts";

/**
 * Items for everything below a placed directory, parents first. What is younger than the intent was put there by
 * somebody else since; only directories are listed anyway, because taking one back never removes what is in it.
 */
export function cameAlong(context: ApplyContext, item: RunItem, intentMs: number): RunItem[] {
  const items: RunItem[] = [];
  if (item.new?.kind === "dir" && item.stage !== "") collect(context, item.path, intentMs, items);
  return items;
}

function collect(context: ApplyContext, dir: RelPath, intentMs: number, items: RunItem[]): void {
  for (const { name } of listed(context, dir)) {
    const path = joinPath(dir, name);
    const stat = context.root.statIfThere(path);
    if (stat === undefined) continue;
    const entry = entryOf(stat, context, path);
    if (entry === undefined) continue;
    if (entry.kind !== "dir" && Number(stat.ctimeNs) / 1e6 > intentMs) continue;
    items.push({
      path,
      action: "create",
      from: "",
      trash: "",
      stage: "",
      old: undefined,
      oldIno: 0n,
      new: entry,
      newIno: stat.ino,
    });
    if (entry.kind === "dir") collect(context, path, intentMs, items);
  }
}

function listed({ root }: ApplyContext, dir: RelPath): readonly { readonly name: string }[] {
  try {
    return root.list(dir);
  } catch (error) {
    if (isNotThere(error) || isCode(error, "EACCES", "EIO")) return [];
    throw error;
  }
}

/** As far as taking it back needs it; the sum is not known. */
function entryOf(stat: Stat, { root }: ApplyContext, path: RelPath): Entry | undefined {
  const { kind, mode, size, mtimeNs } = stat;
  if (kind === "dir") return { kind, mode };
  if (kind === "file") return { kind, mode, size, mtimeNs, sum: undefined };
  return kind === "symlink" ? { kind, target: root.fs.readlink(root.parent(path), nameOf(path)) } : undefined;
}
