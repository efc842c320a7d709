/**
 * Where names cannot be swapped, what is to be healed gets its name in the trash first, and that moves its ctime; so does
 * a swap. If the heal then comes to nothing, the new ctime would make an edit of the damage.
 */
import type { RelPath } from "#model/path.ts";
import { FsError, type Stat } from "#platform/file-system.ts";
import type { ApplyContext } from "#sync/apply/apply-context.ts";

/**
 * Where the damaged file has its place still, also under its other names, which are healed after the first: the index
 * knows it by the ctime that it has now. Inside a transaction.
 *
 * @param isOurs was it certainly the heal that moved the ctime? Else the file may have been written, too, and is SUSPECT.
 * @param seen the file under another name, a moment ago; undefined: a look at each name tells
 */
export function keepDamaged(context: ApplyContext, path: RelPath, damagedIno: bigint, isOurs: boolean, seen?: Stat): void {
  for (const name of new Set([path, ...context.links.members(damagedIno)])) keepName(context, name, damagedIno, isOurs, seen);
}

/**
 * After a death that may have come between a call through one name of a file and the record of what it made of the ctime:
 * the other names look edited. The next scan reads them, and what it finds is no edit (SUSPECT). Inside a transaction.
 *
 * @param inos files of which some call may have moved the ctime
 */
export function keepOtherNames(context: ApplyContext, inos: ReadonlySet<bigint>): void {
  if (inos.size === 0) return;
  // A second name that was on its way is in no group yet, so that only the index knows the first.
  for (const [path, { entry, ino }] of context.index.walk("")) {
    if (entry.kind === "file" && inos.has(ino)) keepName(context, path, ino, false);
  }
}

function keepName({ index, root }: ApplyContext, path: RelPath, damagedIno: bigint, isOurs: boolean, seen?: Stat): void {
  const record = index.get(path);
  if (record?.entry.kind !== "file" || record.ino !== damagedIno) return;
  try {
    const stat = seen ?? root.statIfThere(path);
    if (stat === undefined || stat.ino !== damagedIno) return;
    const isSame = stat.size === record.entry.size && stat.mtimeNs === (record.diskMtimeNs ?? record.entry.mtimeNs);
    if (!isSame || stat.ctimeNs === record.ctimeNs) return;
    index.set(path, { ...record, ctimeNs: stat.ctimeNs, ...(isOurs ? undefined : { damaged: true }) });
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    // Who may look again finds a ctime that may be ours or anybody's.
    index.set(path, { ...record, damaged: true });
  }
}
