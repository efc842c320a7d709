/** What servers send, read at every cut, cut off, and as garbage: an entry is never lost without an error. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SynclineError } from "#model/error.ts";
import { type Listed, ListingLines, LISTED_BYTES_MAX, readFacts, readListLine } from "#sync/foreign/ftp/listings.ts";
import {
  LINE_BYTES_MAX,
  REPLY_LINES_MAX,
  type Reply,
  ReplyReader,
  extendedPort,
  featuresOf,
  passivePort,
  quotedPath,
} from "#sync/foreign/ftp/replies.ts";

const bytesOf = (text: string): Uint8Array => Buffer.from(text, "latin1");
const eachByte = (bytes: Uint8Array): Uint8Array[] => Array.from(bytes, (byte) => Uint8Array.of(byte));

/** All replies of the pieces, or the code of the error. */
function replies(pieces: readonly Uint8Array[]): Reply[] | string {
  const reader = new ReplyReader();
  const all: Reply[] = [];
  try {
    for (const piece of pieces) {
      reader.push(piece);
      for (let next = reader.next(); next !== undefined; next = reader.next()) all.push(next);
    }
    return all;
  } catch (error) {
    if (error instanceof SynclineError) return error.code;
    throw error;
  }
}

function codeOf(work: () => unknown): string {
  try {
    work();
    return "ok";
  } catch (error) {
    if (error instanceof SynclineError) return error.code;
    throw error;
  }
}

const reply = (code: number, ...lines: string[]): Reply => ({ code, lines });

describe("replies", () => {
  const session = bytesOf(
    "220 hello\r\n211-Features:\r\n MDTM\r\n REST STREAM\r\n211 End\r\n250-first\r\n250-second\r\n251 not the last\r\n250 last\r\n226\n",
  );
  const wanted = [
    reply(220, "hello"),
    reply(211, "Features:", " MDTM", " REST STREAM", "End"),
    reply(250, "first", "second", "251 not the last", "last"),
    reply(226, ""),
  ];

  test("[FTPC-1] replies are the same wherever their bytes are cut, and none is made of a part", () => {
    expect(replies([session])).toEqual(wanted);
    expect(replies(eachByte(session))).toEqual(wanted);
    for (let cut = 0; cut < session.length; cut++) {
      expect(replies([session.subarray(0, cut), session.subarray(cut)])).toEqual(wanted);
      const whole = replies([session.subarray(0, cut)]);
      expect(whole).toEqual(wanted.slice(0, whole.length));
    }
  });

  test("[FTPC-2] lines and replies that do not end are refused, with a bound on what is kept", () => {
    expect(replies(Array.from({ length: 4 }, () => Buffer.alloc(LINE_BYTES_MAX, "x")))).toBe("LIMIT");
    expect(replies([bytesOf(`220 ${"x".repeat(LINE_BYTES_MAX)}\r\n`)])).toBe("LIMIT");
    expect(replies([bytesOf(`220-a\r\n${"220-b\r\n".repeat(REPLY_LINES_MAX + 1)}`)])).toBe("LIMIT");
    expect(replies([bytesOf(`220-a\r\n${`${"y".repeat(1000)}\r\n`.repeat(900)}`)])).toBe("LIMIT");
    const flood = new ReplyReader();
    expect(codeOf(() => flood.push(bytesOf("200 ok\r\n".repeat(1_000))))).toBe("LIMIT");
    for (const text of ["hello\r\n", "SSH-2.0-x\r\n", "\r\n", "99 no\r\n", "600 no\r\n", "\x16\x03\x01\n"]) {
      expect(replies([bytesOf(text)])).toBe("PROTOCOL");
    }
  });

  test("[FTPC-3] garbage makes the same replies, or the same error, at every cut", () => {
    const line = fc.constantFrom("220 a\r\n", "220-b\r\n", "220 \n", "500", "\r", "\n", "226-", "226 ", "\xff", "x", "331\r\n");
    fc.assert(
      fc.property(fc.array(line, { maxLength: 30 }), (parts) => {
        const bytes = bytesOf(parts.join(""));
        const whole = replies([bytes]);
        const cut = replies(eachByte(bytes));
        // What was whole before the error came is told, if it came in a piece of its own.
        if (typeof whole !== "string") expect(cut).toEqual(whole);
        else expect(cut).toBe(whole);
      }),
    );
  });

  test("[FTPC-4] ports are read from what servers say, and addresses never", () => {
    expect(extendedPort(reply(229, "Entering Extended Passive Mode (|||6446|)"))).toBe(6446);
    expect(extendedPort(reply(229, "(!!!21!)"))).toBe(21);
    for (const text of ["(|||0|)", "(|||65536|)", "(|1|10.0.0.1|21|)", "|||21|", "(|||a|)", ""]) {
      expect(extendedPort(reply(229, text))).toBeUndefined();
    }
    expect(passivePort(reply(227, "Entering Passive Mode (10,0,0,1,25,46)."))).toBe(6446);
    expect(passivePort(reply(227, "=127,0,0,1,0,21"))).toBe(21);
    for (const text of ["(10,0,0,1,0,0)", "(10,0,0,1,256,1)", "(1,2,3,4,5)", ""]) expect(passivePort(reply(227, text))).toBeUndefined();
    expect(quotedPath(reply(257, '"/a ""b""" is the directory'))).toBe('/a "b"');
    expect([...featuresOf(reply(211, "Features:", " mdtm", " REST STREAM", "", "End"))]).toEqual([["MDTM", ""], ["REST", "STREAM"]]);
  });
});

const dots = { count: 0 };
const listLine = (line: string): Listed | undefined => readListLine(line, () => dots.count++);
const file = (name: string, size: number): Listed => ({ name, kind: "file", size, mtimeNs: undefined, target: undefined });

describe("listings", () => {
  test("[FTPC-5] lines of Unix and of DOS are understood as they are, odd names too", () => {
    expect(listLine("-rw-r--r--    1 ftp      ftp          1234 Nov 26 10:14 a  b ")).toEqual(file("a  b ", 1234));
    expect(listLine("-rw-r--r--    1 ftp      ftp             5 Jan  1  2020  lead")).toEqual(file(" lead", 5));
    expect(listLine("-rwsr-xr-t+   1 Domain Users 5 Jan  1  2020 1 Jan  1  2020 x")).toEqual(file("1 Jan  1  2020 x", 5));
    expect(listLine("-rw-r--r-- 1 owner 77 2024-02-29 23:59 x -> y")).toEqual(file("x -> y", 77));
    expect(listLine("drwxr-xr-x 2 a b 4096 Jan 01 2020 d")).toMatchObject({ name: "d", kind: "dir" });
    expect(listLine("lrwxrwxrwx 1 a b 4 Jan 01 2020 l -> /to/b")).toMatchObject({ name: "l", kind: "symlink", target: "/to/b" });
    expect(listLine("crw-rw-rw- 1 root root 1, 3 Nov 26 10:14 null")).toMatchObject({ name: "null", kind: "other" });
    expect(listLine("01-02-20  03:04PM       <DIR>          my dir")).toMatchObject({ name: "my dir", kind: "dir" });
    expect(listLine("01-02-2020  15:04            1,234 x".replace(",", ""))).toEqual(file("x", 1234));
    expect(listLine("01-02-20  03:04PM       <JUNCTION>     j")).toMatchObject({ name: "j", kind: "other" });
    dots.count = 0;
    expect([listLine("total 12"), listLine("drwxr-xr-x 2 a b 1 Jan 01 2020 ."), listLine("drwxr-xr-x 2 a b 1 Jan 01 2020 ..")]).toEqual([
      undefined, undefined, undefined,
    ]);
    expect(dots.count).toBe(2);
  });

  test("[FTPC-6] a line that is not understood is an error, wherever it is cut off", () => {
    const lines = [
      "-rw-r--r--    1 ftp      ftp          1234 Nov 26 10:14 name",
      "01-02-20  03:04PM                 1234 name",
      "lrwxrwxrwx 1 a b 4 Jan 01 2020 l -> t",
    ];
    for (const line of lines) {
      const last = line.lastIndexOf(" ") + 1;
      for (let cut = 0; cut < last; cut++) {
        const part = line.slice(0, cut);
        if (part.endsWith("l -> ") || part.endsWith("l ->")) continue;
        if (/2020 l ?-?$/.test(part)) continue;
        expect(codeOf(() => listLine(part))).toBe("PROTOCOL");
      }
    }
    for (const line of ["", "name", "Permission denied", "-rw-r--r-- 1 a b 99999999999999999999 Jan 1 2020 x", "total many", "l -> x -> y"]) {
      expect(codeOf(() => listLine(line))).toBe("PROTOCOL");
    }
    expect(codeOf(() => listLine("lrwxrwxrwx 1 a b 4 Jan 01 2020 a -> b -> c"))).toBe("PROTOCOL");
  });

  test("[FTPC-7] facts are read whatever their order and case; what is missing is an error", () => {
    expect(readFacts("Type=file;Size=12;Modify=20200102030405.5;UNIX.mode=0644; a b;c")).toEqual({
      name: "a b;c", kind: "file", size: 12, mtimeNs: 1_577_934_245_500_000_000n, target: undefined,
    });
    expect(readFacts("size=1;type=file;  lead")?.name).toBe(" lead");
    expect(readFacts("type=dir;modify=20200102030405; d")).toMatchObject({ kind: "dir", mtimeNs: undefined });
    expect(readFacts("type=OS.unix=slink:/x y; l")).toMatchObject({ kind: "symlink", target: "/x y" });
    expect(readFacts("type=OS.unix=symlink; l")).toMatchObject({ kind: "symlink", target: undefined });
    expect(readFacts("type=OS.unix=chr-1/3; c")).toMatchObject({ kind: "other" });
    expect([readFacts("type=cdir; ."), readFacts("type=pdir; ..")]).toEqual([undefined, undefined]);
    const bad = [
      "", " x", "x", "type=file;size=1;", "type=file;size=1; ", "size=1; x", "type=file; x", "type=file;size=-1; x", "type=file;size=1e3; x",
      "type=file;size=1;modify=yesterday; x", "type=file;size=1;modify=20201301000000; x", "type=file;size; x", "=file;size=1; x",
    ];
    for (const line of bad) expect(codeOf(() => readFacts(line))).toBe("PROTOCOL");
  });

  test("[FTPC-8] a listing has the same lines at every cut, its last one with or without an end", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom("a", " b", "\r", "\r\n", "\n", "\xff", "type=file;"), { maxLength: 40 }), (parts) => {
        const bytes = bytesOf(parts.join(""));
        const read = (pieces: readonly Uint8Array[]): string[] => {
          const lines = new ListingLines();
          return [...pieces.flatMap((piece) => lines.push(piece)), ...lines.end()];
        };
        const wanted = bytes.length === 0 ? [] : read([bytes]);
        expect(read(eachByte(bytes))).toEqual(wanted);
      }),
    );
    const endless = new ListingLines();
    expect(codeOf(() => { for (let at = 0; at < 9; at++) endless.push(Buffer.alloc(LISTED_BYTES_MAX / 4, "x")); })).toBe("PROTOCOL");
  });

  test("[FTPC-9] whatever a line holds, it comes to an entry with a name, to nothing that is one, or to an error", () => {
    const text = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.array(fc.constantFrom("-rw-r--r--", " ", "1", "ftp", "Jan", "type=", "file", ";", "size=", "x", "<DIR>", "01-02-20", "->")).map((all) => all.join("")),
    );
    fc.assert(
      fc.property(text, (line) => {
        for (const read of [listLine, readFacts]) {
          try {
            const listed = read(line);
            if (listed !== undefined) expect(listed.name.length).toBeGreaterThan(0);
          } catch (error) {
            expect(error).toBeInstanceOf(SynclineError);
          }
        }
      }),
      { numRuns: 500 },
    );
  });
});
