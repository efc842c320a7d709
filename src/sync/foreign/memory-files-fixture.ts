/** A foreign system in memory, whose abilities and failures a test chooses; several clients may share one. */
import { SynclineError, type ErrorCode } from "#model/error.ts";
import { type RelPath, isWithin, joinPath, nameOf, parentOf } from "#model/path.ts";
import {
  type Abilities,
  type Expected,
  type ForeignEntry,
  type ForeignFiles,
  type ReadOptions,
  type RemoveOptions,
  type WriteOptions,
  isExpected,
} from "#sync/foreign/foreign-files.ts";

type Node = {
  kind: ForeignEntry["kind"];
  bytes: Uint8Array;
  mtimeNs: bigint;
  mode: number;
  target?: string;
  version: number;
  /** Of a directory where such are what names begin with: it is there by itself. */
  isMarked?: boolean;
};

export const ABLE: Abilities = {
  system: "memory",
  setsTimes: true,
  timeResolutionNs: 1n,
  listsTimes: true,
  renames: "atomic",
  replaces: true,
  directories: true,
  modes: true,
  symlinks: true,
  conditional: true,
  ranges: true,
  keeps: true,
  parallel: 4,
};

/** What the server holds. Time goes by only when a test says so. */
export class MemorySystem {
  readonly nodes = new Map<RelPath, Node>([["", dirNode()]]);
  readonly abilities: Abilities;
  /** Tags tell every change of content. */
  readonly hasTags: boolean;
  nowNs = 1_700_000_000_000_000_000n;
  version = 0;
  /** Asked before each step that changes or tells something; what it throws is what the call rejects with. */
  fault: ((call: string, path: RelPath) => void) | undefined;
  readonly calls: string[] = [];
  /** Takes names that differ in case for the same one, and keeps the spelling that came first. */
  folds = false;
  /** What listings leave out without a word. */
  readonly unlisted = new Set<RelPath>();

  constructor(abilities: Partial<Abilities> = {}, hasTags = true) {
    this.abilities = { ...ABLE, ...abilities };
    this.hasTags = hasTags;
  }

  /** As somebody else would, at once and whole. */
  put(path: RelPath, text: string, mtimeNs = this.nowNs): void {
    this.makeAbove(path);
    const bytes = new Uint8Array(Buffer.from(text));
    this.nodes.set(path, { kind: "file", bytes, mtimeNs: this.round(mtimeNs), mode: 0o644, version: ++this.version });
  }

  makeAbove(path: RelPath): void {
    for (let dir = parentOf(path); dir !== "" && !this.nodes.has(dir); dir = parentOf(dir)) this.nodes.set(dir, dirNode());
  }

  text(path: RelPath): string | undefined {
    const node = this.nodes.get(path);
    return node?.kind === "file" ? Buffer.from(node.bytes).toString() : undefined;
  }

  delete(path: RelPath): void {
    for (const each of [...this.nodes.keys()]) if (isWithin(each, path)) this.nodes.delete(each);
  }

  /** The path by which what is at `path` is known here. */
  spelled(path: RelPath): RelPath {
    if (!this.folds || this.nodes.has(path) || path === "") return path;
    const at = joinPath(this.spelled(parentOf(path)), nameOf(path));
    return [...this.nodes.keys()].find((each) => each.toLowerCase() === at.toLowerCase()) ?? at;
  }

  /** Where directories are what names begin with, one goes with the last of them. */
  emptied(dir: RelPath): void {
    if (this.abilities.directories || dir === "" || this.nodes.get(dir)?.isMarked === true) return;
    if ([...this.nodes.keys()].some((each) => each !== dir && isWithin(each, dir))) return;
    this.nodes.delete(dir);
    this.emptied(parentOf(dir));
  }

  /** Visible files by path, what is private to us left out. */
  files(): Record<string, string> {
    const out: Record<string, string> = {};
    for (const path of [...this.nodes.keys()].sort()) {
      if (!path.startsWith(".syncline") && this.nodes.get(path)!.kind === "file") out[path] = this.text(path)!;
    }
    return out;
  }

  round(timeNs: bigint): bigint {
    const grain = this.abilities.timeResolutionNs;
    return grain === 0n ? 0n : (timeNs / grain) * grain;
  }

  client(): MemoryFiles {
    return new MemoryFiles(this);
  }
}

function dirNode(mode = 0o755): Node {
  return { kind: "dir", bytes: new Uint8Array(0), mtimeNs: 0n, mode, version: 0 };
}

function failed(code: ErrorCode, message: string, path: RelPath): SynclineError {
  return new SynclineError({ code, op: "memory", message, path, retryable: code === "LINK_LOST" });
}

/** Bytes that one read gives at a time at least; small, so that files come in pieces. */
const READ_BYTES_MIN = 7;

export class MemoryFiles implements ForeignFiles {
  readonly label = "memory://";
  readonly system: MemorySystem;
  #isClosed = false;

  constructor(system: MemorySystem) {
    this.system = system;
  }

  async connect(signal: AbortSignal): Promise<Abilities> {
    await this.#step("connect", "", signal);
    return this.system.abilities;
  }

  async #step(call: string, path: RelPath, signal?: AbortSignal): Promise<void> {
    await undefined;
    signal?.throwIfAborted();
    if (this.#isClosed) throw failed("LINK_LOST", "the connection is closed", path);
    this.system.calls.push(`${call} ${path}`);
    this.system.fault?.(call, path);
  }

  #entry(path: RelPath, node: Node): ForeignEntry {
    const { abilities, hasTags } = this.system;
    return {
      path,
      kind: node.kind,
      size: node.kind === "file" ? node.bytes.length : 0,
      mtimeNs: node.kind === "dir" || abilities.timeResolutionNs === 0n ? undefined : node.mtimeNs,
      mode: abilities.modes ? node.mode : undefined,
      target: node.target,
      tag: hasTags && node.kind === "file" ? `v${node.version}` : undefined,
    };
  }

  async *list(dir: RelPath, signal: AbortSignal): AsyncGenerator<ForeignEntry[]> {
    await this.#step("list", dir, signal);
    const { nodes, unlisted } = this.system;
    const there = this.system.spelled(dir);
    if (nodes.get(there)?.kind !== "dir") throw failed("NOT_FOUND", "no such directory", dir);
    const inside = [...nodes].filter(([path]) => path !== "" && parentOf(path) === there && !unlisted.has(path));
    for (let at = 0; at < inside.length; at += 2) {
      if (at > 0) await this.#step("list more", dir, signal);
      const told = inside.slice(at, at + 2).map(([path, node]) => this.#entry(joinPath(dir, nameOf(path)), node));
      yield this.system.abilities.listsTimes ? told : told.map((entry) => ({ ...entry, mtimeNs: undefined }));
    }
  }

  async stat(path: RelPath, signal: AbortSignal): Promise<ForeignEntry | undefined> {
    await this.#step("stat", path, signal);
    const node = this.system.nodes.get(this.system.spelled(path));
    return node === undefined ? undefined : this.#entry(path, node);
  }

  #expect(path: RelPath, expected: Expected | undefined): void {
    const node = this.system.nodes.get(this.system.spelled(path));
    const there = node === undefined ? undefined : this.#entry(path, node);
    if (expected !== undefined && !isExpected(there, expected)) throw failed("STALE", "something else is there", path);
    if (there?.kind === "dir") throw failed("EXISTS", "a directory is there", path);
  }

  async *read(path: RelPath, options: ReadOptions, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    await this.#step("read", path, signal);
    const there = this.system.spelled(path);
    const node = this.system.nodes.get(there);
    if (node?.kind !== "file") throw failed(options.expect === undefined ? "NOT_FOUND" : "STALE", "no such file", path);
    if (options.expect !== undefined) this.#expect(path, options.expect);
    const step = Math.max(READ_BYTES_MIN, node.bytes.length >> 6);
    for (let at = options.offset ?? 0; at < node.bytes.length; at += step) {
      await this.#step("read more", path, signal);
      if (this.system.nodes.get(there)?.version !== node.version) throw failed("STALE", "it changed", path);
      yield node.bytes.slice(at, at + step);
    }
  }

  #parent(path: RelPath): void {
    if (!this.system.abilities.directories) this.system.makeAbove(path);
    if (this.system.nodes.get(this.system.spelled(parentOf(path)))?.kind !== "dir") throw failed("NOT_FOUND", "no such directory", path);
  }

  async write(
    path: RelPath,
    bytes: AsyncIterable<Uint8Array>,
    options: WriteOptions,
    signal: AbortSignal,
  ): Promise<ForeignEntry> {
    await this.#step("write", path, signal);
    const parts: Uint8Array[] = [];
    for await (const part of bytes) {
      signal.throwIfAborted();
      parts.push(part.slice());
    }
    const all = new Uint8Array(Buffer.concat(parts));
    if (options.size !== undefined && options.size !== all.length) throw failed("STALE", "not as long as expected", path);
    await this.#step("place", path, signal);
    this.#parent(path);
    this.#expect(path, options.expect);
    const { nodes, abilities } = this.system;
    if (!abilities.conditional) await this.#step("checked", path, signal);
    const there = this.system.spelled(path);
    const old = nodes.get(there);
    if (options.keepAs !== undefined && old !== undefined) {
      nodes.set(options.keepAs, old);
      // A system that cannot copy has a moment without the file.
      if (!abilities.conditional) {
        nodes.delete(there);
        await this.#step("displaced", path, signal);
      }
    }
    const mtimeNs = this.system.round(abilities.setsTimes ? (options.mtimeNs ?? this.system.nowNs) : this.system.nowNs);
    const mode = options.mode ?? 0o644;
    const node: Node = { kind: "file", bytes: all, mtimeNs, mode, version: ++this.system.version };
    nodes.set(there, node);
    await this.#step("placed", path, signal);
    return this.#entry(path, node);
  }

  async remove(path: RelPath, options: RemoveOptions, signal: AbortSignal): Promise<void> {
    await this.#step("remove", path, signal);
    this.#expect(path, options.expect);
    if (!this.system.abilities.conditional) await this.#step("checked", path, signal);
    const there = this.system.spelled(path);
    const node = this.system.nodes.get(there);
    if (node === undefined) throw failed("NOT_FOUND", "nothing is there", path);
    if (options.keepAs !== undefined) this.system.nodes.set(options.keepAs, node);
    this.system.nodes.delete(there);
    this.system.emptied(parentOf(there));
    await this.#step("removed", path, signal);
  }

  async makeDir(path: RelPath, mode: number | undefined, signal: AbortSignal): Promise<void> {
    await this.#step("makeDir", path, signal);
    this.#parent(path);
    const { nodes, abilities } = this.system;
    const there = this.system.spelled(path);
    if (nodes.has(there) && (abilities.directories || nodes.get(there)!.kind !== "dir")) {
      throw failed("EXISTS", "something is there", path);
    }
    nodes.set(there, { ...dirNode(mode), isMarked: true });
  }

  async removeDir(path: RelPath, signal: AbortSignal): Promise<void> {
    await this.#step("removeDir", path, signal);
    const there = this.system.spelled(path);
    if (this.system.nodes.get(there)?.kind !== "dir") throw failed("NOT_FOUND", "no such directory", path);
    if ([...this.system.nodes.keys()].some((each) => each !== there && isWithin(each, there)))
      throw failed("EXISTS", "it is not empty", path);
    this.system.nodes.delete(there);
    this.system.emptied(parentOf(there));
  }

  async rename(from: RelPath, to: RelPath, signal: AbortSignal, expect?: ForeignEntry): Promise<ForeignEntry | undefined> {
    await this.#step("rename", from, signal);
    const { nodes, abilities } = this.system;
    const [source, target] = [from, to].map((path) => this.system.spelled(path)) as [RelPath, RelPath];
    const node = nodes.get(source);
    if (expect !== undefined) this.#expect(from, expect);
    if (node === undefined) throw failed("NOT_FOUND", "nothing is there", from);
    if (nodes.has(target)) throw failed("EXISTS", "something is there", to);
    this.#parent(to);
    if (abilities.renames === "none" || (node.kind === "dir" && abilities.renames === "copies"))
      throw failed("UNSUPPORTED", "it cannot be renamed", from);
    for (const [path, each] of [...nodes]) {
      if (!isWithin(path, source)) continue;
      nodes.delete(path);
      nodes.set(target + path.slice(source.length), each);
    }
    this.system.emptied(parentOf(source));
    const told = abilities.renames === "copies" ? this.#entry(to, node) : undefined;
    await this.#step("renamed", to, signal);
    return told;
  }

  async setTime(path: RelPath, mtimeNs: bigint, signal: AbortSignal, expect?: ForeignEntry): Promise<ForeignEntry> {
    await this.#step("setTime", path, signal);
    const node = this.system.nodes.get(this.system.spelled(path));
    if (node === undefined) throw failed("NOT_FOUND", "nothing is there", path);
    if (expect !== undefined) this.#expect(path, expect);
    if (!this.system.abilities.setsTimes) throw failed("UNSUPPORTED", "times are not kept", path);
    node.mtimeNs = this.system.round(mtimeNs);
    return this.#entry(path, node);
  }

  async setMode(path: RelPath, mode: number, signal: AbortSignal): Promise<void> {
    await this.#step("setMode", path, signal);
    const node = this.system.nodes.get(this.system.spelled(path));
    if (node === undefined) throw failed("NOT_FOUND", "nothing is there", path);
    if (!this.system.abilities.modes) throw failed("UNSUPPORTED", "there are no modes", path);
    node.mode = mode;
  }

  async makeSymlink(path: RelPath, target: string, signal: AbortSignal): Promise<void> {
    await this.#step("makeSymlink", path, signal);
    if (!this.system.abilities.symlinks) throw failed("UNSUPPORTED", "there are no symlinks", path);
    this.#parent(path);
    if (this.system.nodes.has(path)) throw failed("EXISTS", "something is there", path);
    const { nowNs } = this.system;
    const bytes = new Uint8Array(0);
    this.system.nodes.set(path, { kind: "symlink", bytes, mtimeNs: nowNs, mode: 0o777, target, version: ++this.system.version });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }
}
