/**
 * A directory whose mode keeps even its owner from changing what is in it (0555) gets the owner's bits for the moment of
 * one step. Its mode is in the journal, durably, before it is touched: after a crash recovery gives it back, and nobody
 * takes the lent one for a change of the user's.
 */
import { type Fd, type Stat, isCode, isNotThere } from "#platform/file-system.ts";
import { type RelPath, nameOf } from "#model/path.ts";
import type { ApplyContext } from "#sync/apply/apply-context.ts";

/** What the owner of a directory needs to change what is in it. */
const OWNER_MAY_CHANGE = 0o300;

/** A directory that a step changes; `movesTo`: it is itself what moves, and may be found there after a crash. */
export type Changed = { readonly dir: RelPath; readonly movesTo?: RelPath };

type Lent = { readonly fd: Fd; readonly mode: number };

/**
 * Runs `step`; where the system refuses it and a directory's mode may be why, runs it once more with that mode lent. So
 * a step must not have done anything when it is refused with EACCES.
 */
export function withLentModes<T>(context: ApplyContext, changed: readonly Changed[], step: () => T): T {
  try {
    return step();
  } catch (error) {
    if (!isCode(error, "EACCES")) throw error;
    const lent: Lent[] = [];
    try {
      for (const one of changed) lend(context, one, lent);
      if (lent.length === 0) throw error;
      return step();
    } finally {
      giveBack(context, lent);
    }
  }
}

function lend(context: ApplyContext, { dir, movesTo }: Changed, lent: Lent[]): void {
  const { fs } = context.host;
  const { root } = context;
  // A descriptor of its own: the step may move the directory, or have the cached one closed.
  const fd = dir === "" ? root.root : fs.openDir(root.parent(dir), nameOf(dir));
  let isLent = false;
  try {
    const stat = fs.fstat(fd);
    if ((stat.mode & OWNER_MAY_CHANGE) === OWNER_MAY_CHANGE) return;
    note(context, dir, stat);
    if (movesTo !== undefined) note(context, movesTo, stat);
    fs.chmod(fd, stat.mode | OWNER_MAY_CHANGE);
    lent.push({ fd, mode: stat.mode });
    isLent = true;
  } catch (error) {
    // It belongs to somebody else: then the first refusal is what there is to say.
    if (!isCode(error, "EPERM", "EROFS")) throw error;
  } finally {
    if (!isLent && fd !== root.root) fs.close(fd);
  }
}

function note({ journal, store, durable }: ApplyContext, dir: RelPath, { mode, ino }: Stat): void {
  if (journal.lentMode(dir)?.ino === ino) return;
  store.transaction({ durable: durable !== "none" }, () => journal.addLentMode(dir, { mode, ino }));
}

function giveBack({ host, root }: ApplyContext, lent: readonly Lent[]): void {
  for (const { fd, mode } of lent) {
    try {
      host.fs.chmod(fd, mode);
    } finally {
      if (fd !== root.root) host.fs.close(fd);
    }
  }
}

/** After a crash: a directory that still has the mode that was lent gets its own back. */
export async function recoverLentModes(context: ApplyContext): Promise<void> {
  const { journal, root, host, store } = context;
  const lent = [...journal.lentModes()];
  if (lent.length === 0) return;
  for (const [dir, { mode, ino }] of lent) {
    try {
      const fd = root.dir(dir);
      const stat = host.fs.fstat(fd);
      if (stat.ino === ino && stat.mode === (mode | OWNER_MAY_CHANGE)) host.fs.chmod(fd, mode);
    } catch (error) {
      if (!isNotThere(error) && !isCode(error, "EACCES", "EPERM")) throw error;
    }
  }
  // A power loss may take the own one back: then it has to be known still that the other was lent.
  await context.names.everything();
  store.transaction({ durable: true }, () => journal.clearLentModes());
}
