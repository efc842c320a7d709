/** Files that the destination does not have under their name, but much of them under another. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { SynclineError } from "#model/error.ts";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { DirEndpoint } from "#sync/endpoint/dir-endpoint.ts";
import type { TransferResult } from "#sync/endpoint/endpoint.ts";
import { MemoryDisk, MemoryStore } from "#sync/index/memory-store.ts";
import { memoryChannelPair } from "#sync/transport/memory-channel.ts";
import { type Fd, FsError } from "#platform/file-system.ts";
import { supplyFiles } from "#sync/transfer/supply.ts";
import { ByteReader } from "#sync/wire/bytes.ts";
import { FILE_BYTES_MAX } from "#sync/transfer/limits.ts";
import {
  BEGIN,
  CHOOSE,
  OPS,
  type Request,
  encodeBegin,
  encodeChoose,
  encodeRequest,
  readChoose,
  readRequest,
} from "#sync/transfer/messages.ts";
import { Fixture, SEEDS, fileEntry, host, noise } from "#sync/transfer/transfer-fixture.ts";

const MB = 1 << 20;

function concat(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** Brings `next` to a destination that has `there`; every one of these is a candidate. */
async function bring(
  next: Uint8Array,
  there: Readonly<Record<string, Uint8Array>>,
  onMessage?: (message: Uint8Array, fixture: Fixture) => void,
): Promise<{ result: TransferResult; forth: number; back: number }> {
  using fixture = new Fixture();
  fixture.write("source", "f", next);
  for (const [path, bytes] of Object.entries(there)) fixture.write("target", path, bytes);
  fixture.candidates.set("f", Object.keys(there));
  const results = await fixture.transfer(["f"], (message) => onMessage?.(message, fixture));
  const result = results.get("f")!;
  expect(result.problem).toBeUndefined();
  expect(Buffer.compare(fixture.staged("f"), next)).toBe(0);
  expect(fixture.stage.openCount).toBe(0);
  return { result, ...fixture.traffic };
}

/** Reads the request of a destination that was given `candidates`, and answers as the test says. */
async function playSource(answer: (request: Request) => Uint8Array[]): Promise<unknown> {
  using fixture = new Fixture();
  fixture.write("source", "f", noise(2 * MB, 1));
  for (const path of ["a", "b"]) fixture.write("target", path, noise(2 * MB, 2));
  fixture.candidates.set("f", ["a", "b"]);
  const [near, far] = memoryChannelPair();
  const [supplier, asked] = memoryChannelPair();
  // The real source gets an end at once; its place is taken.
  void asked.end();
  const playing = (async (): Promise<void> => {
    const reader = new ByteReader((await near.receive())!);
    reader.u8();
    for (const message of answer(readRequest(reader))) await near.send(message);
    while ((await near.receive()) !== undefined) continue;
  })();
  playing.catch(() => {});
  const outcome = await fixture
    .transfer(["f"], undefined, [supplier, far])
    .then((results) => results, (error: unknown) => error);
  expect(fixture.stage.openCount).toBe(0);
  return outcome;
}

describe("similar files", () => {
  const old = noise(8 * MB + 333, 42);

  test("[SIMILAR-1] an edited copy, parts of a file and a concatenation move only what differs", async () => {
    const edited = concat(noise(100, 1), old.subarray(0, 3 * MB), noise(300, 2), old.subarray(3 * MB));
    edited.fill(7, 6 * MB, 6 * MB + 16);
    const copy = await bring(edited, { "unlike": noise(6 * MB, 9), "old": old });
    expect(copy.forth + copy.back).toBeLessThan(25_000);
    expect(copy.result.literalBytes).toBeLessThan(5_000);
    expect(copy.result.reusedBytes).toBe(edited.length - copy.result.literalBytes);

    const part = await bring(old.subarray(5 * MB), { old });
    expect(part.forth + part.back).toBeLessThan(80_000);

    const other = noise(5 * MB + 77, 3);
    const joined = await bring(concat(other, old), { old, "unlike": noise(6 * MB, 9), other });
    expect(joined.forth + joined.back).toBeLessThan(25_000);
    expect(joined.result.literalBytes).toBe(0);
  });

  test("[SIMILAR-2] candidates of no use cost samples of them, not their hashes", async () => {
    const next = noise(20 * MB, 5);
    const { result, forth, back } = await bring(next, { "one": noise(16 * MB, 6), "two": noise(16 * MB, 7), "zeros": new Uint8Array(16 * MB) });
    expect(result.reusedBytes).toBe(0);
    expect(forth).toBeLessThan(next.length + 2_000);
    expect(back).toBeLessThan(3 * 256 * 12 + 1_000);
    const header = noise(8_000, 1);
    const format = await bring(concat(header, next), { one: concat(header, noise(16 * MB, 6)) });
    expect(format.result.reusedBytes).toBe(0);
  });

  test("[SIMILAR-3] after many in vain candidates are offered for large files only", async () => {
    using fixture = new Fixture();
    const paths = Array.from({ length: 60 }, (_, at) => `photo${at}`);
    fixture.write("target", "photo", noise(MB, 1000));
    for (const [at, path] of paths.entries()) {
      fixture.write("source", path, noise(MB, at + 1));
      fixture.candidates.set(path, ["photo"]);
    }
    const results = await fixture.transfer(paths);
    expect([...results.values()].every(({ entry }) => entry !== undefined)).toBe(true);
    // 60 × 16 samples of 12 bytes would be more than 11,000.
    expect(fixture.traffic.back).toBeLessThan(60 * 30 + 32 * 16 * 12);
  });

  test("[SIMILAR-4] a candidate that changes or shrinks under way does no harm", async () => {
    for (const when of [CHOOSE, BEGIN, OPS]) {
      for (const harm of ["change", "shrink"]) {
        let isDone = false;
        const { result } = await bring(concat(noise(9, 9), old), { old }, (message, { target }) => {
          if (message[0] !== when || isDone) return;
          isDone = true;
          if (harm === "shrink") truncateSync(join(target, "old"), MB);
          else writeFileSync(join(target, "old"), noise(8 * MB + 333, 4));
        });
        expect(isDone).toBe(true);
        expect(result.entry?.size).toBe(old.length + 9);
      }
    }
  });

  test("[SIMILAR-5] a file that is cut off and comes again has both its partial and its candidates", async () => {
    using fixture = new Fixture();
    const next = concat(noise(4 * MB, 1), old);
    fixture.write("source", "f", next);
    fixture.write("target", "old", old);
    writeFileSync(join(fixture.stagePath, "f"), next.subarray(0, 3 * MB));
    fixture.candidates.set("f", ["old"]);
    const results = await fixture.transfer(["f"]);
    expect(Buffer.compare(fixture.staged("f"), next)).toBe(0);
    expect(results.get("f")?.literalBytes).toBeLessThan(MB + 70_000);
  });

  test("[SIMILAR-6] what is no file any more, or too much, is passed over, and nothing leads outside", async () => {
    using fixture = new Fixture();
    const never = new AbortController().signal;
    const root = fixture.target;
    const names = ["gone", "dir", "fifo", "link", "in/deep", "good"];
    mkdirSync(join(root, "in"));
    for (const name of names) fixture.write("target", name, old);
    writeFileSync(join(fixture.dir, "outside"), old);
    const store = new MemoryStore(new MemoryDisk());
    const endpoint = new DirEndpoint({ host, path: root, label: "root", openStore: () => store, hash: String });
    const filters = { ignore: [], include: [], preserve: PRESERVE_DEFAULT, durable: "none", verifyReadBack: false } as const;
    const place = { sessionId: "0".repeat(32), createRoot: false, expectRootId: undefined } as const;
    await endpoint.open({ ...filters, ...place, seeds: SEEDS, writable: true, compress: "none" }, never);
    try {
      await endpoint.scan({ since: 0, acknowledged: 0, extent: "full", deep: false }, () => undefined, never);
      for (const name of names.slice(0, -1)) rmSync(join(root, name));
      rmSync(join(root, "in"), { recursive: true });
      mkdirSync(join(root, "dir"));
      Bun.spawnSync(["mkfifo", join(root, "fifo")]);
      symlinkSync(join(fixture.dir, "outside"), join(root, "link"));
      mkdirSync(join(fixture.dir, "elsewhere"));
      writeFileSync(join(fixture.dir, "elsewhere/deep"), old);
      symlinkSync(join(fixture.dir, "elsewhere"), join(root, "in"));
      const bring = async (candidates: string[]): Promise<TransferResult> => {
        const [near, far] = memoryChannelPair();
        fixture.write("source", "f", concat(noise(10, 1), old));
        const supplying = supplyFiles(fixture.supplyContext, near, never);
        const entry = fileEntry(fixture.sourceRoot.stat("f"));
        const results: TransferResult[] = [];
        await endpoint.receive(far, [{ path: "f", entry, candidates }], (result) => results.push(result), never);
        await supplying;
        return results[0]!;
      };
      const nothing = await bring(["gone", "dir", "fifo", "link", "in/deep", "../outside", "/etc/passwd", "never/was"]);
      expect([nothing.problem, nothing.reusedBytes]).toEqual([undefined, 0]);
      const { problem, reusedBytes } = await bring(["dir", "../outside", "good", "good", "link", ...names]);
      expect(problem).toBeUndefined();
      expect(reusedBytes).toBeGreaterThan(old.length - 70_000);
    } finally {
      await endpoint.close();
    }
  });
});

test("[SIMILAR-11] a candidate that refuses to be read costs only its use", async () => {
  using fixture = new Fixture();
  const { fs } = host;
  const next = noise(3 * MB, 1);
  fixture.write("source", "f", next);
  fixture.write("target", "lost", next);
  fixture.candidates.set("f", ["lost"]);
  let lost: Fd | undefined;
  const { base } = fixture.receiveContext;
  const refusing = new Proxy(fs, {
    get: (target, key) => {
      if (key === "readAsync") {
        return (fd: Fd, into: Uint8Array, position: number) =>
          fd === lost ? Promise.reject(new FsError("ESTALE", "read")) : fs.readAsync(fd, into, position);
      }
      const value: unknown = Reflect.get(target, key);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  fixture.receiveContext = {
    ...fixture.receiveContext,
    host: { ...host, fs: refusing },
    base: (path) => {
      const file = base(path);
      if (path === "lost") lost = file?.fd;
      return file;
    },
  };
  const results = await fixture.transfer(["f"]);
  expect(lost).toBeDefined();
  expect(results.get("f")?.problem).toBeUndefined();
  expect(Buffer.compare(fixture.staged("f"), next)).toBe(0);
  expect(fixture.stage.openCount).toBe(0);
});

describe("a hostile peer", () => {
  test("[SIMILAR-7] a choice of what was not offered is refused", async () => {
    const begin = encodeBegin(1, 10, 1);
    const choices: (() => Uint8Array[])[] = [
      () => [encodeChoose(1, [2])],
      () => [encodeChoose(1, [])],
      () => [encodeChoose(1, [0, 0])],
      () => [encodeChoose(1, [0, 1, 0])],
      () => [encodeChoose(1, [0]), encodeChoose(1, [1])],
      () => [begin, encodeChoose(1, [0])],
      () => [encodeChoose(2, [0])],
      () => [concat(encodeChoose(1, [0]), noise(3, 1))],
    ];
    for (const answer of choices) expect(await playSource(answer)).toMatchObject({ code: "PROTOCOL" });
  });

  test("[SIMILAR-8] requests and choices come back from the wire; beyond the limits they are refused", () => {
    const size = fc.integer({ min: 4096, max: FILE_BYTES_MAX / 4 });
    const blockBytes = fc.constantFrom(4096, 65_536, MB);
    const held = fc.option(fc.record({ size, blockBytes }), { nil: undefined });
    const sizes = fc.array(size, { minLength: 1, maxLength: 4 });
    const candidates = fc.option(fc.record({ sizes, blockBytes }), { nil: undefined });
    const read = (request: Request): Request => {
      const reader = new ByteReader(encodeRequest(request));
      reader.u8();
      return readRequest(reader);
    };
    fc.assert(
      fc.property(fc.nat(), held, held, candidates, (id, base, partial, offered) => {
        const request = { id, path: "a/b", base, partial, candidates: base === undefined ? offered : undefined };
        expect(read(request)).toEqual(request);
      }),
    );
    const plain = { id: 1, path: "a", base: undefined, partial: undefined };
    const bad: Request[] = [
      { ...plain, candidates: { sizes: [4096, 4096, 4096, 4096, 4096], blockBytes: 4096 } },
      { ...plain, candidates: { sizes: [4095], blockBytes: 4096 } },
      { ...plain, candidates: { sizes: [4096], blockBytes: 5000 } },
      { ...plain, candidates: { sizes: [4096], blockBytes: 2 * MB } },
      { ...plain, candidates: { sizes: [FILE_BYTES_MAX + 1], blockBytes: MB } },
      { ...plain, candidates: { sizes: [FILE_BYTES_MAX, FILE_BYTES_MAX], blockBytes: MB } },
      { ...plain, base: { size: 5000, blockBytes: 4096 }, candidates: { sizes: [4096], blockBytes: 4096 } },
    ];
    for (const request of bad) expect(() => read(request)).toThrow(SynclineError);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 12 }), fc.integer({ min: 1, max: 4 }), (bytes, count) => {
        try {
          const chosen = readChoose(new ByteReader(bytes), count);
          expect(chosen.length).toBeGreaterThan(0);
          expect(new Set(chosen).size).toBe(chosen.length);
          expect(Math.max(...chosen)).toBeLessThan(count);
        } catch (error) {
          expect(error).toMatchObject({ code: "PROTOCOL" });
        }
      }),
    );
  });
});
