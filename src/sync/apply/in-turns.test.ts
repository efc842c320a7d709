/** However large a file is that is copied or read again, others have their turn, and an end of it is heard. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Confined } from "#platform/confined.ts";
import type { FileSystem } from "#platform/file-system.ts";
import { openHost } from "#platform/host-bun.ts";
import { PartialFiles, partialName } from "#sync/apply/partial-files.ts";
import { makeTwin, twinMarkCodec } from "#sync/apply/twin-tree.ts";
import { DirEndpoint } from "#sync/endpoint/dir-endpoint.ts";
import type { ApplyOp, OpResult, OpenRequest } from "#sync/endpoint/endpoint.ts";
import { MemoryStore } from "#sync/index/memory-store.ts";

const MB = 1 << 20;
const SIZE = 160 * MB;
const SEEDS = { a: 1n, b: 2n };
const host = openHost();
const REQUEST: OpenRequest = {
  sessionId: "0123456789abcdef0123456789abcdef",
  seeds: SEEDS,
  writable: true,
  ignore: [],
  include: [],
  preserve: { mode: true, mtime: true, owner: "none", xattrs: false, hardlinks: false, symlinks: true, sparse: true },
  durable: "none",
  verifyReadBack: false,
  compress: "none",
  createRoot: false,
  expectRootId: undefined,
  ephemeral: false,
};

/** Counts the bytes that are copied and read between two turns of everything else. */
class Work implements Disposable {
  worst = 0;
  all = 0;
  readonly fs: FileSystem;
  #inTurn = 0;
  readonly #timer = setInterval(() => (this.#inTurn = 0), 0);

  constructor(onWork: (all: number) => void = () => undefined) {
    const count = (bytes: number): number => {
      this.#inTurn += bytes;
      this.all += bytes;
      this.worst = Math.max(this.worst, this.#inTurn);
      onWork(this.all);
      return bytes;
    };
    const calls: Partial<FileSystem> = {
      copyRange: (_from, _fromAt, to, toAt, length) => {
        host.fs.truncate(to, toAt + length);
        return count(length);
      },
      read: (...asked) => count(host.fs.read(...asked)),
      // As if it were written everywhere.
      dataRange: (_fd, start, end) => (start < end ? { start, end } : undefined),
      readAsync: async (...asked) => count(await host.fs.readAsync(...asked)),
    };
    this.fs = new Proxy(host.fs, {
      get: (target, key) => {
        const value: unknown = Reflect.get(calls, key) ?? Reflect.get(target, key);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "syncline-turns-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

/** Without bytes on the disk. */
function large(path: string): void {
  writeFileSync(path, "");
  truncateSync(path, SIZE);
}

test("[APPLY-27] a partial that is continued is copied in turns; who gives that up finds all of it again", async () => {
  const name = partialName("f", SEEDS);
  const partialsOf = (fs: FileSystem): PartialFiles =>
    new PartialFiles({ host: { fs }, seeds: SEEDS, stage: new Confined(fs, fs.openRoot(dir)), received: new Map() });
  large(join(dir, name));
  const stop = new AbortController();
  const reason = new Error("given up");
  const turn = (signal: AbortSignal) => (): Promise<void> => host.clock.sleep(0, signal);
  {
    using work = new Work((all) => {
      if (all > 40 * MB) stop.abort(reason);
    });
    const outcome = await Promise.resolve(partialsOf(work.fs).openPartial("f", turn(stop.signal))).catch((error: unknown) => error);
    expect(outcome).toBe(reason);
    expect(work.all).toBeLessThan(100 * MB);
    expect(readdirSync(dir)).toEqual([name]);
    expect(statSync(join(dir, name)).size).toBe(SIZE);
  }
  using work = new Work();
  const partials = partialsOf(work.fs);
  const { size } = await partials.openPartial("f", turn(new AbortController().signal));
  expect([size, work.all]).toEqual([SIZE, SIZE]);
  expect(work.worst).toBeLessThanOrEqual(64 * MB);
  partials.drop("f");
  expect(readdirSync(dir)).toEqual([]);
});

for (const isAborted of [false, true]) {
  const what = isAborted ? "that is given up ends" : "lets others have their turn, also when it is read back";
  test(`[APPLY-28] a large copy on one side ${what}`, async () => {
    const root = join(dir, "root");
    mkdirSync(root);
    large(join(root, "f"));
    const stop = new AbortController();
    const reason = new Error("given up");
    using work = new Work((all) => {
      if (isAborted && all > 40 * MB) stop.abort(reason);
    });
    const openStore = (): MemoryStore => new MemoryStore();
    const endpoint = new DirEndpoint({ host: { ...host, fs: work.fs }, path: root, label: root, openStore, hash: (text) => text });
    await endpoint.open({ ...REQUEST, verifyReadBack: true }, stop.signal);
    const entry = { kind: "file", size: SIZE, mode: 0o644, mtimeNs: 0n, sum: undefined } as const;
    const copy: ApplyOp = { type: "change", change: { side: "beta", path: "copy", old: undefined, new: entry, action: "content", from: "f" } };
    const application = endpoint.apply("0123456789ab", stop.signal);
    const pushed = await application.push([copy]).catch((error: unknown) => error);
    expect(pushed).toBe(isAborted ? reason : undefined);
    const results: OpResult[] = [];
    if (!isAborted) await application.commit((more) => results.push(...more));
    await endpoint.close();
    expect(work.worst).toBeLessThanOrEqual(64 * MB);
    if (isAborted) expect(work.all).toBeLessThan(100 * MB);
    else {
      expect(results.map(({ status }) => status)).toEqual(["done"]);
      // It is copied, read for its sum, and read back.
      expect(work.all).toBeGreaterThanOrEqual(3 * SIZE);
    }
  });
}

test("[APPLY-29] a large file of a release lets others have their turn", async () => {
  const [from, to] = [join(dir, "from"), join(dir, "to")];
  for (const one of [from, to]) mkdirSync(one);
  large(join(from, "f"));
  const store = new MemoryStore();
  using work = new Work();
  using source = new Confined(work.fs, work.fs.openRoot(from));
  using target = new Confined(work.fs, work.fs.openRoot(to));
  const context = {
    clock: host.clock, source, previous: undefined, marks: store.tree("marks", twinMarkCodec), seeds: SEEDS,
    sums: () => Promise.resolve(["another"]), signal: new AbortController().signal,
  };
  expect(await makeTwin(context, target).catch((error: unknown) => error)).toMatchObject({ code: "STALE" });
  expect(work.all).toBeGreaterThanOrEqual(2 * SIZE);
  expect(work.worst).toBeLessThanOrEqual(64 * MB);
});
