/**
 * The calls of an Endpoint as messages: requests, replies and single values. Lists are in remote-protocol-items.ts.
 *
 * Each call is one channel whose method is the call's name. The caller sends its request, the endpoint answers with
 * any number of ITEMS and PROBLEMS messages and one REPLY. Whatever is decoded here is checked here: paths, ranges,
 * counts and known words. A decoder returns a value that keeps the contract or throws SynclineError PROTOCOL.
 */
import type { CompressMode } from "#sync/chunk/compress.ts";
import { SynclineError } from "#model/error.ts";
import type { Preserve, Sum } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import { type RelPath, pathFault, printablePath } from "#model/path.ts";
import type {
  ComingNews,
  CommitReply,
  Durable,
  OpenReply,
  OpenRequest,
  ScanRequest,
  ScanSummary,
  TracesAsked,
} from "#sync/endpoint/endpoint.ts";
import { TRACEPARENT, TRACES_TOLD_MAX } from "#sync/endpoint/endpoint.ts";
import { SCRUB_BYTES_MAX, type ScrubReply, type ScrubRequest } from "#sync/scan/scrub.ts";
import { ByteReader, ByteWriter, malformed } from "#sync/wire/bytes.ts";

/** First byte of every message of a call. */
export const ITEMS = 1;
export const PROBLEMS = 2;
/** From the endpoint: the last message. From the caller: "that was all, now do it". */
export const REPLY = 3;

/** The methods, and so the channels, of the protocol. `data` carries the transfer that a `receive` names. */
export type Method =
  | "open"
  | "scan"
  | "watch"
  | "sums"
  | "vouch"
  | "scrub"
  | "read"
  | "supply"
  | "coming"
  | "supply-coming"
  | "traces"
  | "receive"
  | "data"
  | "apply"
  | "runs"
  | "run-changes"
  | "undo"
  | "close";

/** Lines of ignore or include rules, each; far more than anyone writes. */
export const RULES_MAX = 10_000;
const RULE_LENGTH_MAX = 4096;
/** Length of ids, names of hosts and platforms, reasons. */
const WORD_LENGTH_MAX = 512;
const PATH_LENGTH_MAX = 4096;
/** Problems in one answer; more than these are a broken disk, and the session would not list them anyway. */
export const PROBLEMS_MAX = 1_000_000;

const COMPRESS_MODES: readonly CompressMode[] = ["auto", "zstd", "none"];
const DURABLES: readonly Durable[] = ["batch", "always", "none"];
const OWNERS: readonly Preserve["owner"][] = ["none", "name", "number"];
const EXTENTS: readonly ScanRequest["extent"][] = ["full", "dirty"];
const SIDES: readonly Problem["side"][] = ["alpha", "beta"];

/** A reader behind a message's tag. */
export type Tagged = { readonly tag: number; readonly r: ByteReader };

export function openMessage(message: Uint8Array): Tagged {
  const r = new ByteReader(message);
  return { tag: r.u8(), r };
}

export function writerOf(tag: number): ByteWriter {
  const w = new ByteWriter();
  w.u8(tag);
  return w;
}

export function finished<T>(r: ByteReader, value: T): T {
  if (!r.atEnd) throw malformed("a message has something after its end");
  return value;
}

/** A message without content. */
export function bare(tag: number): Uint8Array {
  return Uint8Array.of(tag);
}

export function unexpected(tag: number): SynclineError {
  return malformed(`a message of kind ${tag} is out of place`);
}

// Words and numbers

/**
 * Is the path certainly good? Most are ASCII and have no name that begins with a dot; that takes one pass without
 * allocation. "No" means that pathFault must decide.
 */
function isPlainPath(path: string): boolean {
  if (path.length > NAME_LENGTH_MAX) return false;
  let before = SLASH;
  for (let at = 0; at < path.length; at++) {
    const code = path.charCodeAt(at);
    if (code === 0 || code > 127 || (before === SLASH && (code === SLASH || code === DOT))) return false;
    before = code;
  }
  return before !== SLASH;
}

const SLASH = 47;
const DOT = 46;
/** A path this short cannot hold a name that is too long. */
const NAME_LENGTH_MAX = 255;

export function readPath(r: ByteReader, allowRoot = false): RelPath {
  const path = r.string();
  if (isPlainPath(path)) return path;
  const fault = pathFault(path, allowRoot);
  if (fault !== undefined) {
    const shown = printablePath(path.slice(0, 200));
    throw new SynclineError({ code: "PROTOCOL", op: "decode", message: `path refused: ${fault}: "${shown}"` });
  }
  return path;
}

export function readWord(r: ByteReader, lengthMax = WORD_LENGTH_MAX): string {
  const word = r.string();
  if (word.length > lengthMax) throw malformed("a text is too long");
  return word;
}

/** Index into a table of known words. */
export function readChoice<T>(r: ByteReader, choices: readonly T[]): T {
  const choice = choices[r.u8()];
  if (choice === undefined) throw malformed("an unknown word");
  return choice;
}

export function writeChoice<T>(w: ByteWriter, choices: readonly T[], choice: T): void {
  w.u8(choices.indexOf(choice));
}

function writeOptional(w: ByteWriter, text: string | undefined): void {
  w.bool(text !== undefined);
  if (text !== undefined) w.string(text);
}

function readOptional(r: ByteReader): string | undefined {
  return r.bool() ? readWord(r) : undefined;
}

function writeRules(w: ByteWriter, rules: readonly string[]): void {
  w.varint(rules.length);
  for (const rule of rules) w.string(rule);
}

function readRules(r: ByteReader): string[] {
  const count = r.varint();
  if (count > RULES_MAX) throw malformed("too many rules");
  const rules: string[] = [];
  for (let at = 0; at < count; at++) rules.push(readWord(r, RULE_LENGTH_MAX));
  return rules;
}

export function writeProblem(w: ByteWriter, problem: Problem): void {
  w.string(problem.path);
  writeChoice(w, SIDES, problem.side);
  w.string(problem.code.slice(0, WORD_LENGTH_MAX));
  w.string(problem.message.slice(0, WORD_LENGTH_MAX));
  w.bool(problem.transient);
}

/** A problem may be the root's own. */
export function readProblem(r: ByteReader): Problem {
  const path = readPath(r, true);
  const side = readChoice(r, SIDES);
  return { path, side, code: readWord(r), message: readWord(r), transient: r.bool() };
}

/** The rest of a problem whose path is known from elsewhere. */
export function readProblemOf(r: ByteReader, path: RelPath): Problem {
  const problem = readProblem(r);
  if (problem.path !== path) throw malformed("a problem of a path that was not asked");
  return problem;
}

// Requests and replies

export function encodeOpenRequest(request: OpenRequest): Uint8Array {
  const w = writerOf(REPLY);
  const { preserve } = request;
  w.hex16(request.sessionId);
  w.i64(request.seeds.a);
  w.i64(request.seeds.b);
  w.bool(request.writable);
  writeRules(w, request.ignore);
  writeRules(w, request.include);
  for (const flag of [
    preserve.mode,
    preserve.mtime,
    preserve.xattrs,
    preserve.hardlinks,
    preserve.symlinks,
    preserve.sparse,
  ]) {
    w.bool(flag);
  }
  writeChoice(w, OWNERS, preserve.owner);
  writeChoice(w, DURABLES, request.durable);
  w.bool(request.verifyReadBack);
  writeChoice(w, COMPRESS_MODES, request.compress);
  w.bool(request.createRoot);
  writeOptional(w, request.expectRootId);
  w.bool(request.ephemeral ?? false);
  return w.finish();
}

export function decodeOpenRequest(message: Uint8Array): OpenRequest {
  const { tag, r } = openMessage(message);
  if (tag !== REPLY) throw unexpected(tag);
  const sessionId = r.hex16();
  const seeds = { a: BigInt.asUintN(64, r.i64()), b: BigInt.asUintN(64, r.i64()) };
  const writable = r.bool();
  const ignore = readRules(r);
  const include = readRules(r);
  const flags = { mode: r.bool(), mtime: r.bool(), xattrs: r.bool(), hardlinks: r.bool(), symlinks: r.bool() };
  const preserve: Preserve = { ...flags, sparse: r.bool(), owner: readChoice(r, OWNERS) };
  return finished(r, {
    sessionId,
    seeds,
    writable,
    ignore,
    include,
    preserve,
    durable: readChoice(r, DURABLES),
    verifyReadBack: r.bool(),
    compress: readChoice(r, COMPRESS_MODES),
    createRoot: r.bool(),
    expectRootId: readOptional(r),
    ephemeral: r.bool(),
  });
}

export function encodeOpenReply(reply: OpenReply): Uint8Array {
  const w = writerOf(REPLY);
  w.string(reply.rootId);
  w.string(reply.epoch);
  w.varint(reply.lastSeq);
  w.varint(reply.keptAfter);
  w.string(reply.hostName);
  w.string(reply.platform);
  w.bool(reply.canWatch);
  w.bool(reply.caseSensitive);
  w.i64(reply.timestampNs);
  w.string(reply.filterHash);
  w.string(reply.device);
  w.string(reply.absolutePath);
  return w.finish();
}

export function decodeOpenReply(message: Uint8Array): OpenReply {
  const { tag, r } = openMessage(message);
  if (tag !== REPLY) throw unexpected(tag);
  const rootId = readWord(r);
  const epoch = readWord(r);
  const lastSeq = r.varint();
  const keptAfter = r.varint();
  const hostName = readWord(r);
  const platform = readWord(r);
  const canWatch = r.bool();
  const caseSensitive = r.bool();
  const timestampNs = r.i64();
  if (timestampNs < 1n) throw malformed("a timestamp granularity is out of range");
  return finished(r, {
    rootId,
    epoch,
    lastSeq,
    keptAfter,
    hostName,
    platform,
    canWatch,
    caseSensitive,
    timestampNs,
    filterHash: readWord(r),
    device: readWord(r),
    absolutePath: readWord(r, PATH_LENGTH_MAX),
  });
}

export function encodeScanRequest(request: ScanRequest): Uint8Array {
  const w = writerOf(REPLY);
  w.varint(request.since);
  w.varint(request.acknowledged);
  writeChoice(w, EXTENTS, request.extent);
  w.bool(request.deep);
  return w.finish();
}

export function decodeScanRequest(message: Uint8Array): ScanRequest {
  const { tag, r } = openMessage(message);
  if (tag !== REPLY) throw unexpected(tag);
  return finished(r, {
    since: r.varint(),
    acknowledged: r.varint(),
    extent: readChoice(r, EXTENTS),
    deep: r.bool(),
  });
}

/** Everything but the problems, which travel in messages of their own. */
export function encodeScanSummary(summary: ScanSummary): Uint8Array {
  const w = writerOf(REPLY);
  w.varint(summary.seq);
  w.string(summary.epoch);
  w.varint(summary.entries);
  w.varint(summary.hashedBytes);
  writeOptional(w, summary.degraded?.slice(0, WORD_LENGTH_MAX));
  return w.finish();
}

export function decodeScanSummary(r: ByteReader, problems: readonly Problem[]): ScanSummary {
  const seq = r.varint();
  const epoch = readWord(r);
  const entries = r.varint();
  return finished(r, { seq, epoch, problems, entries, hashedBytes: r.varint(), degraded: readOptional(r) });
}

export function encodeScrubRequest({ everyMs, bytesMax }: ScrubRequest): Uint8Array {
  const w = writerOf(REPLY);
  w.varint(Math.floor(everyMs));
  w.varint(Math.floor(bytesMax));
  return w.finish();
}

export function decodeScrubRequest(message: Uint8Array): ScrubRequest {
  const { tag, r } = openMessage(message);
  if (tag !== REPLY) throw unexpected(tag);
  const request = finished(r, { everyMs: r.varint(), bytesMax: r.varint() });
  if (request.bytesMax > SCRUB_BYTES_MAX) throw malformed("a scrub of more than a step may read");
  return request;
}

export function encodeScrubReply({ bytes, busyMs, found, waitMs, pass }: ScrubReply): Uint8Array {
  const w = writerOf(REPLY);
  w.varint(bytes);
  w.varint(Math.ceil(busyMs));
  w.bool(found);
  w.varint(Math.ceil(waitMs));
  w.bool(pass !== undefined);
  if (pass === undefined) return w.finish();
  w.f64(pass.startedMs);
  for (const count of [pass.files, pass.bytes, pass.damaged]) w.varint(count);
  return w.finish();
}

export function decodeScrubReply(message: Uint8Array): ScrubReply {
  const { tag, r } = openMessage(message);
  if (tag !== REPLY) throw unexpected(tag);
  const reply = { bytes: r.varint(), busyMs: r.varint(), found: r.bool(), waitMs: r.varint() };
  if (!r.bool()) return finished(r, reply);
  const startedMs = r.f64();
  if (!Number.isFinite(startedMs)) throw malformed("a time that is none");
  return finished(r, { ...reply, pass: { startedMs, files: r.varint(), bytes: r.varint(), damaged: r.varint() } });
}

/** How many ops the commit covers; the endpoint has counted, too. */
export function encodeCommit(ops: number): Uint8Array {
  const w = writerOf(REPLY);
  w.varint(ops);
  return w.finish();
}

export function encodeCommitReply(reply: CommitReply): Uint8Array {
  const w = writerOf(REPLY);
  w.varint(reply.seqBefore);
  w.varint(reply.seqAfter);
  return w.finish();
}

export function decodeCommitReply(r: ByteReader): CommitReply {
  const reply = finished(r, { seqBefore: r.varint(), seqAfter: r.varint() });
  if (reply.seqAfter < reply.seqBefore) throw malformed("a commit went back in sequence");
  return reply;
}

/** A run id as a request. */
const COMING_KINDS: readonly ComingNews["type"][] = ["begun", "whole", "over"];

export function encodeComing(news: ComingNews): Uint8Array {
  const w = writerOf(ITEMS);
  writeChoice(w, COMING_KINDS, news.type);
  w.string(news.path);
  if (news.type === "begun") w.varint(news.size);
  else if (news.type === "whole") w.hex16(news.sum);
  else w.bool(news.isThere);
  return w.finish();
}

export function decodeComing(message: Uint8Array): ComingNews {
  const { tag, r } = openMessage(message);
  if (tag !== ITEMS) throw unexpected(tag);
  const type = readChoice(r, COMING_KINDS);
  const path = readPath(r);
  if (type === "begun") return finished(r, { type, path, size: r.varint() });
  if (type === "whole") return finished(r, { type, path, sum: r.hex16() });
  return finished(r, { type, path, isThere: r.bool() });
}

export function encodeRunId(runId: string): Uint8Array {
  const w = writerOf(REPLY);
  w.string(runId);
  return w.finish();
}

export function decodeRunId(message: Uint8Array): string {
  const { tag, r } = openMessage(message);
  if (tag !== REPLY) throw unexpected(tag);
  return finished(r, checkRunId(r.string()));
}

/** Run ids become names of directories on some hosts, so only such are accepted. */
export function checkRunId(runId: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(runId)) throw malformed("a run id is not one");
  return runId;
}

export function encodeTracesAsked({ parent, after, until }: TracesAsked): Uint8Array {
  const w = writerOf(REPLY);
  writeOptional(w, parent);
  w.varint(after);
  w.varint(until);
  return w.finish();
}

export function decodeTracesAsked(message: Uint8Array): TracesAsked {
  const { tag, r } = openMessage(message);
  if (tag !== REPLY) throw unexpected(tag);
  const parent = readOptional(r);
  if (parent !== undefined && !TRACEPARENT.test(parent)) throw malformed("a trace is not one");
  return finished(r, { parent, after: r.varint(), until: r.varint() });
}

export function encodeTraces(traces: readonly string[]): Uint8Array {
  const w = writerOf(REPLY);
  w.varint(traces.length);
  for (const one of traces) w.string(one);
  return w.finish();
}

export function decodeTraces(message: Uint8Array): readonly string[] {
  const { tag, r } = openMessage(message);
  if (tag !== REPLY) throw unexpected(tag);
  const count = r.varint();
  if (count > TRACES_TOLD_MAX) throw malformed("more traces than may be told");
  const traces = Array.from({ length: count }, () => r.string());
  if (!traces.every((one) => TRACEPARENT.test(one))) throw malformed("a trace is not one");
  return finished(r, traces);
}

export function encodeCount(count: number): Uint8Array {
  const w = writerOf(REPLY);
  w.varint(count);
  return w.finish();
}

export function decodeCount(r: ByteReader): number {
  return finished(r, r.varint());
}

/** One answer of sums(): the sum, or why there is none. */
export function writeSum(w: ByteWriter, sum: Sum | Problem): void {
  w.bool(typeof sum === "string");
  if (typeof sum === "string") w.hex16(sum);
  else writeProblem(w, sum);
}

export function readSum(r: ByteReader, path: RelPath): Sum | Problem {
  return r.bool() ? r.hex16() : readProblemOf(r, path);
}
