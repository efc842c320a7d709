/**
 * What the tests of this room share: two directories, a stage, and a transfer between them over a channel.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FileEntry } from "#model/entry.ts";
import type { RelPath } from "#model/path.ts";
import type { Channel } from "#sync/wire/channel.ts";
import { memoryChannelPair } from "#sync/transport/memory-channel.ts";
import type { TransferResult } from "#sync/endpoint/endpoint.ts";
import { Confined } from "#platform/confined.ts";
import type { Fd, FileSystem, Stat } from "#platform/file-system.ts";
import { openHost } from "#platform/host-bun.ts";
import type { Host } from "#platform/host.ts";
import { type ReceiveContext, receiveFiles } from "#sync/transfer/receive.ts";
import type { PartialFile, StageArea } from "#sync/transfer/stage-area.ts";
import { type SupplyContext, supplyFiles } from "#sync/transfer/supply.ts";

export const SEEDS = { a: 0x1234_5678n, b: 0x9abc_def0n };

export const host: Host = openHost();

export function fileEntry(stat: Stat): FileEntry {
  return { kind: "file", size: stat.size, mode: stat.mode, mtimeNs: stat.mtimeNs, sum: undefined };
}

/** A stage of plain files in one directory; names are flat paths. */
class DirStage implements StageArea {
  readonly staged = new Map<RelPath, FileEntry>();
  readonly #confined: Confined;
  readonly #open = new Map<RelPath, Fd>();

  constructor(dir: string) {
    this.#confined = new Confined(host.fs, host.fs.openRoot(dir));
  }

  openPartial(path: RelPath): PartialFile {
    const { fs } = host;
    const there = this.#confined.statIfThere(path);
    // The contract wants a descriptor for writing too, and only create() gives one: a partial is copied into
    // a new file.
    let fd: Fd;
    if (there === undefined) {
      fd = fs.create(this.#confined.root, path, 0o600);
    } else {
      fs.rename(this.#confined.root, path, this.#confined.root, `${path}.old`, { replace: true });
      fd = fs.create(this.#confined.root, path, 0o600);
      fs.truncate(fd, there.size);
      const old = this.#confined.openRead(`${path}.old`);
      for (let at = 0; at < there.size; ) {
        const range = fs.dataRange(old, at, there.size);
        if (range === undefined) break;
        at = range.start;
        while (at < range.end) at += fs.copyRange(old, at, fd, at, range.end - at);
      }
      fs.close(old);
      fs.unlink(this.#confined.root, `${path}.old`);
    }
    this.#open.set(path, fd);
    return { fd, size: there?.size ?? 0 };
  }

  done(path: RelPath, entry: FileEntry): void {
    this.staged.set(path, entry);
    this.keep(path);
  }

  keep(path: RelPath): void {
    host.fs.close(this.#open.get(path)!);
    this.#open.delete(path);
  }

  drop(path: RelPath): void {
    this.keep(path);
    host.fs.unlink(this.#confined.root, path);
  }

  get openCount(): number {
    return this.#open.size;
  }
}

export type Traffic = { forth: number; back: number };

/** Counts the bytes that cross, and lets a test see or replace messages from the source. */
export function watched(channel: Channel, traffic: Traffic, onMessage?: (message: Uint8Array) => void): Channel {
  return {
    send: (message) => {
      traffic.back += message.length;
      return channel.send(message);
    },
    receive: async () => {
      const message = await channel.receive();
      traffic.forth += message?.length ?? 0;
      if (message !== undefined) onMessage?.(message);
      return message;
    },
    end: () => channel.end(),
    fail: (error) => channel.fail(error),
  };
}

export class Fixture implements Disposable {
  readonly dir = mkdtempSync(join(tmpdir(), "syncline-transfer-"));
  readonly source: string;
  readonly target: string;
  readonly stagePath: string;
  readonly stage: DirStage;
  readonly traffic: Traffic = { forth: 0, back: 0 };
  readonly sourceRoot: Confined;
  readonly targetRoot: Confined;
  supplyContext: SupplyContext;
  receiveContext: ReceiveContext;
  /** By path: what is offered to the destination as similar. */
  readonly candidates = new Map<RelPath, readonly RelPath[]>();

  constructor() {
    const [source, target, stage] = ["source", "target", "stage"].map((name) => {
      const path = join(this.dir, name);
      host.fs.mkdir(host.fs.openRoot(this.dir), name, 0o700);
      return path;
    });
    this.source = source!;
    this.target = target!;
    this.stagePath = stage!;
    this.stage = new DirStage(this.stagePath);
    this.sourceRoot = new Confined(host.fs, host.fs.openRoot(this.source));
    this.targetRoot = new Confined(host.fs, host.fs.openRoot(this.target));
    const common = { host, seeds: SEEDS, limit: () => undefined };
    this.supplyContext = {
      ...common,
      open: (path) => this.sourceRoot.openRead(path),
      look: (path) => this.sourceRoot.stat(path),
      compress: "none",
      entryOf: (_, stat) => fileEntry(stat),
      learn: () => undefined,
      makeDurable: () => Promise.resolve(),
    };
    this.receiveContext = {
      ...common,
      stage: this.stage,
      sparse: true,
      durable: true,
      base: (path) => {
        if (this.targetRoot.statIfThere(path) === undefined) return undefined;
        const fd = this.targetRoot.openRead(path);
        return { fd, size: host.fs.fstat(fd).size };
      },
    };
  }

  write(side: "source" | "target", path: string, bytes: Uint8Array): void {
    writeFileSync(join(side === "source" ? this.source : this.target, path), bytes);
  }

  staged(path: string): Uint8Array {
    return readFileSync(join(this.stagePath, path));
  }

  /** Transfers the paths and returns the results by path. `onMessage` sees what comes from the source. */
  async transfer(
    paths: readonly string[],
    onMessage?: (message: Uint8Array) => void,
    pair: [Channel, Channel] = memoryChannelPair(),
    signal: AbortSignal = new AbortController().signal,
  ): Promise<Map<string, TransferResult>> {
    const [near, far] = pair;
    const results = new Map<string, TransferResult>();
    const items = paths.map((path) => {
      const stat = this.sourceRoot.statIfThere(path);
      const entry: FileEntry = { kind: "file", size: 0, mode: 0o644, mtimeNs: 0n, sum: undefined };
      const candidates = this.candidates.get(path);
      return { path, entry: stat === undefined ? entry : fileEntry(stat), candidates };
    });
    const supplying = supplyFiles(this.supplyContext, near, signal);
    supplying.catch(() => {});
    const channel = watched(far, this.traffic, onMessage);
    await receiveFiles(this.receiveContext, channel, items, (result) => results.set(result.path, result), signal);
    await supplying;
    return results;
  }

  [Symbol.dispose](): void {
    this.sourceRoot[Symbol.dispose]();
    this.targetRoot[Symbol.dispose]();
    rmSync(this.dir, { recursive: true });
  }
}

/** The file system with one call replaced. */
export function withCall<K extends keyof FileSystem>(fs: FileSystem, name: K, call: FileSystem[K]): FileSystem {
  return new Proxy(fs, {
    get: (target, key) => {
      if (key === name) return call;
      const value: unknown = Reflect.get(target, key);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** Reproducible noise: xorshift32, four bytes a step. */
export function noise(length: number, seed: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  let state = (seed * 2654435761) >>> 0 || 1;
  for (let at = 0; at < words.length; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[at] = state;
  }
  return new Uint8Array(words.buffer, 0, length);
}
