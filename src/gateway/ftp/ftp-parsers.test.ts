/** What clients send, read at every cut and as garbage: nothing here may crash, hang, or hold more than it should. */
import { describe, expect, test } from "bun:test";
import { isIP } from "node:net";
import fc from "fast-check";

import { readProxyHeader } from "#gateway/proxy-header.ts";
import { AsciiDecoder, AsciiEncoder } from "#gateway/ftp/ascii.ts";
import { COMMANDS_WAITING_MAX, type Command, CommandReader, LINE_BYTES_MAX, TOO_LONG } from "#gateway/ftp/command-reader.ts";
import { canonicalAddress, parseExtendedPort, parsePort, passiveText } from "#gateway/ftp/data-address.ts";
import { ftpTimeText, listTimeText, parseFtpTime } from "#platform/net/ftp-time.ts";
import { ftpPathText, placeOf, quoted, resolveFtpPath } from "#gateway/ftp/ftp-path.ts";
import { FACTS, factsOf, listArgument, listLine, matchesName } from "#gateway/ftp/listing.ts";
import { FtpRefusal, replyLine, replyLines } from "#gateway/ftp/reply.ts";

type Read = Command | typeof TOO_LONG;

function readAll(pieces: readonly Uint8Array[]): Read[] {
  const reader = new CommandReader();
  const all: Read[] = [];
  for (const piece of pieces) {
    reader.push(piece);
    for (let next = reader.next(); next !== undefined; next = reader.next()) all.push(next);
  }
  return all;
}

const bytesOf = (text: string): Uint8Array => Buffer.from(text, "latin1");
const eachByte = (bytes: Uint8Array): Uint8Array[] => Array.from(bytes, (byte) => Uint8Array.of(byte));

/** Cuts bytes at random places. */
const cutUp = fc
  .tuple(fc.uint8Array({ maxLength: 400 }), fc.array(fc.nat(400), { maxLength: 12 }))
  .map(([bytes, cuts]) => {
    const places = [0, ...cuts.filter((cut) => cut <= bytes.length).sort((a, b) => a - b), bytes.length];
    return { bytes, pieces: places.slice(1).map((end, at) => bytes.subarray(places[at], end)) };
  });

describe("commands", () => {
  test("[FTP-1] commands are the same wherever their bytes are cut, with Telnet sequences taken out", () => {
    const session = bytesOf("user ann\r\nPASS  two words \r\n\r\nnoop\nSTOR a\xff\xffb\xff\xf4c\xff\xfd\x01d\r\n");
    const wanted: Read[] = [
      { verb: "USER", argument: "ann" },
      { verb: "PASS", argument: " two words " },
      { verb: "NOOP", argument: "" },
      { verb: "STOR", argument: "a\udcffbcd" },
    ];
    expect(readAll([session])).toEqual(wanted);
    expect(readAll(eachByte(session))).toEqual(wanted);
    for (let cut = 1; cut < session.length; cut++) {
      expect(readAll([session.subarray(0, cut), session.subarray(cut)])).toEqual(wanted);
    }
  });

  test("[FTP-2] ABOR is heard behind a Telnet synch, and without the line feed that went as urgent data", () => {
    const abort: Read = { verb: "ABOR", argument: "" };
    const noop: Read = { verb: "NOOP", argument: "" };
    expect(readAll([bytesOf("\xff\xf4"), bytesOf("\xf2ABOR\r\n"), bytesOf("NOOP\r\n")])).toEqual([abort, noop]);
    expect(readAll([bytesOf("ABOR\r"), bytesOf("NOOP\r\n")])).toEqual([abort, noop]);
    expect(readAll([bytesOf("ABOR\r"), bytesOf("\nNOOP\r\n")])).toEqual([abort, noop]);
    const reader = new CommandReader();
    reader.push(bytesOf("NOOP\r\nABOR\r\nSTAT a\r\nSTAT\r\n"));
    expect([reader.urgent(), reader.urgent(), reader.urgent()]).toEqual(["ABOR", "STAT", undefined]);
    expect([reader.next(), reader.next()]).toEqual([noop, { verb: "STAT", argument: "a" }]);
  });

  test("[FTP-3] a line that is too long is told once, is not kept, and what comes after it is heard", () => {
    const long = Buffer.alloc(3 * LINE_BYTES_MAX, "x");
    for (const pieces of [[long], eachByte(long.subarray(0, LINE_BYTES_MAX + 9))]) {
      expect(readAll([...pieces, bytesOf("\r\nNOOP\r\n")])).toEqual([TOO_LONG, { verb: "NOOP", argument: "" }]);
    }
    const fits = `CWD ${"y".repeat(4096)}`;
    expect(readAll([bytesOf(`${fits}\r\n`)])).toEqual([{ verb: "CWD", argument: "y".repeat(4096) }]);
    const reader = new CommandReader();
    for (let at = 0; at < COMMANDS_WAITING_MAX; at++) {
      expect(reader.isFull).toBe(false);
      reader.push(bytesOf("NOOP\r\n"));
    }
    expect(reader.isFull).toBe(true);
    // However many come at once, no more are made of them, and none is lost.
    const flood = new CommandReader();
    flood.push(bytesOf("h\r\n".repeat(100_000)));
    let count = 0;
    for (let next = flood.next(); next !== undefined; next = flood.next()) {
      if (count++ < 99_900) expect(flood.isFull).toBe(true);
    }
    expect(count).toBe(100_000);
  });

  test("[FTP-4] garbage makes the same commands at every cut, and none of them holds a line end", () => {
    fc.assert(
      fc.property(cutUp, ({ bytes, pieces }) => {
        // A lone ABOR and CR at the end of a piece is taken for complete, which depends on the cut.
        fc.pre(!Buffer.from(bytes).toString("latin1").toUpperCase().includes("ABOR\r"));
        const whole = readAll([bytes]);
        expect(readAll(pieces)).toEqual(whole);
        expect(readAll(eachByte(bytes))).toEqual(whole);
        for (const one of whole) if (one !== TOO_LONG) expect(`${one.verb}${one.argument}`).not.toContain("\n");
      }),
    );
  });
});

describe("paths", () => {
  test("[FTP-5] dots and slashes are resolved once, and nothing leads out", () => {
    const cwd = ["site", "a"];
    const of = (text: string): string => ftpPathText(resolveFtpPath(cwd, text));
    expect([of(""), of("."), of("b"), of("../b"), of("/"), of("/x//y/./z/"), of("../../../.."), of("...")]).toEqual([
      "/site/a", "/site/a", "/site/a/b", "/site/b", "/", "/x/y/z", "/", "/site/a/...",
    ]);
    expect(placeOf([])).toBeUndefined();
    expect(placeOf(["site"])).toEqual({ space: "site", path: "" });
    expect(placeOf(["site", "a", "b"])).toEqual({ space: "site", path: "a/b" });
    for (const path of [["Site"], ["site", ".syncline"], ["site", "x".repeat(256)], ["-"]]) {
      expect(() => placeOf(path)).toThrow(FtpRefusal);
    }
    expect(quoted(["a", 'b"c'])).toBe('"/a/b""c"');
  });

  test("[FTP-6] any text is a path without dots or slashes in its names, or is refused", () => {
    const piece = fc.constantFrom("..", ".", "/", "//", "a", "\0", "\r", "\n", "\udcff", "é", "%2e", "\\", "-", " ");
    const text = fc.oneof(fc.string({ unit: "binary" }), fc.array(piece).map((all) => all.join("")));
    fc.assert(
      fc.property(text, fc.array(fc.constantFrom("site", "a", "b")), (given, cwd) => {
        let path: readonly string[];
        try {
          path = resolveFtpPath(cwd, given);
        } catch (error) {
          expect(error).toBeInstanceOf(FtpRefusal);
          return;
        }
        for (const name of path) expect(["", ".", ".."].includes(name) || /[/\0\r\n]/.test(name)).toBe(false);
        expect(resolveFtpPath([], ftpPathText(path))).toEqual(path);
      }),
    );
  });
});

describe("addresses and times", () => {
  test("[FTP-7] PORT and EPRT are read as they are written, and nothing else is an address", () => {
    fc.assert(
      fc.property(fc.ipV4(), fc.integer({ min: 0, max: 65_535 }), (address, port) => {
        expect(parsePort(passiveText({ address, port }))).toEqual({ address, port });
        expect(parseExtendedPort(`|1|${address}|${port}|`)).toEqual({ address, port });
        expect(parseExtendedPort(`!2!${address}!${port}!`)).toBeUndefined();
      }),
    );
    fc.assert(
      fc.property(fc.ipV6(), fc.integer({ min: 0, max: 65_535 }), (address, port) => {
        fc.pre(isIP(address) === 6);
        const found = parseExtendedPort(`|2|${address}|${port}|`);
        expect(found === undefined || found === "family" ? found : canonicalAddress(found.address)).toBe(canonicalAddress(address));
      }),
    );
    const same = ["2001:db8::1", "2001:DB8:0:0:0:0:0:1", "2001:0db8::0001%eth0", "2001:db8::0:1"];
    expect(new Set(same.map(canonicalAddress)).size).toBe(1);
    for (const text of ["::ffff:192.0.2.1", "::FFFF:c000:201", "0:0:0:0:0:ffff:192.0.2.1"]) expect(canonicalAddress(text)).toBe("192.0.2.1");
    expect(canonicalAddress("::")).toBe(canonicalAddress("0:0:0:0:0:0:0.0.0.0"));
    expect(parseExtendedPort("|3|x|1|")).toBe("family");
    for (const text of ["", "1,2,3,4,5", "1,2,3,4,5,256", "1,2,3,4,5,6,7", "a,b,c,d,e,f", "-1,2,3,4,5,6"]) {
      expect(parsePort(text)).toBeUndefined();
    }
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const found = parseExtendedPort(text);
        if (found !== undefined && found !== "family") expect(found.port).toBeLessThan(65_536);
        parsePort(text);
      }),
    );
  });

  test("[FTP-8] times are read as they are written, and days that there are not are none", () => {
    fc.assert(
      fc.property(fc.date({ min: new Date("0001-01-01"), max: new Date("9999-12-31"), noInvalidDate: true }), (date) => {
        const ns = BigInt(date.getTime()) * 1_000_000n;
        expect(parseFtpTime(ftpTimeText(ns))).toBe(ns);
      }),
    );
    expect(parseFtpTime("20240229120000")).toBe(BigInt(Date.UTC(2024, 1, 29, 12)) * 1_000_000n);
    expect(parseFtpTime("202402291200")).toBe(BigInt(Date.UTC(2024, 1, 29, 12)) * 1_000_000n);
    expect(parseFtpTime("20240101000000.123456789")).toBe(BigInt(Date.UTC(2024, 0, 1)) * 1_000_000n + 123_456_789n);
    for (const text of ["20230229000000", "20241301000000", "20240100000000", "20240101250000", "20240101006000", "2024", "", "x"]) {
      expect([text, parseFtpTime(text)]).toEqual([text, undefined]);
    }
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(..."0123456789.") }), (text) => {
        const ns = parseFtpTime(text);
        if (ns !== undefined) expect(parseFtpTime(ftpTimeText(ns))).toBe(ns - (((ns % 1_000_000n) + 1_000_000n) % 1_000_000n));
      }),
    );
    fc.assert(fc.property(fc.bigInt({ min: -(2n ** 90n), max: 2n ** 90n }), (ns) => expect(ftpTimeText(ns)).toMatch(/^\d{14}(\.\d{3})?$/)));
    const now = Date.UTC(2026, 10, 26, 12);
    expect(listTimeText(BigInt(now - 1000) * 1_000_000n, now)).toBe("Nov 26 11:59");
    expect(listTimeText(0n, now)).toBe("Jan  1  1970");
  });

  test("[PROXY-1] a PROXY header is complete at its last byte and not before, in both versions", () => {
    const line = bytesOf("PROXY TCP4 192.0.2.1 198.51.100.2 40000 21\r\nUSER x");
    const head = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
    const four = Uint8Array.from([...head, 0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 2, 0x9c, 0x40, 0, 21, 85]);
    for (const [bytes, length] of [[line, 44], [four, 28]] as const) {
      for (let cut = 0; cut < length; cut++) expect(readProxyHeader(bytes.subarray(0, cut))).toBe("more");
      expect(readProxyHeader(bytes)).toEqual({
        length, source: { address: "192.0.2.1", port: 40_000 }, destination: { address: "198.51.100.2", port: 21 },
      });
    }
    const six = Uint8Array.from([...head, 0x21, 0x21, 0, 36, 0x20, 1, 0xd, 0xb8, ...Array(11).fill(0), 1, ...Array(15).fill(0), 1, 1, 0, 0, 21]);
    expect(readProxyHeader(six)).toMatchObject({ source: { address: "2001:db8::1", port: 256 }, destination: { address: "::1", port: 21 } });
    const local = Uint8Array.from([...head, 0x20, 0, 0, 0]);
    expect(readProxyHeader(local)).toMatchObject({ length: 16, source: undefined });
    expect(readProxyHeader(bytesOf("PROXY UNKNOWN\r\n"))).toMatchObject({ source: undefined });
  });

  test("[PROXY-2] what is no header is none, and never waits for more than a header has", () => {
    for (const text of ["USER ann\r\n", "PROXY TCP4 1.2.3.4\r\n", "PROXY TCP4 x y 1 2\r\n", "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", "\r\n\r\nx"]) {
      expect([text, readProxyHeader(bytesOf(text))]).toEqual([text, undefined]);
    }
    expect(readProxyHeader(bytesOf(`PROXY TCP4 ${"1".repeat(200)}`))).toBeUndefined();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const found = readProxyHeader(bytes);
        if (found !== undefined && found !== "more") expect(found.length).toBeLessThanOrEqual(bytes.length);
      }),
    );
  });
});

describe("text and listings", () => {
  test("[FTP-9] type A keeps every byte of a file with LF alone, at every cut, both ways", () => {
    fc.assert(
      fc.property(cutUp, ({ bytes, pieces }) => {
        const encoder = new AsciiEncoder();
        const wire = Buffer.concat(pieces.map((piece) => encoder.push(piece)));
        expect(wire.equals(new AsciiEncoder().push(bytes))).toBe(true);
        const decoded = (all: readonly Uint8Array[]): Buffer => {
          const decoder = new AsciiDecoder();
          return Buffer.concat([...all.map((piece) => decoder.push(piece)), decoder.end()]);
        };
        expect(decoded(eachByte(wire)).equals(decoded([wire]))).toBe(true);
        // CR LF in a file is one line end on the wire: only such a file comes back as another.
        if (!Buffer.from(bytes).includes("\r\n")) expect(decoded([wire]).equals(bytes)).toBe(true);
      }),
    );
  });

  test("[FTP-10] a reply is its own lines, whatever a client has put into a name", () => {
    expect(replyLine(550, "a\r\n226 done\0")).toBe("550 a??226 done?\r\n");
    expect(replyLines(211, "x\n", ["211 fake", "b\r\nc"], "End")).toBe("211-x?\r\n 211 fake\r\n b??c\r\n211 End\r\n");
  });

  test("[FTP-11] entries are shown with the bytes of their names, and a line has one end", () => {
    const file = { kind: "file", size: 7, mode: 0o640, mtimeNs: 0n, sum: undefined } as const;
    const listed = { name: "a\udcff b\nc", entry: file, unique: "site.3", mayRead: true, mayWrite: false };
    const facts = Buffer.from(listLine(listed, { kind: "facts", facts: FACTS }));
    expect(facts.toString("latin1")).toBe("type=file;size=7;modify=19700101000000;perm=r;unique=site.3;unix.mode=0640; a\xff b?c");
    const long = Buffer.from(listLine(listed, { kind: "long", nowMs: Date.UTC(2026, 0, 1), dirTimeNs: 0n })).toString("latin1");
    expect(long).toBe("-rw-r----- 1 syncline syncline            7 Jan  1  1970 a\xff b?c");
    expect(factsOf("Size;bogus;TYPE;")).toEqual(["type", "size"]);
    expect([listArgument("-la"), listArgument("-l dir"), listArgument("-a -l -- -x"), listArgument("a -l")]).toEqual(["", "dir", "-x", "a -l"]);
  });

  test("[FTP-12] a pattern fits as a shell's does, and takes no time that grows with its stars", () => {
    expect(matchesName("*.txt", "a.txt")).toBe(true);
    expect(matchesName("a?c*", "abcd")).toBe(true);
    expect(matchesName("*.txt", "a.txt2")).toBe(false);
    expect(matchesName("", "")).toBe(true);
    const parts = fc.array(fc.constantFrom("a", "b", "*", "?"), { maxLength: 8 }).map((all) => all.join(""));
    fc.assert(
      fc.property(parts, fc.array(fc.constantFrom("a", "b"), { maxLength: 8 }), (pattern, name) => {
        const rule = new RegExp(`^${pattern.replaceAll("*", ".*").replaceAll("?", ".")}$`);
        expect(matchesName(pattern, name.join(""))).toBe(rule.test(name.join("")));
      }),
    );
    expect(matchesName("*a".repeat(200), "a".repeat(4000) + "b")).toBe(false);
  });
});
