import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { deflateSync, inflateSync } from "node:zlib";
import fc from "fast-check";
import { parseFacts } from "#gateway/ftp/changed-facts.ts";
import { Deflating, Inflating } from "#gateway/ftp/deflate.ts";
import { FtpLab } from "#gateway/ftp/ftp-fixture.ts";
import { FtpRefusal } from "#gateway/ftp/reply.ts";

let lab: FtpLab;
beforeAll(async () => {
  lab = await FtpLab.open();
});
afterAll(async () => {
  await lab[Symbol.asyncDispose]();
});

/** What became of a stream that came in these pieces: its bytes, or the code that refuses it. */
async function inflated(pieces: readonly Uint8Array[]): Promise<Buffer | number> {
  const out: Uint8Array[] = [];
  using inflating = new Inflating((bytes) => void out.push(bytes.slice()));
  try {
    for (const piece of pieces) await inflating.write(piece);
    await inflating.end();
    return Buffer.concat(out);
  } catch (error) {
    if (error instanceof FtpRefusal) return error.code;
    throw error;
  }
}

function cutAt(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return places.slice(1).map((end, at) => bytes.subarray(places[at], end));
}

describe("MODE Z", () => {
  test("[FTP-71] a stream is the same wherever it is cut, and what is short, changed or behind its end is refused", async () => {
    const bytesArb = fc.uint8Array({ maxLength: 300 });
    await fc.assert(
      fc.asyncProperty(bytesArb, fc.array(fc.nat(400), { maxLength: 5 }), fc.nat(400), fc.integer({ min: 1, max: 255 }), async (bytes, cuts, at, flip) => {
        const stream = deflateSync(bytes);
        expect((await inflated(cutAt(stream, cuts)) as Buffer).equals(bytes)).toBe(true);
        expect(await inflated(cutAt(stream.subarray(0, at % stream.length), cuts))).toBe(426);
        expect(await inflated(cutAt(Buffer.concat([stream, Uint8Array.of(flip)]), cuts))).toBe(551);
        const changed = Buffer.from(stream);
        changed[at % stream.length]! ^= flip;
        const got = await inflated(cutAt(changed, cuts));
        // A few bits say nothing of the bytes.
        expect(typeof got === "number" || got.equals(bytes)).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  test("[FTP-71] garbage is refused", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 200 }), fc.array(fc.nat(200), { maxLength: 4 }), async (bytes, cuts) => {
        expect([426, 551]).toContain(await inflated(cutAt(bytes, cuts)) as number);
      }),
      { numRuns: 200 },
    );
  });

  test("[FTP-72] what becomes a thousand times as long waits for each of its pieces, and no more is held", async () => {
    const bomb = deflateSync(Buffer.alloc(64 << 20), { level: 9 });
    let taken = 0;
    let isOpen = false;
    const { promise: opened, resolve: open } = Promise.withResolvers<void>();
    using inflating = new Inflating((bytes) => {
      taken += bytes.length;
      return isOpen ? undefined : opened;
    });
    const written = inflating.write(bomb);
    for (let turn = 0; turn < 200; turn++) await new Promise<void>((resolve) => void setImmediate(resolve));
    // The first waits for us, and none comes after it.
    expect(taken).toBeLessThanOrEqual(64 << 10);
    isOpen = true;
    open();
    await written;
    await inflating.end();
    expect(taken).toBe(64 << 20);
  });

  test("[FTP-72] whoever takes nothing any more ends the stream with its own error, both ways", async () => {
    const gone = new FtpRefusal(426, "gone");
    const take = (): Promise<void> => Promise.reject(gone);
    using deflating = new Deflating(0, take);
    const sent = (async () => {
      for (;;) await deflating.write(new Uint8Array(100_000));
    })();
    await expect(sent).rejects.toBe(gone);
    using inflating = new Inflating(take);
    const stream = deflateSync(randomBytes(200_000));
    const came = (async () => {
      await inflating.write(stream);
      await inflating.end();
    })();
    await expect(came).rejects.toBe(gone);
  });

  test("[FTP-73] files and listings go both ways compressed, from a place on too, and MODE S is as it was", async () => {
    const client = await lab.signedIn();
    const bytes = Buffer.concat([Buffer.from("line of text\n".repeat(400_000)), randomBytes(100_000)]);
    expect(await client.say("FEAT")).toContain(" MODE Z LEVEL\r\n");
    expect([await client.code("OPTS MODE Z LEVEL 9"), await client.code("MODE Z"), await client.code("OPTS MODE Z LEVEL 1")]).toEqual([200, 200, 200]);
    for (const line of ["OPTS MODE Z LEVEL 10", "OPTS MODE Z BLOCKSIZE 4", "OPTS MODE"]) expect(await client.code(line)).toBe(501);
    expect(await client.send("STOR /demo/z.bin", deflateSync(bytes))).toStartWith("226");
    expect((await lab.bytes("/demo/z.bin"))!.equals(bytes)).toBe(true);
    const got = await client.receive("RETR /demo/z.bin");
    expect([inflateSync(got.bytes).equals(bytes), got.bytes.length < 200_000, got.reply.slice(0, 3)]).toEqual([true, true, "226"]);
    await client.say(`REST ${bytes.length - 10}`);
    expect(inflateSync((await client.receive("RETR /demo/z.bin")).bytes).equals(bytes.subarray(-10))).toBe(true);
    expect(inflateSync((await client.receive("NLST /demo/z*")).bytes).toString()).toBe("/demo/z.bin\r\n");
    expect(await client.send("STOR /demo/empty", deflateSync(Buffer.alloc(0)))).toStartWith("226");
    expect(inflateSync((await client.receive("RETR /demo/empty")).bytes).length).toBe(0);
    await client.say("TYPE A");
    expect(await client.send("STOR /demo/text", deflateSync(Buffer.from("a\r\nb\r\n")))).toStartWith("226");
    expect(inflateSync((await client.receive("RETR /demo/text")).bytes).toString()).toBe("a\r\nb\r\n");
    await client.say("TYPE I");
    expect(await client.say("STAT")).toContain("mode Z");
    expect(await client.code("MODE S")).toBe(200);
    expect((await client.receive("RETR /demo/text")).bytes.toString()).toBe("a\nb\n");
  });

  test("[FTP-74] of an upload that was damaged on its way nothing is kept; of one that was cut, what had come", async () => {
    const client = await lab.signedIn();
    await client.say("MODE Z");
    const bytes = randomBytes(3 << 20);
    const stream = deflateSync(bytes);
    const damaged = Buffer.from(stream);
    damaged[stream.length - 2]! ^= 1;
    expect(await client.send("STOR /demo/damaged", damaged)).toStartWith("551");
    expect([await lab.bytes("/demo/damaged"), await client.code("SIZE /demo/damaged")]).toEqual([undefined, 550]);
    expect(await client.send("STOR /demo/cut", stream.subarray(0, 2 << 20))).toStartWith("426");
    expect(await lab.bytes("/demo/cut")).toBeUndefined();
    const had = Number((await client.say("SIZE /demo/cut")).slice(4));
    expect(had > 1 << 20 && had < bytes.length).toBe(true);
    expect(await client.send("APPE /demo/cut", deflateSync(bytes.subarray(had)))).toStartWith("226");
    expect((await lab.bytes("/demo/cut"))!.equals(bytes)).toBe(true);
    expect(await client.send("STOR /tiny/bomb", deflateSync(Buffer.alloc(5 << 20)))).toStartWith("552");
    expect(await lab.bytes("/tiny/bomb")).toBeUndefined();
  });
});

describe("ranges and facts", () => {
  test("[FTP-75] RANG reads, and sums, the bytes that it says, once; it is taken back by a start behind the end, and writes nothing", async () => {
    const client = await lab.signedIn();
    const bytes = randomBytes(2_500_000);
    await lab.put("/demo/range.bin", bytes);
    expect(await client.say("FEAT")).toContain(" RANG STREAM\r\n");
    const part = async (line: string): Promise<Buffer> => {
      expect(await client.code(line)).toBe(350);
      return (await client.receive("RETR /demo/range.bin")).bytes;
    };
    expect((await part("RANG 10 19")).equals(bytes.subarray(10, 20))).toBe(true);
    expect((await client.receive("RETR /demo/range.bin")).bytes.equals(bytes)).toBe(true);
    expect((await part("RANG 0 0")).equals(bytes.subarray(0, 1))).toBe(true);
    expect((await part(`RANG ${bytes.length - 5} ${bytes.length + 99}`)).equals(bytes.subarray(-5))).toBe(true);
    expect((await part("RANG 1048570 1100000")).equals(bytes.subarray(1_048_570, 1_100_001))).toBe(true);
    await client.say("RANG 5 9");
    expect((await part("RANG 1 0")).equals(bytes)).toBe(true);
    await client.say("RANG 5 9");
    expect((await part("REST 2499990")).equals(bytes.subarray(-10))).toBe(true);
    const hex = new Bun.CryptoHasher("sha256").update(bytes.subarray(5, 10)).digest("hex");
    await client.say("RANG 5 9");
    expect(await client.say("HASH /demo/range.bin")).toBe(`213 SHA-256 5-10 ${hex} /demo/range.bin`);
    await client.say(`RANG ${bytes.length + 1} ${bytes.length + 2}`);
    expect(await client.code("RETR /demo/range.bin")).toBe(554);
    await client.say("RANG 0 4");
    expect(await client.send("STOR /demo/range.bin", "x")).toStartWith("551");
    expect((await lab.bytes("/demo/range.bin"))!.equals(bytes)).toBe(true);
    for (const line of ["RANG", "RANG 1", "RANG a b", "RANG -1 5", "RANG 1 2 3", "RANG 1 9999999999999999"]) expect(await client.code(line)).toBe(501);
    await client.say("TYPE A");
    expect([await client.code("RANG 0 4"), await client.code("RANG 1 0")]).toEqual([504, 350]);
  });

  test("[FTP-76] MFF changes all of the facts that it is given, or none", async () => {
    const client = await lab.signedIn();
    await lab.put("/demo/facts one", "x");
    expect(await client.say("FEAT")).toContain(" MFF Modify;UNIX.mode;\r\n");
    expect(await client.say("MFF modify=20200102030405;UNIX.Mode=0640; /demo/facts one")).toBe(
      "213 Modify=20200102030405;UNIX.mode=0640; /demo/facts one",
    );
    const facts = async (): Promise<string> => (await client.say("MLST /demo/facts one")).split("\n")[1]!;
    expect(await facts()).toMatch(/modify=20200102030405;.*unix.mode=0640;/);
    const before = await facts();
    const refused = [
      ["MFF Create=20200102030405; /demo/facts one", 504], ["MFF Modify=20210102030405;UNIX.owner=me; /demo/facts one", 504],
      ["MFF Modify=20211302030405; /demo/facts one", 501], ["MFF UNIX.mode=888; /demo/facts one", 501], ["MFF UNIX.mode=0644 /demo/facts one", 501],
      ["MFF UNIX.mode=0644;UNIX.mode=0600; /demo/facts one", 501], ["MFF", 501], ["MFF UNIX.mode=0644;", 501], ["MFF UNIX.mode=0644; /demo/none", 550],
      ["MFF Modify=20210102030405;UNIX.mode=0755; /demo", 550],
    ] as const;
    for (const [line, code] of refused) expect([line, await client.code(line)]).toEqual([line, code]);
    expect(await facts()).toBe(before);
    await lab.put("/demo/in/deep/f", "x");
    const reader = await lab.signedIn("reader");
    expect(await reader.code("MFF UNIX.mode=0600; /demo/in/deep/f")).toBe(550);
  });

  test("[FTP-76] whatever is sent is facts and a path, or is refused", () => {
    const piece = fc.constantFrom("Modify=", "UNIX.mode=", "20200101000000", "0644", ";", " ", "a", "=", "é", "\t");
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.array(piece, { maxLength: 12 }).map((all) => all.join(""))), (text) => {
        try {
          const { facts, name } = parseFacts(text);
          expect([name.length > 0, facts.mode === undefined || facts.mode <= 0o7777]).toEqual([true, true]);
        } catch (error) {
          expect(error).toBeInstanceOf(FtpRefusal);
        }
      }),
    );
  });
});
