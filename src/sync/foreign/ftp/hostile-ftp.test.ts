/** Servers that break off, lie or want too much: nothing is taken for whole that is not, and nothing hangs. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SynclineError } from "#model/error.ts";
import { systemClock, systemRandom } from "#platform/host-bun.ts";
import type { FtpServer } from "#sync/foreign/ftp/ftp-control.ts";
import { FtpFiles } from "#sync/foreign/ftp/ftp-files.ts";
import { ScriptedFtp } from "#sync/foreign/ftp/scripted-ftp-fixture.ts";
import { FtpLab, PASSWORD } from "#gateway/ftp/ftp-fixture.ts";

const never = new AbortController().signal;
/** Pauses before another try are passed over. */
const hurried = { ...systemClock, sleep: async () => undefined };
let server: ScriptedFtp;
let state: string;
const opened: FtpFiles[] = [];

beforeEach(async () => {
  server = await ScriptedFtp.open();
  state = mkdtempSync(join(tmpdir(), "syncline-hostile-ftp-"));
});
afterEach(async () => {
  for (const files of opened.splice(0)) await files.close();
  await server[Symbol.asyncDispose]();
  rmSync(state, { recursive: true, force: true });
});

async function connected(more: Partial<FtpServer> = {}, trust: Partial<FtpServer["trust"]> = {}): Promise<FtpFiles> {
  const all = { ca: undefined, fingerprint: undefined, acceptNew: false, askTrust: undefined, stateDir: state, ...trust };
  const base = { host: "127.0.0.1", port: server.port, user: "ann", password: "x", tls: "none" as const, trust: all, identity: undefined };
  const files = new FtpFiles({ server: { ...base, ...more }, root: "/top", owner: "abc", clock: hurried, random: systemRandom });
  opened.push(files);
  await files.connect(never);
  return files;
}

async function names(files: FtpFiles): Promise<string[] | string> {
  const all: string[] = [];
  const refused = await codeOf((async () => {
    for await (const page of files.list("", never)) for (const { path } of page) all.push(path);
  })());
  return refused === "ok" ? all.sort() : refused;
}

async function text(files: FtpFiles, path: string, offset = 0): Promise<string> {
  const pieces: Uint8Array[] = [];
  for await (const piece of files.read(path, { offset }, never)) pieces.push(piece.slice());
  return Buffer.concat(pieces).toString();
}

async function codeOf(attempt: Promise<unknown>): Promise<string> {
  try {
    await attempt;
    return "ok";
  } catch (error) {
    if (error instanceof SynclineError) return error.code;
    throw error;
  }
}

async function* once(...parts: string[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part);
}

const put = (name: string, bytes: string): unknown => server.files.set(`/top/${name}`, Buffer.from(bytes));

describe("an FTP server that cannot be relied on", () => {
  test("[FTPC-20] a listing without its last reply, with one that says no in other words, or cut, is none", async () => {
    put("a", "1");
    const files = await connected();
    expect(await names(files)).toEqual(["a"]);
    const ends = {
      "426 cut": "LINK_LOST",
      "451 local error": "DISK",
      "226 Transfer done (but failed to open directory).": "DENIED",
      "550 Permission denied": "DENIED",
    };
    for (const [end, code] of Object.entries(ends)) {
      server.commands["MLSD"] = async (_, talk) => {
        await talk.send("type=file;size=1; a\r\n");
        return end;
      };
      expect(await names(files)).toBe(code);
    }
    server.commands["MLSD"] = async (_, talk) => {
      const data = await talk.begin();
      data.write("type=file;size=1; a\r\n");
      talk.control.destroy();
      data.resetAndDestroy();
      return undefined;
    };
    expect(await names(files)).toBe("LINK_LOST");
  });

  test("[FTPC-31] a listing of which the server says that it is only a part is none", async () => {
    put("a", "1");
    const files = await connected();
    // As Pure-FTPd says it, with and without options.
    for (const end of ["226 Output truncated to 10000 matches", "226-Options: -a -l \r\n226 Output truncated to 10000 matches"]) {
      server.commands["MLSD"] = async (_, talk) => {
        await talk.send("type=file;size=1; a\r\n");
        return end;
      };
      expect(await names(files)).toBe("UNSUPPORTED");
    }
    server.commands["MLSD"] = async (_, talk) => {
      await talk.send("type=file;size=1; a\r\n");
      return "226-Options: -a -l \r\n226 1 matches total";
    };
    expect(await names(files)).toEqual(["a"]);
  });

  test("[FTPC-32] a directory that may not be listed does not keep hidden files out of other listings", async () => {
    server.features = ["SIZE"];
    server.commands["SIZE"] = () => "550 no";
    let at = "";
    server.commands["CWD"] = (argument) => {
      at = argument;
      return "250 there";
    };
    const line = (name: string): string => `-rw-r--r-- 1 a b 1 Jan 01 2020 ${name}\r\n`;
    const dot = "drwxr-xr-x 2 a b 4096 Jan 01 2020 .\r\n";
    const refused = new Set<string>();
    server.commands["LIST"] = async (argument, talk) => {
      if (refused.has(at)) return "550 Permission denied";
      await talk.send(argument === "-a" ? dot + line(".env") + line("seen") : line("seen"));
      return "226 done";
    };
    const listed = async (files: FtpFiles, dir: string): Promise<string[] | string> => {
      const all: string[] = [];
      const code = await codeOf((async () => {
        for await (const page of files.list(dir, never)) for (const { path } of page) all.push(path);
      })());
      return code === "ok" ? all.sort() : code;
    };
    refused.add("/top/locked");
    for (const order of [["", "locked", ""], ["locked", "", "locked", ""]]) {
      const files = await connected();
      const found = [];
      for (const dir of order) found.push(await listed(files, dir));
      expect(found).toEqual(order.map((dir) => (dir === "" ? [".env", "seen"] : "DENIED")));
    }
  });

  test("[FTPC-34] a server whose facts have no times tells none, whatever else it can do with them", async () => {
    const abilities = async (...features: string[]): Promise<[boolean, bigint]> => {
      server.features = features;
      const files = await connected();
      const { setsTimes, timeResolutionNs } = await files.connect(never);
      return [setsTimes, timeResolutionNs];
    };
    expect(await abilities("MLST type*;size*;", "MFMT")).toEqual([true, 0n]);
    expect(await abilities("MLST Type*;Size*;Modify*;", "MFMT")).toEqual([true, 1_000_000_000n]);
    expect(await abilities("MDTM")).toEqual([false, 1_000_000_000n]);
    expect(await abilities("SIZE")).toEqual([false, 0n]);
  });

  test("[FTPC-21] names that lead elsewhere, and lines that are none, spoil the whole listing", async () => {
    const files = await connected();
    for (const line of ["type=file;size=1; ../up", "type=file;size=1; /etc/passwd", "type=dir; ..", "type=file;size=1; a\0b", "garbage", ""]) {
      server.commands["MLSD"] = async (_, talk) => {
        await talk.send(`type=file;size=1; good\r\n${line}\r\n`);
        return "226 done";
      };
      expect(await names(files)).toBe("PROTOCOL");
    }
  });

  test("[FTPC-22] the address in a reply to PASV is never gone to", async () => {
    put("a", "bytes");
    server.commands["EPSV"] = () => "500 what";
    server.commands["PASV"] = async (_, talk) => {
      const port = await talk.listen();
      return `227 Entering Passive Mode (203,0,113,9,${port >> 8},${port & 255})`;
    };
    expect(await text(await connected(), "a")).toBe("bytes");
  });

  test("[FTPC-23] a reply that nobody asked for ends the connection instead of answering the next command", async () => {
    put("a", "bytes");
    const files = await connected();
    server.commands["NOOP"] = () => "200 ok";
    const { MLST } = server.commands;
    server.commands["MLST"] = (argument, talk) => {
      server.commands["MLST"] = MLST!;
      talk.say(`250-Begin\r\n type=file;size=5; ${argument}\r\n250 End`);
      return "250-Begin\r\n type=file;size=99; b\r\n250 End";
    };
    expect((await files.stat("a", never))?.size).toBe(5);
    expect((await files.stat("a", never))?.size).toBe(5);
    expect(server.said.filter((line) => line.startsWith("USER"))).toHaveLength(2);
  });

  test("[FTPC-24] a file that ends before its end or goes on behind it is not taken for whole; a cut one is gone on with", async () => {
    put("a", "0123456789");
    const files = await connected();
    server.commands["RETR"] = async (_, talk) => {
      await talk.send("0123456789 and more");
      return "226 done";
    };
    expect(await codeOf(text(files, "a"))).toBe("STALE");
    server.commands["RETR"] = async (_, talk) => {
      await talk.send("");
      return "226 done";
    };
    expect(await codeOf(text(files, "a"))).toBe("LINK_LOST");
    const rests: number[] = [];
    server.commands["RETR"] = async (_, talk) => {
      rests.push(talk.rest);
      const from = talk.rest;
      talk.rest = 0;
      await talk.send("0123456789".slice(from, from + 4));
      return from + 4 < 10 ? "426 cut" : "226 done";
    };
    expect(await text(files, "a", 1)).toBe("123456789");
    expect(rests).toEqual([1, 5, 9]);
  });

  test("[FTPC-25] an upload of which the server keeps less, or says no at its end, changes nothing and leaves nothing", async () => {
    put("a", "old");
    const files = await connected();
    for (const [kept, end, code] of [["ne", "226 done", "PROTOCOL"], ["new", "452 no space", "DISK"], ["new", "550 virus", "DENIED"]] as const) {
      server.commands["STOR"] = async (argument, talk) => {
        await talk.receive();
        server.files.set(argument, Buffer.from(kept));
        return end;
      };
      expect(await codeOf(files.write("a", once("new"), {}, never))).toBe(code);
      expect([...server.files].map(([path, bytes]) => [path, bytes.toString()])).toEqual([["/top/a", "old"]]);
    }
    expect(server.said.some((line) => line.startsWith("RNFR"))).toBe(false);
  });

  test("[FTPC-26] a connection lost while the file takes its name: it has it in the end, or the old one is untouched", async () => {
    const { RNTO, RNFR } = server.commands;
    for (const lose of ["before", "after"] as const) {
      put("a", "old");
      const files = await connected();
      server.commands["RNTO"] = async (argument, talk) => {
        server.commands["RNTO"] = RNTO!;
        if (lose === "after") await RNTO!(argument, talk);
        talk.control.destroy();
        return undefined;
      };
      const code = await codeOf(files.write("a", once("new one"), { keepAs: "kept" }, never));
      const found = Object.fromEntries([...server.files].map(([path, bytes]) => [path, bytes.toString()]));
      // The first rename is that of the old file to where it is kept.
      if (lose === "before") expect([code, found]).toEqual(["LINK_LOST", { "/top/a": "old" }]);
      else expect([code, found]).toEqual(["ok", { "/top/a": "new one", "/top/kept": "old" }]);
      server.files.clear();
    }
    put("a", "old");
    server.commands["RNFR"] = (argument, talk) => {
      if (!argument.includes("part")) return RNFR!(argument, talk);
      server.commands["RNFR"] = RNFR!;
      talk.control.destroy();
      return undefined;
    };
    const files = await connected();
    expect(await codeOf(files.write("a", once("new one"), { keepAs: "kept" }, never))).toBe("ok");
    expect(server.files.get("/top/a")?.toString()).toBe("new one");
  });

  test("[FTPC-33] what came to an empty place while a file was sent there is left, where the server replaces nothing", async () => {
    const files = await connected();
    const { RNTO } = server.commands;
    server.commands["RNTO"] = (argument, talk) => {
      if (argument === "/top/a" && !server.files.has("/top/a")) put("a", "theirs");
      return server.files.has(argument) ? "553 File exists" : RNTO!(argument, talk);
    };
    expect(await codeOf(files.write("a", once("ours"), { expect: "absent" }, never))).toBe("STALE");
    expect([...server.files].map(([path, bytes]) => [path, bytes.toString()])).toEqual([["/top/a", "theirs"]]);
  });

  test("[FTPC-27] replies without an end are refused, and a server that is full lets what there is go on", async () => {
    server.commands["SYST"] = () => undefined;
    const files = await connected();
    const users: string[] = [];
    server.commands["PASS"] = () => (users.push("x") > 0 ? "421 too many connections" : "230 in");
    await Promise.all(["a", "b", "c", "d"].map((name) => files.write(name, once(name), {}, never)));
    expect(server.files.size).toBe(4);
    expect(users.length).toBeGreaterThan(0);
    server.commands["MLST"] = (_, talk) => {
      for (let at = 0; at < 2_000 && !talk.control.destroyed; at++) talk.say("250-and on");
      return undefined;
    };
    expect(await codeOf(files.stat("a", never))).toBe("LIMIT");
  });

  test("[FTPC-28] what cannot be said in a command is not, and hidden files not to a server that does not list them", async () => {
    const files = await connected();
    for (const name of ["a\r\nDELE b", "a\nb", "a\udcff"]) expect(await codeOf(files.write(name, once("x"), {}, never))).toBe("UNSUPPORTED");
    expect(server.said.some((line) => line.startsWith("DELE b"))).toBe(false);
    server.features = ["SIZE"];
    server.commands["SIZE"] = (argument) => (server.files.has(argument) ? `213 ${server.files.get(argument)!.length}` : "550 no");
    server.commands["CWD"] = (argument) => (server.files.has(argument) || argument.endsWith("/a") ? "550 no" : "250 there");
    server.commands["LIST"] = async (_, talk) => {
      await talk.send("-rw-r--r-- 1 a b 1 Jan 01 2020 seen\r\n");
      return "226 done";
    };
    const blind = await connected();
    expect(await codeOf(blind.write(".htaccess", once("x"), {}, never))).toBe("UNSUPPORTED");
    expect(await codeOf(blind.makeDir(".git", undefined, never))).toBe("UNSUPPORTED");
    expect(await names(blind)).toEqual(["seen"]);
  });
});

describe("TLS with an FTP server", () => {
  test("[FTPC-30] nothing is said to a server that is not who it should be, and what it says in clear behind its yes is refused", async () => {
    await using lab = await FtpLab.open();
    const way = { port: lab.port, tls: "explicit", user: "admin", password: PASSWORD } as const;
    expect(await codeOf(connected(way))).toBe("TRUST");
    expect(await codeOf(connected(way, { fingerprint: `SHA256:${"0".repeat(64)}` }))).toBe("TRUST");
    expect(await codeOf(connected(way, { askTrust: async () => false }))).toBe("TRUST");
    const asked: string[] = [];
    const askTrust = async (_: string, fingerprint: string): Promise<boolean> => asked.push(fingerprint) > 0;
    expect(await codeOf(connected(way, { askTrust }))).toBe("ok");
    // Pinned now, for both ways of TLS alike by what is at the port.
    expect(await codeOf(connected(way))).toBe("ok");
    expect(await codeOf(connected({ ...way, port: lab.securePort, tls: "implicit" }, { fingerprint: asked[0]! }))).toBe("ok");
    server.commands["AUTH"] = () => "234 go on\r\n230 you are in";
    expect(await codeOf(connected({ tls: "explicit" }))).toBe("PROTOCOL");
    server.commands["AUTH"] = () => "502 never heard of it";
    expect(await codeOf(connected({ tls: "explicit" }))).toBe("UNSUPPORTED");
    expect(server.said.some((line) => line.startsWith("USER"))).toBe(false);
  });
});
