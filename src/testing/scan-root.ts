/** A real directory with an index in memory, for tests of scanning and watching. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PRESERVE_DEFAULT, type Preserve } from "#model/entry.ts";
import { type RelPath, comparePaths } from "#model/path.ts";
import { MemoryStore } from "#sync/index/memory-store.ts";
import { type IndexRecord, indexCodec } from "#sync/index/record-codecs.ts";
import type { Tree } from "#sync/index/store.ts";
import { IgnoreRules } from "#sync/scan/ignore.ts";
import type { DirectoryHook } from "#sync/scan/index-editor.ts";
import { type ScanOutcome, type ScanWork, Scanner, runScan } from "#sync/scan/scanner.ts";
import type { DirtyExtent } from "#sync/watch/dirty-set.ts";
import { Confined } from "#platform/confined.ts";
import { type FileSystem, FsError } from "#platform/file-system.ts";
import { openHost } from "#platform/host-bun.ts";
import type { Host } from "#platform/host.ts";

export type Report = [path: RelPath, state: IndexRecord | "ignored" | undefined];

/** Longer than any slice. */
const HASTE_MS = 1000;

type Call = Exclude<keyof FileSystem, "platform">;

export type ScanRootOptions = {
  preserve?: Partial<Preserve>;
  ignore?: string[];
  hook?: DirectoryHook;
  /** Added to the wall clock: with a minute, files that were just written count as old. */
  clockAheadMs?: number;
  /** Every look at the clock finds the slice used up, so that a scan pauses wherever it can. */
  hasty?: boolean;
  /** Another root's directory, to be looked at afresh; it is not removed at the end. */
  at?: string;
};

export class ScanRoot implements Disposable {
  readonly path: string;
  readonly host: Host;
  readonly store = new MemoryStore();
  readonly index: Tree<IndexRecord>;
  readonly root: Confined;
  scanner: Scanner;
  /** Called before every call of the file system; what it returns is thrown as an errno. */
  fault: (call: Call, name: string) => string | undefined = () => undefined;
  /** May change what a call returns. */
  patch: (call: Call, name: string, result: unknown, args: unknown[]) => unknown = (_call, _name, result) => result;
  assertRoot: () => void = () => {};
  clockAheadMs: number;
  #reports: Report[] = [];
  /** Everything that was reported, put together: what somebody knows who only listens. */
  readonly #heard = new Map<RelPath, IndexRecord>();
  readonly #options: ScanRootOptions;

  constructor(options: ScanRootOptions = {}) {
    this.#options = options;
    this.path = options.at ?? mkdtempSync(join(tmpdir(), "syncline-scan-"));
    this.clockAheadMs = options.clockAheadMs ?? 0;
    const host = openHost();
    let looks = 0;
    const monotonicMs = (): number => (options.hasty === true ? ++looks * HASTE_MS : host.clock.monotonicMs());
    const clock = { ...host.clock, monotonicMs, nowMs: () => host.clock.nowMs() + this.clockAheadMs };
    this.host = { ...host, clock, fs: this.#wrapped(host.fs) };
    this.index = this.store.tree("index", indexCodec);
    this.root = new Confined(this.host.fs, this.host.fs.openRoot(this.path));
    this.scanner = this.newScanner(options.ignore ?? []);
  }

  /** A scanner as after a restart, with the same index. */
  newScanner(ignore: string[]): Scanner {
    this.scanner = new Scanner({
      host: this.host,
      root: this.root,
      rootDev: this.host.fs.fstat(this.root.root).dev,
      index: this.index,
      links: this.store.table("links"),
      rules: new IgnoreRules(ignore),
      preserve: { ...PRESERVE_DEFAULT, ...this.#options.preserve },
      seeds: { a: 1n, b: 2n },
      timestampNs: 1n,
      caseSensitive: true,
      assertRoot: () => this.assertRoot(),
      sink: {
        changed: (path, state) => {
          this.#reports.push([path, state]);
          if (state === undefined || state === "ignored") this.#heard.delete(path);
          else this.#heard.set(path, state);
        },
        renewed: () => undefined,
      },
      hook: this.#options.hook,
    });
    return this.scanner;
  }

  #wrapped(fs: FileSystem): FileSystem {
    return new Proxy(fs, {
      get: (target, key: Call | "platform") => {
        if (key === "platform") return target.platform;
        return (...args: unknown[]) => {
          const name = typeof args[1] === "string" ? args[1] : "";
          const code = this.fault(key, name);
          if (code !== undefined) throw new FsError(code, key, name);
          // The one place where a call is passed on without its type: arguments and result belong to the same
          // method.
          const result = (target[key] as (...args: unknown[]) => unknown).apply(target, args);
          return this.patch(key, name, result, args);
        };
      },
    });
  }

  abs(path: RelPath): string {
    return join(this.path, path);
  }

  full(deep = false): Promise<ScanOutcome> {
    return this.scan({ extent: "full", deep });
  }

  dirty(paths: Record<RelPath, DirtyExtent>): Promise<ScanOutcome> {
    return this.scan({ extent: "dirty", dirty: { all: false, paths: new Map(Object.entries(paths)) } });
  }

  scan(work: ScanWork): Promise<ScanOutcome> {
    const transaction = (step: () => boolean) => this.store.transaction({ durable: false }, step);
    return runScan(this.scanner, work, transaction, () => Promise.resolve(), new AbortController().signal);
  }

  /** What was reported since the last call, in order. */
  reports(): Report[] {
    return this.#reports.splice(0);
  }

  /** The last report of each path in words: "path kind", "path absent", "path ignored"; sorted. */
  news(): string[] {
    const last = new Map(this.reports());
    return [...last].map(([path, state]) => `${path} ${describe(state)}`).sort();
  }

  sumOf(path: RelPath): string | undefined {
    const entry = this.index.get(path)?.entry;
    return entry?.kind === "file" ? entry.sum : undefined;
  }

  /**
   * What the index says, without what only scans in a certain order give: sums, and whether a record is racy.
   */
  view(): string[] {
    const lines: string[] = [];
    for (const [path, { entry, ino }] of this.index.walk("")) lines.push(`${path} ${ino} ${plain(entry)}`);
    return lines;
  }

  /** As view(), but from the reports alone. Inodes are the disk's own affair and not always reported. */
  heard(): string[] {
    const paths = [...this.#heard.keys()].sort(comparePaths);
    return paths.map((path) => `${path} ${plain(this.#heard.get(path)!.entry)}`);
  }

  [Symbol.dispose](): void {
    this.root[Symbol.dispose]();
    this.store.close();
    if (this.#options.at === undefined) rmSync(this.path, { recursive: true, force: true });
  }
}

function describe(state: IndexRecord | "ignored" | undefined): string {
  if (state === undefined) return "absent";
  return state === "ignored" ? state : state.entry.kind;
}

function plain(entry: IndexRecord["entry"]): string {
  const shown = entry.kind === "file" ? { ...entry, sum: undefined } : entry;
  return JSON.stringify(shown, (_key, value) => (typeof value === "bigint" ? String(value) : value));
}
