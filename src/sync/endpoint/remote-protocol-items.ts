/**
 * Lists of the protocol: observations, problems, paths, file contents, changes, results. A list is cut into messages
 * by count and size; where an answer belongs to something asked, it carries the index of that and not a path, so it
 * cannot name anything else.
 */
import { SynclineError } from "#model/error.ts";
import type { Entry, FileEntry } from "#model/entry.ts";
import type { Observation, Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { Change } from "#model/plan.ts";
import {
  type ApplyOp,
  BATCH_BYTES_MAX,
  BATCH_ITEMS_MAX,
  type OpResult,
  type ReadItem,
  type RunChange,
  type RunRecord,
  type TransferItem,
  type TransferResult,
} from "#sync/endpoint/endpoint.ts";
import {
  ITEMS,
  PROBLEMS,
  checkRunId,
  readChoice,
  readPath,
  readProblem,
  readProblemOf,
  writeChoice,
  writeProblem,
} from "#sync/endpoint/remote-protocol.ts";
import { CANDIDATES_MAX } from "#sync/transfer/limits.ts";
import { takeBuffer } from "#sync/wire/buffer-pool.ts";
import { type ByteReader, ByteWriter, malformed } from "#sync/wire/bytes.ts";
import { MESSAGE_BYTES_MAX } from "#sync/wire/channel.ts";
import { readEntry, writeEntry } from "#sync/wire/entry-codec.ts";

const STATES: readonly Observation["state"][] = ["present", "absent", "ignored"];
const ACTIONS: readonly Change["action"][] = ["content", "metadata", "remove"];
const RUN_ACTIONS: readonly RunChange["action"][] = ["create", "replace", "metadata", "remove", "move", "heal"];
const STATUSES: readonly OpResult["status"][] = ["done", "stale", "failed"];
const SIDES: readonly Change["side"][] = ["alpha", "beta"];

/** Bits of an op's first byte, over the type. */
const OP_CHANGE = 0;
const OP_MOVE = 1;
const OP_HAS_FROM = 2;
const OP_HAS_BYTES = 4;
const OP_ASIDE = 8;
const OP_HEALS = 16;

/** Bits of a result's first byte, over the status in the low two. */
const AS_ASKED = 4;
const HAS_PROBLEM = 8;

/** Longest field overhead of one item beside its texts and bytes. */
const ITEM_WEIGHT = 128;

/** One writer for all lists: it has grown to the size of a message once, and pack() never calls itself. */
const packer = new ByteWriter(MESSAGE_BYTES_MAX);

/**
 * Cuts a list into messages. `weigh` is an upper bound of what `write` writes; an item never exceeds a message because
 * its parts have limits of their own, and content beyond BATCH_BYTES_MAX throws LIMIT.
 */
export function pack<T>(
  tag: number,
  items: readonly T[],
  weigh: (item: T) => number,
  write: (w: ByteWriter, item: T) => void,
): Uint8Array[] {
  const messages: Uint8Array[] = [];
  const w = packer;
  w.reset();
  w.u8(tag);
  let count = 0;
  for (const item of items) {
    if (count === BATCH_ITEMS_MAX || (count > 0 && w.length + weigh(item) > MESSAGE_BYTES_MAX)) {
      messages.push(pooledCopy(w));
      w.reset();
      w.u8(tag);
      count = 0;
    }
    write(w, item);
    count++;
  }
  if (count > 0) messages.push(pooledCopy(w));
  return messages;
}

/** What was written, in a buffer that whoever has sent it may give back. */
function pooledCopy(w: ByteWriter): Uint8Array {
  const message = takeBuffer(w.length);
  message.set(w.view());
  return message;
}

/** The inverse of pack(), for one message behind its tag. */
export function unpack<T>(r: ByteReader, read: (r: ByteReader) => T): T[] {
  const items: T[] = [];
  while (!r.atEnd) {
    if (items.length === BATCH_ITEMS_MAX) throw malformed("a batch has too many items");
    items.push(read(r));
  }
  if (items.length === 0) throw malformed("a batch is empty");
  return items;
}

/** UTF-8 takes at most three bytes for each UTF-16 unit. */
function textWeight(text: string | undefined): number {
  return text === undefined ? 0 : text.length * 3;
}

function entryWeight(entry: Entry | undefined): number {
  if (entry === undefined || entry.kind === "other") return ITEM_WEIGHT;
  let weight = ITEM_WEIGHT + textWeight(entry.owner?.user) + textWeight(entry.owner?.group);
  if (entry.kind === "symlink") return weight + textWeight(entry.target);
  for (const [name, value] of entry.xattrs ?? []) weight += textWeight(name) + value.length + 8;
  return entry.kind === "file" ? weight + textWeight(entry.linkTo) : weight;
}

function problemWeight(problem: Problem | undefined): number {
  if (problem === undefined) return 0;
  return ITEM_WEIGHT + textWeight(problem.path) + textWeight(problem.code) + textWeight(problem.message);
}

function readFileEntry(r: ByteReader): FileEntry {
  const entry = readEntry(r);
  if (entry?.kind !== "file") throw malformed("an entry is not a file");
  return entry;
}

function checkContent(bytes: Uint8Array): void {
  if (bytes.length <= BATCH_BYTES_MAX) return;
  throw new SynclineError({ code: "LIMIT", op: "send", message: `${bytes.length} bytes of content in one item` });
}

// Observations, problems and paths

export function packObservations(batch: readonly Observation[]): Uint8Array[] {
  return pack(
    ITEMS,
    batch,
    (seen) => ITEM_WEIGHT + textWeight(seen.path) + (seen.state === "present" ? entryWeight(seen.entry) : 0),
    (w, seen) => {
      writeChoice(w, STATES, seen.state);
      w.string(seen.path);
      if (seen.state === "present") writeEntry(w, seen.entry);
    },
  );
}

export function readObservation(r: ByteReader): Observation {
  const state = readChoice(r, STATES);
  const path = readPath(r, true);
  if (state !== "present") return { state, path };
  const entry = readEntry(r);
  if (entry === undefined) throw malformed("a present path without an entry");
  return { state, path, entry };
}

export function packProblems(problems: readonly Problem[]): Uint8Array[] {
  return pack(PROBLEMS, problems, problemWeight, writeProblem);
}

export function unpackProblems(r: ByteReader): Problem[] {
  return unpack(r, readProblem);
}

export function packPaths(paths: readonly RelPath[]): Uint8Array[] {
  return pack(ITEMS, paths, (path) => textWeight(path) + 4, (w, path) => w.string(path));
}

export function unpackPaths(r: ByteReader): RelPath[] {
  return unpack(r, readPath);
}

// Contents of small files

type Indexed<T> = { readonly index: number; readonly item: T };

/** `items` with the index of each in the list of paths that was asked. */
export function packReadItems(items: readonly Indexed<ReadItem>[]): Uint8Array[] {
  return pack(
    ITEMS,
    items,
    ({ item }) =>
      "problem" in item ? problemWeight(item.problem) : entryWeight(item.entry) + item.bytes.length + ITEM_WEIGHT,
    (w, { index, item }) => {
      w.varint(index);
      w.bool("problem" in item);
      if ("problem" in item) return writeProblem(w, item.problem);
      checkContent(item.bytes);
      writeEntry(w, item.entry);
      w.bytes(item.bytes);
    },
  );
}

/** `after` is the index of the last item read before, or -1: indexes only rise. Bytes are views of the message. */
export function unpackReadItems(r: ByteReader, asked: readonly RelPath[], after: number): Indexed<ReadItem>[] {
  let last = after;
  return unpack(r, () => {
    const index = r.varint();
    const path = asked[index];
    if (path === undefined || index <= last) throw malformed("an answer to nothing that was asked");
    last = index;
    if (r.bool()) return { index, item: { path, problem: readProblemOf(r, path) } };
    const entry = readFileEntry(r);
    const bytes = r.bytes();
    if (bytes.length !== entry.size) throw malformed("a file's bytes and size differ");
    return { index, item: { path, entry, bytes } };
  });
}

// Transfers

export function packTransferItems(items: readonly TransferItem[]): Uint8Array[] {
  return pack(
    ITEMS,
    items,
    ({ path, entry, candidates = [] }) =>
      textWeight(path) + entryWeight(entry) + candidates.reduce((sum, one) => sum + textWeight(one) + 4, 4),
    (w, { path, entry, candidates = [] }) => {
      w.string(path);
      writeEntry(w, entry);
      w.varint(candidates.length);
      for (const one of candidates) w.string(one);
    },
  );
}

export function unpackTransferItems(r: ByteReader): TransferItem[] {
  return unpack(r, () => {
    const item = { path: readPath(r), entry: readFileEntry(r) };
    const count = r.varint();
    if (count > CANDIDATES_MAX) throw malformed("too many candidates");
    if (count === 0) return item;
    return { ...item, candidates: Array.from({ length: count }, () => readPath(r)) };
  });
}

export function packTransferResult(index: number, result: TransferResult): Uint8Array[] {
  return pack(ITEMS, [result], () => 0, (w) => {
    w.varint(index);
    w.bool(result.problem !== undefined);
    if (result.problem !== undefined) writeProblem(w, result.problem);
    writeEntry(w, result.entry);
    w.varint(result.literalBytes);
    w.varint(result.reusedBytes);
  });
}

/** `open` holds the indexes that have no result yet; what is read here is taken out of it. */
export function unpackTransferResults(
  r: ByteReader,
  items: readonly TransferItem[],
  open: Set<number>,
): TransferResult[] {
  return unpack(r, () => {
    const index = r.varint();
    const path = items[index]?.path;
    if (path === undefined || !open.delete(index)) throw malformed("a result of nothing that was asked");
    const problem = r.bool() ? readProblemOf(r, path) : undefined;
    const entry = readEntry(r);
    if (entry !== undefined && entry.kind !== "file") throw malformed("an entry is not a file");
    if (entry === undefined && problem === undefined) throw malformed("a result that is neither");
    return { path, entry, problem, literalBytes: r.varint(), reusedBytes: r.varint() };
  });
}

// Changes and their results

export function packOps(ops: readonly ApplyOp[]): Uint8Array[] {
  return pack(ITEMS, ops, opWeight, writeOp);
}

function opWeight(op: ApplyOp): number {
  if (op.type === "move") return ITEM_WEIGHT + textWeight(op.move.from) + textWeight(op.move.to);
  const { change } = op;
  const texts = textWeight(change.path) + textWeight(change.from);
  return ITEM_WEIGHT + texts + entryWeight(change.old) + entryWeight(change.new) + (op.bytes?.length ?? 0);
}

function writeOp(w: ByteWriter, op: ApplyOp): void {
  if (op.type === "move") {
    w.u8(OP_MOVE | (op.move.aside === true ? OP_ASIDE : 0));
    writeChoice(w, SIDES, op.move.side);
    w.string(op.move.from);
    w.string(op.move.to);
    w.varint(op.move.count);
    return;
  }
  const { change, bytes } = op;
  const from = change.from === undefined ? 0 : OP_HAS_FROM;
  const heals = change.heals === true ? OP_HEALS : 0;
  w.u8(OP_CHANGE | from | heals | (bytes === undefined ? 0 : OP_HAS_BYTES));
  writeChoice(w, SIDES, change.side);
  writeChoice(w, ACTIONS, change.action);
  w.string(change.path);
  writeEntry(w, change.old);
  writeEntry(w, change.new);
  if (change.from !== undefined) w.string(change.from);
  if (bytes === undefined) return;
  checkContent(bytes);
  w.bytes(bytes);
}

/** One op; its bytes are a view of the message. */
export function readOp(r: ByteReader): ApplyOp {
  const head = r.u8();
  const side = readChoice(r, SIDES);
  if ((head & ~OP_ASIDE) === OP_MOVE) {
    const move = { side, from: readPath(r), to: readPath(r), count: r.varint() };
    if (move.count < 1) throw malformed("a move of nothing");
    return { type: "move", move: (head & OP_ASIDE) === 0 ? move : { ...move, aside: true } };
  }
  if ((head & ~(OP_HAS_FROM | OP_HAS_BYTES | OP_HEALS)) !== OP_CHANGE) throw malformed("an op of unknown kind");
  const action = readChoice(r, ACTIONS);
  const path = readPath(r);
  const before = readEntry(r);
  const after = readEntry(r);
  const fits = action === "remove" ? after === undefined : after !== undefined;
  if (!fits || (action === "metadata" && before === undefined)) throw malformed("a change that contradicts itself");
  if (after?.kind === "other") throw malformed("a special file cannot be made");
  const heals = (head & OP_HEALS) !== 0;
  const isHeal = action === "content" && before?.kind === "file" && after?.kind === "file" && before.sum === after.sum;
  if (heals && !isHeal) throw malformed("a heal of something else than one file's content");
  const change: Change = {
    side,
    path,
    old: before,
    new: after,
    action,
    ...((head & OP_HAS_FROM) === 0 ? undefined : { from: readPath(r) }),
    ...(heals ? { heals } : undefined),
  };
  if ((head & OP_HAS_BYTES) === 0) return { type: "change", change };
  if (after?.kind !== "file") throw malformed("content for what is no file");
  const bytes = r.bytes();
  if (bytes.length > BATCH_BYTES_MAX) throw malformed("more content than an item may have");
  return { type: "change", change, bytes };
}

/** What the result of an op will be about, kept by both sides so that a result needs no path. */
export type Asked = { readonly path: RelPath; readonly entry: Entry | undefined };

export function askedOf(op: ApplyOp): Asked {
  return op.type === "move" ? { path: op.move.to, entry: undefined } : { path: op.change.path, entry: op.change.new };
}

/** Results of the ops from `asked[start]` on, in their order. */
export function packResults(results: readonly OpResult[], asked: readonly Asked[], start: number): Uint8Array[] {
  let at = start;
  return pack(
    ITEMS,
    results,
    (result) => entryWeight(result.entry) + problemWeight(result.problem),
    (w, result) => {
      const wanted = asked[at++]?.entry;
      const same = isPlainlySame(result.entry, wanted);
      const problem = result.problem === undefined ? 0 : HAS_PROBLEM;
      w.u8(STATUSES.indexOf(result.status) | (same ? AS_ASKED : 0) | problem);
      if (!same) writeEntry(w, result.entry);
      if (result.problem !== undefined) writeProblem(w, result.problem);
    },
  );
}

export function unpackResults(r: ByteReader, asked: readonly Asked[], start: number): OpResult[] {
  let at = start;
  return unpack(r, () => {
    const op = asked[at++];
    if (op === undefined) throw malformed("a result of nothing that was asked");
    const head = r.u8();
    const status = STATUSES[head & 3];
    if (status === undefined || head > (3 | AS_ASKED | HAS_PROBLEM)) throw malformed("a result of unknown kind");
    const entry = (head & AS_ASKED) === 0 ? readEntry(r) : op.entry;
    if ((head & HAS_PROBLEM) === 0) return { path: op.path, status, entry };
    return { path: op.path, status, entry, problem: readProblem(r) };
  });
}

/** Equal for certain; anything rare is "no" and then travels in full. */
function isPlainlySame(a: Entry | undefined, b: Entry | undefined): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  if (a.kind === "symlink" && b.kind === "symlink") return a.target === b.target && a.owner === b.owner;
  if (a.kind === "dir" && b.kind === "dir") return a.mode === b.mode && a.owner === b.owner && a.xattrs === b.xattrs;
  if (a.kind !== "file" || b.kind !== "file") return false;
  const content = a.size === b.size && a.sum === b.sum && a.mtimeNs === b.mtimeNs;
  return content && a.mode === b.mode && a.owner === b.owner && a.xattrs === b.xattrs && a.linkTo === b.linkTo;
}

// Runs

export function packRuns(runs: readonly RunRecord[]): Uint8Array[] {
  return pack(ITEMS, runs, (run) => ITEM_WEIGHT + textWeight(run.runId), (w, run) => {
    w.string(run.runId);
    w.f64(run.startedMs);
    w.varint(run.changes);
    w.bool(run.undone);
  });
}

export function readRun(r: ByteReader): RunRecord {
  const runId = checkRunId(r.string());
  const startedMs = r.f64();
  if (!Number.isFinite(startedMs)) throw malformed("a time that is none");
  return { runId, startedMs, changes: r.varint(), undone: r.bool() };
}

export function packRunChanges(changes: readonly RunChange[]): Uint8Array[] {
  return pack(
    ITEMS,
    changes,
    (change) => ITEM_WEIGHT + textWeight(change.path) + textWeight(change.from),
    (w, change) => {
      writeChoice(w, RUN_ACTIONS, change.action);
      w.string(change.path);
      w.bool(change.from !== undefined);
      if (change.from !== undefined) w.string(change.from);
    },
  );
}

export function readRunChange(r: ByteReader): RunChange {
  const action = readChoice(r, RUN_ACTIONS);
  const path = readPath(r);
  return r.bool() ? { path, action, from: readPath(r) } : { path, action };
}
