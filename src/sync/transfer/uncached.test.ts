import { describe, expect, test } from "bun:test";
import { openSync, readdirSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { PAGE_BYTES, alignedBytes } from "#platform/aligned-bytes.ts";
import { type Fd, type FileSystem, FsError } from "#platform/file-system.ts";
import { PIECE_BYTES, sumOf } from "#sync/chunk/sum.ts";
import { ByteReader, ByteWriter } from "#sync/wire/bytes.ts";
import { Assembly } from "#sync/transfer/assembly.ts";
import { Base } from "#sync/transfer/base.ts";
import { UNCACHED_BYTES_MIN } from "#sync/transfer/limits.ts";
import { OP_COPY, OP_KEEP, OP_ZERO } from "#sync/transfer/messages.ts";
import { WriteQueue } from "#sync/transfer/write-queue.ts";
import { Fixture, SEEDS, host, noise, withCall } from "#sync/transfer/transfer-fixture.ts";

const LARGE = UNCACHED_BYTES_MIN + 3 * PIECE_BYTES + 12_345;
const SMALL = 5 * PIECE_BYTES;

type Kind = "whole" | "unaligned" | "parts" | "copy" | "keep" | "zero";
const KINDS: readonly Kind[] = ["whole", "whole", "whole", "unaligned", "parts", "copy", "keep", "zero"];

/** How much of a write past the page cache is taken: all, none, or its first page. */
type Take = "all" | "none" | "page";

/** Where the tests' disk has no such way the second description writes as ever. */
const able = withCall(host.fs, "openUncached", (fd) => host.fs.openUncached(fd) ?? (openSync(`/proc/self/fd/${fd}`, "r+") as Fd));

function taking(fs: FileSystem, takes: readonly Take[]): FileSystem {
  let calls = 0;
  return withCall(fs, "writeUncached", (fd, parts, position) => {
    const take = takes[calls++ % takes.length];
    if (take === "none") return Promise.resolve(0);
    return fs.writeUncached(fd, take === "all" ? parts : [parts[0]!.subarray(0, PAGE_BYTES)], position);
  });
}

/** `bytes` in memory of its own, aligned or not. */
function copyOf(bytes: Uint8Array, aligned: boolean): Uint8Array {
  const copy = alignedBytes(bytes.length, aligned ? 0 : 1);
  copy.set(bytes);
  return copy;
}

/** What a file shall become, piece by piece, and what it is made from. */
class Build {
  readonly wanted: Uint8Array;
  readonly #base: Uint8Array;
  readonly #kinds: readonly Kind[];

  constructor(kinds: readonly Kind[]) {
    this.#kinds = kinds;
    this.#base = noise(LARGE, 2);
    this.wanted = noise(LARGE, 1);
    kinds.forEach((kind, piece) => {
      const [from, to] = this.#range(piece);
      if (kind === "copy") this.wanted.set(this.#base.subarray(0, to - from), from);
      if (kind === "zero") this.wanted.fill(0, from, to);
    });
  }

  #range(piece: number): [number, number] {
    return [piece * PIECE_BYTES, Math.min(LARGE, (piece + 1) * PIECE_BYTES)];
  }

  /** The file that comes of it, and its sum. `partial`: bytes are there that a "keep" may use. */
  async run(fs: FileSystem, dir: Fd, order: readonly number[], durable: boolean): Promise<[Uint8Array, string | undefined]> {
    const baseFd = fs.create(dir, "base", 0o600);
    const fd = fs.create(dir, "file", 0o600);
    try {
      fs.write(baseFd, this.#base, 0);
      fs.write(fd, noise(LARGE, 3), 0);
      this.#kinds.forEach((kind, piece) => {
        if (kind === "keep") fs.write(fd, this.wanted.subarray(...this.#range(piece)), piece * PIECE_BYTES);
      });
      const base = Base.of(fs, [{ fd: baseFd, size: LARGE }]);
      const parts = { fs, seeds: SEEDS, fd, partialSize: LARGE, base, sparse: true, durable, turn: () => Promise.resolve() };
      const assembly = new Assembly(parts, LARGE, 1);
      for (const piece of order) await this.#piece(assembly, piece);
      const sum = await assembly.finish();
      assembly.close();
      const made = new Uint8Array(fs.fstat(fd).size);
      fs.read(fd, made, 0);
      return [made, sum];
    } finally {
      for (const [name, open] of [["base", baseFd], ["file", fd]] as const) {
        fs.close(open);
        fs.unlink(dir, name);
      }
    }
  }

  async #piece(assembly: Assembly, piece: number): Promise<void> {
    const [from, to] = this.#range(piece);
    const kind = this.#kinds[piece]!;
    const bytes = this.wanted.subarray(from, to);
    if (kind === "whole" || kind === "unaligned") return assembly.data(from, copyOf(bytes, kind === "whole"), () => {});
    if (kind === "parts") {
      const middle = Math.floor(bytes.length / 3);
      assembly.data(from + middle, copyOf(bytes.subarray(middle), true), () => {});
      return assembly.data(from, copyOf(bytes.subarray(0, middle), true), () => {});
    }
    const ops = new ByteWriter();
    ops.u8({ copy: OP_COPY, keep: OP_KEEP, zero: OP_ZERO }[kind]);
    ops.varint(from);
    if (kind === "copy") ops.varint(0);
    ops.varint(to - from);
    await assembly.ops(new ByteReader(ops.finish()));
  }
}

test("[XFER-17] whatever passes by the page cache and what not, in whatever order, the file is the same", async () => {
  using fixture = new Fixture();
  const dir = host.fs.openRoot(fixture.stagePath);
  const pieces = Math.ceil(LARGE / PIECE_BYTES);
  const kinds = fc.array(fc.constantFrom(...KINDS), { minLength: pieces, maxLength: pieces });
  const places = Array.from({ length: pieces }, (_, piece) => piece);
  const orders = fc.oneof(fc.constant(places), fc.shuffledSubarray(places, { minLength: pieces }));
  const takes = fc.array(fc.constantFrom<Take>("all", "all", "none", "page"), { minLength: 1, maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(kinds, orders, takes, async (some, order, take) => {
      const build = new Build(some);
      const sum = sumOf(build.wanted, SEEDS);
      for (const durable of [true, false]) {
        const [made, found] = await build.run(taking(able, take), dir, order, durable);
        expect(Buffer.compare(made, build.wanted)).toBe(0);
        expect(found).toBe(sum);
      }
    }),
    { numRuns: 8 },
  );
  host.fs.close(dir);
});

describe("past the page cache", () => {
  const openCount = (): number => readdirSync("/proc/self/fd").length;

  test("[XFER-18] a disk that fails such a write is a problem of the file, and nothing is left behind", async () => {
    for (const errno of ["ENOSPC", "EIO"]) {
      using fixture = new Fixture();
      fixture.write("source", "f", noise(LARGE, 1));
      const before = openCount();
      let calls = 0;
      const fs = withCall(able, "writeUncached", (fd, parts, position) =>
        ++calls >= 2 ? Promise.reject(new FsError(errno, "write")) : host.fs.writeUncached(fd, parts, position));
      fixture.receiveContext = { ...fixture.receiveContext, host: { ...host, fs } };
      const results = await fixture.transfer(["f"]);
      expect(results.get("f")?.problem?.code).toBe(errno);
      expect(calls).toBeGreaterThan(1);
      expect(readdirSync(fixture.stagePath)).toEqual([]);
      expect(openCount()).toBe(before);
    }
  });

  test("[XFER-18] what waits behind a write that failed is not made any more", async () => {
    using fixture = new Fixture();
    const dir = host.fs.openRoot(fixture.stagePath);
    const fd = host.fs.create(dir, "f", 0o600);
    const positions: number[] = [];
    const fs = withCall(able, "writeUncached", (uncached, parts, position) => {
      positions.push(position);
      return position === 0 ? Promise.reject(new FsError("EIO", "write")) : host.fs.writeUncached(uncached, parts, position);
    });
    const queue = new WriteQueue(fs, fd, true);
    const piece = copyOf(noise(PIECE_BYTES, 1), true);
    const places = [2, 0, 4, 5].map((index) => index * PIECE_BYTES);
    const ends = await Promise.allSettled(places.map((position) => queue.write(piece, position)));
    expect(ends.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "rejected", "rejected"]);
    expect(queue.write(piece, 8 * PIECE_BYTES)).rejects.toMatchObject({ code: "EIO" });
    expect(positions).toEqual([2 * PIECE_BYTES, 0]);
    expect(host.fs.fstat(fd).size).toBe(3 * PIECE_BYTES);
    queue.close();
    for (const one of [fd, dir]) host.fs.close(one);
  });

  test("[XFER-19] what arrives whole in a large file does; small files, and what need not be durable, do not", async () => {
    using fixture = new Fixture();
    fixture.write("source", "large", noise(LARGE, 1));
    fixture.write("source", "small", noise(SMALL, 2));
    let offered = 0;
    let ordinary = 0;
    const counting = withCall(able, "writeAsync", (fd, bytes, position) => {
      ordinary += bytes.length;
      return host.fs.writeAsync(fd, bytes, position);
    });
    let begun = 0;
    const watched = withCall(counting, "startWriteback", () => void begun++);
    const fs = withCall(watched, "writeUncached", (fd, parts, position) => {
      for (const part of parts) offered += part.length;
      return host.fs.writeUncached(fd, parts, position);
    });
    const through = async (path: string, durable: boolean): Promise<number> => {
      offered = 0;
      fixture.receiveContext = { ...fixture.receiveContext, host: { ...host, fs }, durable };
      expect((await fixture.transfer([path])).get(path)?.problem).toBeUndefined();
      return offered;
    };
    const before = openCount();
    expect(await through("large", true)).toBe(LARGE - 12_345);
    expect(begun).toBeGreaterThan(0);
    expect(ordinary).toBe(12_345);
    expect(Buffer.compare(fixture.staged("large"), noise(LARGE, 1))).toBe(0);
    expect(await through("small", true)).toBe(0);
    expect(openCount()).toBe(before);
    unlinkSync(join(fixture.stagePath, "large"));
    begun = 0;
    expect(await through("large", false)).toBe(0);
    expect(begun).toBe(0);
  });
});
