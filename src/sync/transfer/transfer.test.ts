import { describe, expect, test } from "bun:test";
import {
  appendFileSync,
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { sumOf } from "#sync/chunk/sum.ts";
import { SynclineError } from "#model/error.ts";
import { type Fd, type FileSystem, FsError } from "#platform/file-system.ts";
import { memoryChannelPair } from "#sync/transport/memory-channel.ts";
import {
  BEGIN,
  DATA,
  DATA_HEADER_BYTES,
  OPS,
  OP_COPY,
  OP_ZERO,
  PLAIN,
  encodeBegin,
  encodeFail,
  startMessage,
  writeDataHeader,
} from "#sync/transfer/messages.ts";
import { Fixture, SEEDS, host, noise, withCall } from "#sync/transfer/transfer-fixture.ts";
import { takeBuffer } from "#sync/wire/buffer-pool.ts";

const MB = 1 << 20;

function concat(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

function expectStaged(fixture: Fixture, path: string, bytes: Uint8Array): void {
  expect(Buffer.compare(fixture.staged(path), bytes)).toBe(0);
  expect(fixture.stage.staged.get(path)?.sum).toBe(sumOf(bytes, SEEDS));
  expect(fixture.stage.openCount).toBe(0);
}

describe("transfer of new files", () => {
  test("[XFER-1] files of every size arrive whole, each with one result", async () => {
    using fixture = new Fixture();
    const sizes = [0, 1, 4095, 64 << 10, MB - 1, MB, MB + 1, 5 * MB + 77];
    const paths = sizes.map((size, index) => {
      fixture.write("source", `f${index}`, noise(size, index + 1));
      return `f${index}`;
    });
    const results = await fixture.transfer(paths);
    expect([...results.keys()].sort()).toEqual(paths);
    for (const [index, path] of paths.entries()) {
      const bytes = noise(sizes[index]!, index + 1);
      expect(results.get(path)?.entry).toMatchObject({ size: bytes.length, sum: sumOf(bytes, SEEDS) });
      expectStaged(fixture, path, bytes);
    }
  });

  test("[XFER-2] hundreds of files go through without waiting for each other", async () => {
    using fixture = new Fixture();
    const paths = Array.from({ length: 300 }, (_, index) => `n${index}`);
    for (const [index, path] of paths.entries()) fixture.write("source", path, noise(1000 + index * 300, index));
    const results = await fixture.transfer(paths);
    for (const [index, path] of paths.entries()) expectStaged(fixture, path, noise(1000 + index * 300, index));
    expect(results.size).toBe(300);
  });

  test("[XFER-3] holes and zeros are neither read nor sent nor written", async () => {
    using fixture = new Fixture();
    const size = 2 ** 36 + 12_345;
    const fd = openSync(join(fixture.source, "sparse"), "w");
    ftruncateSync(fd, size);
    writeSync(fd, noise(100_000, 5), 0, 100_000, 2 ** 35 + 4096);
    writeSync(fd, noise(3 * MB, 6), 0, 3 * MB, 40 * MB);
    closeSync(fd);
    fixture.write("source", "zeros", concat(noise(MB, 1), new Uint8Array(6 * MB), noise(10, 2)));
    const results = await fixture.transfer(["sparse", "zeros"]);
    expect(results.get("sparse")?.problem).toBeUndefined();
    const staged = statSync(join(fixture.stagePath, "sparse"));
    expect(staged.size).toBe(size);
    expect(staged.blocks * 512).toBeLessThan(6 * MB);
    expect(fixture.traffic.forth).toBeLessThan(8 * MB);
    expectStaged(fixture, "zeros", concat(noise(MB, 1), new Uint8Array(6 * MB), noise(10, 2)));
    expect(statSync(join(fixture.stagePath, "zeros")).blocks * 512).toBeLessThan(2 * MB);
  });

  test("[XFER-4] without sparse files the zeros are written", async () => {
    using fixture = new Fixture();
    fixture.receiveContext = { ...fixture.receiveContext, sparse: false };
    fixture.write("source", "zeros", new Uint8Array(3 * MB + 5));
    await fixture.transfer(["zeros"]);
    expectStaged(fixture, "zeros", new Uint8Array(3 * MB + 5));
    expect(statSync(join(fixture.stagePath, "zeros")).blocks * 512).toBeGreaterThanOrEqual(3 * MB);
  });

  test("[XFER-5] compressible content travels compressed", async () => {
    using fixture = new Fixture();
    fixture.supplyContext = { ...fixture.supplyContext, compress: "zstd" };
    const text = Buffer.from("a line of a log that says the same as all others\n".repeat(60_000));
    fixture.write("source", "log", text);
    fixture.write("source", "noise", noise(2 * MB, 3));
    await fixture.transfer(["log", "noise"]);
    expectStaged(fixture, "log", text);
    expectStaged(fixture, "noise", noise(2 * MB, 3));
    expect(fixture.traffic.forth).toBeLessThan(2.3 * MB);
  });
});

describe("delta", () => {
  /** Transfers `next` over `old`; the bytes that crossed in both directions. */
  async function delta(old: Uint8Array, next: Uint8Array): Promise<number> {
    using fixture = new Fixture();
    fixture.write("target", "f", old);
    fixture.write("source", "f", next);
    const results = await fixture.transfer(["f"]);
    expect(results.get("f")?.problem).toBeUndefined();
    expectStaged(fixture, "f", next);
    return fixture.traffic.forth + fixture.traffic.back;
  }
  const old = noise(8 * MB + 333, 42);

  test("[DELTA-1] an edit in place costs little more than the hashes of the old file", async () => {
    const next = old.slice();
    for (let edit = 0; edit < 20; edit++) next.fill(edit, edit * 400_000 + 5, edit * 400_000 + 21);
    expect(await delta(old, next)).toBeLessThan(45_000);
  });

  test("[DELTA-2] bytes inserted or removed anywhere cost little more than themselves", async () => {
    const cases = [
      concat(noise(100, 1), old),
      concat(old.subarray(0, 3_333_333), noise(100, 1), old.subarray(3_333_333)),
      concat(old.subarray(0, 1_000_001), old.subarray(5_000_000)),
      old.subarray(100),
    ];
    for (const next of cases) expect(await delta(old, next)).toBeLessThan(40_000);
  });

  test("[DELTA-3] of a file that grew only the tail travels, of one that shrank nothing", async () => {
    expect(await delta(old, concat(old, noise(50_000, 9)))).toBeLessThan(62_000);
    expect(await delta(old, old.subarray(0, 5_000_000))).toBeLessThan(20_000);
    expect(await delta(old, old)).toBeLessThan(9_000);
  });

  test("[DELTA-4] moved and repeated stretches are taken from the old file", async () => {
    const half = 4 * MB + 100;
    expect(await delta(old, concat(old.subarray(half), old.subarray(0, half)))).toBeLessThan(60_000);
    expect(await delta(old, concat(old.subarray(0, MB), old))).toBeLessThan(40_000);
  });

  test("[DELTA-5] unrelated content costs what it is and little more", async () => {
    const next = noise(4 * MB, 77);
    expect(await delta(old, next)).toBeLessThan(4.1 * MB);
    expect(await delta(new Uint8Array(4 * MB), next)).toBeLessThan(4.1 * MB);
    expect(await delta(Buffer.alloc(4 * MB, "abcdefgh"), next)).toBeLessThan(4.1 * MB);
  });

  test("[DELTA-6] whatever was cut, inserted, changed and moved, the staged file is the source's", async () => {
    const edit = fc.record({
      kind: fc.constantFrom("insert", "remove", "change", "move", "zero"),
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      length: fc.oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 300_000 })),
      seed: fc.integer({ min: 1, max: 1000 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(5000, 70_000, 700_000, 2 * MB + 17),
        fc.constantFrom("noise", "text", "zeros"),
        fc.array(edit, { maxLength: 5 }),
        async (size, kind, edits) => {
          const text = Buffer.alloc(size, "lorem ipsum ");
          const before = kind === "noise" ? noise(size, 8) : kind === "text" ? text : new Uint8Array(size);
          let after = new Uint8Array(before);
          for (const { kind: what, at, length, seed } of edits) {
            const from = Math.floor(at * after.length);
            const to = Math.min(after.length, from + length);
            const [head, mid, tail] = [after.subarray(0, from), after.subarray(from, to), after.subarray(to)];
            if (what === "insert") after = concat(head, noise(length, seed), mid, tail) as typeof after;
            else if (what === "remove") after = concat(head, tail) as typeof after;
            else if (what === "change") after = concat(head, noise(mid.length, seed), tail) as typeof after;
            else if (what === "move") after = concat(mid, head, tail) as typeof after;
            else after = concat(head, new Uint8Array(mid.length), tail) as typeof after;
          }
          await delta(before, after);
        },
      ),
      { numRuns: 40 },
    );
  }, 20_000);

  test("[DELTA-8] a bad sector in the old file costs only its use", async () => {
    using fixture = new Fixture();
    fixture.write("source", "f", old);
    fixture.write("target", "f", old);
    let isFirst = true;
    const readAsync: FileSystem["readAsync"] = (fd, into, position) => {
      if (position !== 3 * MB || !isFirst) return host.fs.readAsync(fd, into, position);
      isFirst = false;
      return Promise.reject(new FsError("EIO", "read"));
    };
    fixture.receiveContext = { ...fixture.receiveContext, host: { ...host, fs: withCall(host.fs, "readAsync", readAsync) } };
    const results = await fixture.transfer(["f"]);
    expect(isFirst).toBe(false);
    expect(results.get("f")?.problem).toBeUndefined();
    expectStaged(fixture, "f", old);
  });

  test("[DELTA-9] an old file that cannot even be opened costs only its use, and no other file", async () => {
    for (const code of ["EIO", "EACCES"]) {
      using fixture = new Fixture();
      const paths = ["a", "b", "c", "d", "e", "f"];
      for (const path of paths) fixture.write("source", path, noise(5 * MB, 3));
      const base = (path: string): undefined => {
        if (path === "b") throw new FsError(code, "open");
      };
      fixture.receiveContext = { ...fixture.receiveContext, base };
      const results = await fixture.transfer(paths);
      expect([...results.values()].map(({ problem }) => problem)).toEqual(paths.map(() => undefined));
      for (const path of paths) expectStaged(fixture, path, noise(5 * MB, 3));
    }
  });

  test("[DELTA-10] zeros at the end that are taken from a base which has lost them are there all the same", async () => {
    using fixture = new Fixture();
    const bytes = concat(noise(4 * MB, 3), new Uint8Array(1000));
    for (const side of ["source", "target"] as const) fixture.write(side, "f", bytes);
    const results = await fixture.transfer(["f"], (message) => {
      if (message[0] === OPS) truncateSync(join(fixture.target, "f"), 4 * MB);
    });
    expect(results.get("f")?.problem).toBeUndefined();
    expectStaged(fixture, "f", bytes);
  });

  test("[DELTA-7] a base that lies is found out and the file sent whole", async () => {
    using fixture = new Fixture();
    const next = old.slice(0, 3 * MB);
    fixture.write("source", "f", next);
    fixture.write("target", "f", next);
    let begins = 0;
    const results = await fixture.transfer(["f"], (message) => {
      if (message[0] === BEGIN) begins++;
      // The base changes after it was hashed and before it is copied.
      if (message[0] === OPS) fixture.write("target", "f", noise(3 * MB, 4));
    });
    expect(results.get("f")?.problem).toBeUndefined();
    expectStaged(fixture, "f", next);
    expect(begins).toBe(2);
  });
});

describe("resume", () => {
  test("[RESUME-1] after a cut anywhere what had arrived is not sent again", async () => {
    const bytes = noise(18 * MB + 5, 3);
    for (const [cutAfter, durable] of [[1, true], [4, false], [9, true], [12, false]] as const) {
      using fixture = new Fixture();
      fixture.receiveContext = { ...fixture.receiveContext, durable };
      fixture.write("source", "f", bytes);
      const pair = memoryChannelPair();
      let seen = 0;
      const cut = new SynclineError({ code: "LINK_LOST", op: "test", message: "cut" });
      const transfer = fixture.transfer(
        ["f"],
        (message) => {
          if (message[0] === DATA && ++seen === cutAfter + 1) pair[1].fail(cut);
        },
        pair,
      );
      expect(transfer).rejects.toBe(cut);
      await transfer.catch(() => {});
      expect(fixture.stage.openCount).toBe(0);
      fixture.traffic.forth = 0;
      const results = await fixture.transfer(["f"]);
      expectStaged(fixture, "f", bytes);
      expect(results.get("f")?.reusedBytes).toBeGreaterThanOrEqual(cutAfter * MB);
      expect(fixture.traffic.forth).toBeLessThan(bytes.length - cutAfter * MB + 10_000);
    }
  });

  test("[RESUME-2] a partial full of garbage, or of another version, does no harm", async () => {
    using fixture = new Fixture();
    const old = noise(4 * MB, 3);
    const next = concat(noise(777, 1), old.subarray(0, 2 * MB), new Uint8Array(2 * MB), noise(MB, 9));
    for (const partial of [noise(7 * MB, 5), next.subarray(0, 3 * MB), old, new Uint8Array(9 * MB)]) {
      for (const base of [undefined, old]) {
        writeFileSync(join(fixture.stagePath, "f"), partial);
        if (base !== undefined) fixture.write("target", "f", base);
        fixture.write("source", "f", next);
        const results = await fixture.transfer(["f"]);
        expect(results.get("f")?.problem).toBeUndefined();
        expectStaged(fixture, "f", next);
      }
    }
  });
});

describe("sources that do not hold still", () => {
  /** Calls `change` before each read of the source's files: between the looks at a file before and after it is read. */
  function atEachRead(fixture: Fixture, change: () => void): void {
    const fs = withCall(host.fs, "readAsync", (fd, into, position) => {
      change();
      return host.fs.readAsync(fd, into, position);
    });
    fixture.supplyContext = { ...fixture.supplyContext, host: { ...host, fs } };
  }

  test("[XFER-6] a file written once while it is read is read again", async () => {
    using fixture = new Fixture();
    fixture.write("source", "f", noise(5 * MB, 1));
    let touched = false;
    atEachRead(fixture, () => {
      if (touched) return;
      touched = true;
      appendFileSync(join(fixture.source, "f"), "more");
    });
    const results = await fixture.transfer(["f"]);
    expect(results.get("f")?.entry?.size).toBe(5 * MB + 4);
    expectStaged(fixture, "f", concat(noise(5 * MB, 1), Buffer.from("more")));
  });

  test("[XFER-7] a file that keeps changing is a transient problem, and others are not affected", async () => {
    using fixture = new Fixture();
    fixture.write("source", "busy", noise(5 * MB, 1));
    fixture.write("source", "quiet", noise(5 * MB, 2));
    atEachRead(fixture, () => appendFileSync(join(fixture.source, "busy"), "more"));
    const results = await fixture.transfer(["busy", "quiet"]);
    expect(results.get("busy")?.problem).toMatchObject({ code: "CHANGED", transient: true });
    expectStaged(fixture, "quiet", noise(5 * MB, 2));
  });

  test("[XFER-8] truncation and replacement while reading are noticed", async () => {
    using fixture = new Fixture();
    fixture.write("source", "cut", noise(12 * MB, 1));
    fixture.write("source", "swapped", noise(3 * MB, 2));
    fixture.write("source", "other", noise(3 * MB, 3));
    let first = true;
    atEachRead(fixture, () => {
      if (!first) return;
      first = false;
      writeFileSync(join(fixture.source, "cut"), noise(MB, 4));
      renameSync(join(fixture.source, "other"), join(fixture.source, "swapped"));
    });
    const results = await fixture.transfer(["cut", "swapped"]);
    expect(results.get("cut")?.problem).toBeUndefined();
    expectStaged(fixture, "cut", noise(MB, 4));
    expectStaged(fixture, "swapped", noise(3 * MB, 3));
  });

  test("[XFER-9] files that are gone or are no files are problems of their own", async () => {
    using fixture = new Fixture();
    fixture.write("source", "f", noise(1000, 1));
    mkdirSync(join(fixture.source, "dir"));
    const results = await fixture.transfer(["missing", "dir", "f"]);
    expect(results.get("missing")?.problem?.code).toBe("ENOENT");
    expect(results.get("dir")?.problem?.code).toBe("EINVAL");
    expectStaged(fixture, "f", noise(1000, 1));
    expect(readdirSync(fixture.stagePath)).toEqual(["f"]);
  });

  test("[XFER-10] a full disk ends the rest with a clear problem each and leaves nothing behind", async () => {
    using fixture = new Fixture();
    const paths = Array.from({ length: 40 }, (_, index) => `f${index}`);
    for (const path of paths) fixture.write("source", path, noise(2 * MB, 1));
    let writes = 0;
    const writeAsync: FileSystem["writeAsync"] = (fd, bytes, position) =>
      ++writes > 5 ? Promise.reject(new FsError("ENOSPC", "write")) : host.fs.writeAsync(fd, bytes, position);
    const fs = withCall(host.fs, "writeAsync", writeAsync);
    fixture.receiveContext = { ...fixture.receiveContext, host: { ...host, fs } };
    const results = await fixture.transfer(paths);
    expect(results.size).toBe(paths.length);
    const codes = paths.map((path) => results.get(path)?.problem?.code);
    expect(codes.filter((code) => code === "ENOSPC").length).toBeGreaterThan(30);
    expect(readdirSync(fixture.stagePath).length).toBe(codes.filter((code) => code === undefined).length);
    expect(fixture.stage.openCount).toBe(0);
    expect(fixture.traffic.forth).toBeLessThan(40 * MB);
  });
});

describe("a hostile or broken source", () => {
  test("[XFER-11] damaged content never reaches the stage as done", async () => {
    using fixture = new Fixture();
    fixture.write("source", "f", noise(3 * MB, 1));
    const results = await fixture.transfer(["f"], (message) => {
      if (message[0] === DATA) message[1000] = message[1000]! ^ 1;
    });
    expect(results.get("f")?.problem?.code).toBe("CORRUPT");
    expect(readdirSync(fixture.stagePath)).toEqual([]);
  });

  test("[XFER-12] mutated messages end in a result, a problem or a refusal, never in a wrong file", async () => {
    const old = noise(300_000, 1);
    const next = concat(noise(50, 2), old.subarray(0, 200_000), noise(3000, 4), old.subarray(210_000));
    await fc.assert(
      fc.asyncProperty(fc.nat(12), fc.nat(40), fc.nat(255), async (which, place, value) => {
        using fixture = new Fixture();
        fixture.write("target", "f", old);
        fixture.write("source", "f", next);
        let count = 0;
        const outcome = fixture.transfer(["f"], (message) => {
          if (count++ === which && place < message.length) message[place] = value;
        });
        try {
          await outcome;
        } catch (error) {
          expect(error).toBeInstanceOf(SynclineError);
        }
        expect(fixture.stage.openCount).toBe(0);
        const done = fixture.stage.staged.get("f");
        if (done !== undefined) expect(Buffer.compare(fixture.staged("f"), next)).toBe(0);
      }),
      { numRuns: 120 },
    );
  }, 20_000);

  test("[XFER-13] random bytes to either side are a protocol error", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 60 }), fc.boolean(), async (bytes, toSource) => {
        using fixture = new Fixture();
        fixture.write("source", "f", noise(3 * MB, 1));
        const pair = memoryChannelPair();
        pair[toSource ? 1 : 0].send(bytes);
        try {
          await fixture.transfer(["f"], undefined, pair);
        } catch (error) {
          expect(error).toBeInstanceOf(SynclineError);
        }
        expect(fixture.stage.openCount).toBe(0);
      }),
      { numRuns: 60 },
    );
  }, 20_000);

  test("[XFER-14] an aborted transfer stops both sides and keeps what it has", async () => {
    using fixture = new Fixture();
    fixture.write("source", "f", noise(9 * MB, 1));
    const stop = new AbortController();
    const reason = new SynclineError({ code: "INTERRUPTED", op: "test", message: "stop" });
    let seen = 0;
    const onMessage = (message: Uint8Array): void => {
      if (message[0] === DATA && ++seen === 4) stop.abort(reason);
    };
    const transfer = fixture.transfer(["f"], onMessage, memoryChannelPair(), stop.signal);
    const outcome = await transfer.then(() => undefined, (error: unknown) => error);
    expect(outcome).toBe(reason);
    expect(fixture.stage.openCount).toBe(0);
    expect(fixture.staged("f").length).toBeGreaterThanOrEqual(3 * MB);
  });

  test("[XFER-22] a transfer that breaks off closes every file, and tells why, also where the disk keeps what it is to drop", async () => {
    using fixture = new Fixture();
    const paths = ["a", "b", "c"];
    for (const path of paths) fixture.write("source", path, noise(2 * MB, 1));
    const { stage } = fixture;
    const drop = stage.drop.bind(stage);
    let drops = 0;
    stage.drop = (path) => {
      drop(path);
      drops++;
      throw new FsError("EIO", "unlink");
    };
    const stop = new AbortController();
    const reason = new SynclineError({ code: "INTERRUPTED", op: "test", message: "stop" });
    const transfer = fixture.transfer(paths, () => stop.abort(reason), memoryChannelPair(), stop.signal);
    const outcome = await transfer.then(() => undefined, (error: unknown) => error);
    expect([outcome, drops > 1, stage.openCount]).toEqual([reason, true, 0]);
  });

  test("[XFER-16] however much work a few ops ask for, others have their turn, and an abort ends it", async () => {
    const size = 160 * MB;
    const copy = [OP_COPY, 0, 0, size];
    const zeros = [OP_ZERO, 0, size];
    for (const op of [copy, zeros]) {
      for (const isAborted of [false, true]) {
        using fixture = new Fixture();
        fixture.write("source", "f", noise(10, 1));
        fixture.write("target", "f", new Uint8Array(0));
        truncateSync(join(fixture.target, "f"), size);
        const stop = new AbortController();
        const reason = new SynclineError({ code: "INTERRUPTED", op: "test", message: "stop" });
        let inTurn = 0;
        let worst = 0;
        let all = 0;
        const work = (bytes: number): number => {
          inTurn += bytes;
          all += bytes;
          worst = Math.max(worst, inTurn);
          if (isAborted && all > 40 * MB) stop.abort(reason);
          return bytes;
        };
        const turn = setInterval(() => (inTurn = 0), 0);
        const copying = withCall(host.fs, "copyRange", (_from, _fromAt, _to, _toAt, length) => work(length));
        const fs = withCall(copying, "write", (_fd, bytes) => void work(bytes.length));
        fixture.receiveContext = { ...fixture.receiveContext, sparse: false, host: { ...host, fs } };
        const [near, far] = memoryChannelPair();
        const ops = startMessage(OPS, 1);
        ops.u8(op[0]!);
        for (const number of op.slice(1)) ops.varint(number);
        for (const message of [encodeBegin(1, size, 1), ops.finish()]) await near.send(message);
        await near.send(encodeFail(1, { code: "CHANGED", message: "", transient: true }));
        const [supplier, nobody] = memoryChannelPair();
        nobody.end();
        const hearing = (async (): Promise<void> => {
          while ((await near.receive()) !== undefined) continue;
          near.end();
        })();
        hearing.catch(() => {});
        const outcome = await fixture
          .transfer(["f"], undefined, [supplier, far], stop.signal)
          .then((results) => results.get("f")?.problem?.code, (error: unknown) => error);
        clearInterval(turn);
        expect(outcome).toBe(isAborted ? reason : "CHANGED");
        expect(worst).toBeLessThanOrEqual(64 * MB);
        if (isAborted) expect(all).toBeLessThan(100 * MB);
        else expect(all).toBe(size);
        expect(fixture.stage.openCount).toBe(0);
      }
    }
  });
});

test("[XFER-21] bytes that are in memory go out from there, and the rest is read", async () => {
  using fixture = new Fixture();
  const bytes = noise(9 * MB + 77, 11);
  fixture.write("source", "f", bytes);
  let taken = 0;
  const take = async (_fd: Fd, position: number, length: number): Promise<Uint8Array | undefined> => {
    if ((position / MB) % 3 === 0) return undefined;
    taken++;
    const message = takeBuffer(DATA_HEADER_BYTES + length);
    message.set(bytes.subarray(position, position + length), DATA_HEADER_BYTES);
    return message;
  };
  fixture.supplyContext = { ...fixture.supplyContext, take };
  await fixture.transfer(["f"]);
  expect(taken).toBe(6);
  expectStaged(fixture, "f", bytes);
});

test("[XFER-20] the header of a piece that travels says nothing of what was in its memory before", () => {
  const message = new Uint8Array(DATA_HEADER_BYTES + 10).fill(0xaa);
  writeDataHeader(message, { id: 1, target: 2, length: 10, packing: PLAIN });
  expect(message.subarray(0, DATA_HEADER_BYTES).filter((byte) => byte === 0xaa)).toHaveLength(0);
  expect(message.subarray(DATA_HEADER_BYTES).every((byte) => byte === 0xaa)).toBe(true);
});
