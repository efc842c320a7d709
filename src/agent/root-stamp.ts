/**
 * Tells a root that was put back from a backup from one that people edited. A random stamp is kept in the root's private
 * directory and beside the session's state, and drawn anew every hour: a root, or a state, that comes back from earlier
 * brings an earlier stamp. What the root holds is then old, not new, so everything is compared, as for the first time.
 */
import { PRIVATE_DIR } from "#model/path.ts";
import type { Side } from "#model/plan.ts";
import { type Fd, type FileSystem, isCode } from "#platform/file-system.ts";
import type { Clock, Random } from "#platform/host.ts";
import { diskError } from "#sync/endpoint/disk-error.ts";
import type { Store } from "#sync/index/store.ts";
import { SessionState } from "#sync/session/state.ts";
import type { SumSeeds } from "#sync/endpoint/endpoint.ts";

/** A backup that is younger than this may pass for the root itself. */
export const STAMP_MS = 60 * 60_000;
/** While the root is not marked yet. */
const FIRST_MS = 2000;
const STAMP_BYTES = 16;
const STAMP = /^[0-9a-f]{32}$/;
/** Where the session's state keeps it: the stamps that the root may have, 16 bytes each, one or two. */
const TABLE = "stamp";
const KEY = "accepted";
/** Refusals that will be the same another time. */
const NOT_FOR_US = ["ENOENT", "ENOTDIR", "ELOOP", "EACCES", "EPERM"] as const;

export type StampContext = {
  readonly fs: FileSystem;
  readonly clock: Clock;
  readonly random: Random;
  readonly root: string;
  readonly store: Store;
  /** Roots may be linked to more than one hub: each session has a stamp of its own. */
  readonly sessionId: string;
};

const fileOf = ({ sessionId }: StampContext): string => `stamp-${sessionId.slice(0, 16)}`;

/**
 * Before a session: forgets what was agreed when root and state are not of the same time. Returns whether it did. A root
 * that is not there, or not for us, is left to the session, which says better what is wrong with it.
 * @param side that the root is of: in conflicts the other one's files stand
 * @throws {SynclineError} DISK where the stamp cannot be read now: a session that begins draws another one, and nothing would
 *   tell any more that the root was put back
 */
export function forgetIfRestored(context: StampContext, seeds: SumSeeds, side: Side): boolean {
  const { random, store } = context;
  const accepted = acceptedStamps(store);
  const found = lookAt(context);
  if (accepted.length === 0 || found === undefined || accepted.includes(found.stamp)) return false;
  const state = new SessionState(store, random, seeds);
  store.transaction({ durable: true }, () => {
    state.reset();
    state.restored = side;
    // Once: what is told from here on outlives the process. While a full disk refuses the root another stamp, each further
    // start would take it for restored anew, and what people had changed since for old files.
    accept(store, STAMP.test(found.stamp) ? [found.stamp] : []);
  });
  return true;
}

function lookAt(context: StampContext): { readonly stamp: string } | undefined {
  const { fs, root } = context;
  try {
    return inPrivateDir(fs, root, (dir) => readStamp(fs, dir, fileOf(context)));
  } catch (error) {
    throw diskError("see whether it was put back from a backup", root, error);
  }
}

/** While a session runs: draws the stamp anew, at once and then every STAMP_MS. Trouble with it is left for next time. */
export async function keepStamping(context: StampContext, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const isStamped = await stampAnew(context).catch(() => false);
    await context.clock.sleep(isStamped ? STAMP_MS : FIRST_MS, signal).catch(() => undefined);
  }
}

/**
 * False while there is no private directory (a root that is only read gets none, and has no stamp), and while what it
 * holds cannot be read.
 */
async function stampAnew(context: StampContext): Promise<boolean> {
  const { fs, random, root, store } = context;
  const next = Buffer.from(random.bytes(STAMP_BYTES)).toString("hex");
  const written = inPrivateDir(fs, root, async (dir) => {
    const there = await stampThere(context, dir);
    if (there === undefined) return false;
    // Both are good until the root surely has the new one. Before the first there is none that could be wrong.
    if (there.length > 0) accept(store, [...there, next]);
    await writeStamp(fs, dir, fileOf(context), next);
    accept(store, [next]);
    return true;
  });
  return (await written) ?? false;
}

/**
 * The accepted stamp that the root has, none, or undefined when that cannot be read. Where a drawing was cut off, by a
 * crash or a full disk, the later one of two may never have come to the root: to keep that one would, were the next
 * drawing cut off too, let the root pass for a restored one, and people's edits for old files.
 */
async function stampThere(context: StampContext, dir: Fd): Promise<string[] | undefined> {
  const accepted = acceptedStamps(context.store);
  if (accepted.length < 2) return accepted;
  // A name that was just put there may still be lost with the power.
  await context.fs.sync(dir);
  const found = readStamp(context.fs, dir, fileOf(context));
  return found && accepted.filter((one) => one === found.stamp);
}

function acceptedStamps(store: Store): string[] {
  const text = Buffer.from(store.table(TABLE).get(KEY) ?? []).toString("hex");
  return text.match(/.{32}/g) ?? [];
}

function accept(store: Store, stamps: readonly string[]): void {
  store.transaction({ durable: true }, () => store.table(TABLE).set(KEY, Buffer.from(stamps.join(""), "hex")));
}

/** Runs `body` on the root's private directory; undefined when there is none for us. It stays open until what `body` returns is done. */
function inPrivateDir<T>(fs: FileSystem, root: string, body: (dir: Fd) => T): T | undefined {
  let top: Fd | undefined;
  let dir: Fd;
  try {
    top = fs.openRoot(root);
    dir = fs.openDir(top, PRIVATE_DIR);
  } catch (error) {
    if (!isCode(error, ...NOT_FOR_US)) throw error;
    return undefined;
  } finally {
    if (top !== undefined) fs.close(top);
  }
  let result: T;
  try {
    result = body(dir);
  } catch (error) {
    fs.close(dir);
    throw error;
  }
  if (!(result instanceof Promise)) fs.close(dir);
  else void result.finally(() => fs.close(dir)).catch(() => undefined);
  return result;
}

/** `stamp` is undefined when there is none, or none that is ours. */
function readStamp(fs: FileSystem, dir: Fd, name: string): { readonly stamp: string } | undefined {
  let fd: Fd;
  try {
    fd = fs.openRead(dir, name);
  } catch (error) {
    // A marked root without a stamp is of a time before it had one.
    if (isCode(error, "ENOENT")) return { stamp: "" };
    if (!isCode(error, ...NOT_FOR_US)) throw error;
    return undefined;
  }
  try {
    const bytes = new Uint8Array(STAMP_BYTES * 2 + 1);
    return { stamp: Buffer.from(bytes.subarray(0, fs.read(fd, bytes, 0))).toString("latin1").trim() };
  } finally {
    fs.close(fd);
  }
}

async function writeStamp(fs: FileSystem, dir: Fd, name: string, stamp: string): Promise<void> {
  const aside = `${name}.new`;
  try {
    fs.unlink(dir, aside);
  } catch (error) {
    if (!isCode(error, "ENOENT")) throw error;
  }
  const fd = fs.create(dir, aside, 0o600);
  try {
    fs.write(fd, Buffer.from(`${stamp}\n`), 0);
    await fs.sync(fd);
  } finally {
    fs.close(fd);
  }
  fs.rename(dir, aside, dir, name, { replace: true });
  await fs.sync(dir);
}
