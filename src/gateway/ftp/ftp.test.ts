/** The FTP door of a whole hub, as clients meet it: what is answered, what becomes visible, and to whom. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import { systemPrincipal } from "#access/access.ts";
import { type FtpClient, FtpLab, PASSWORD, activeServer } from "#gateway/ftp/ftp-fixture.ts";

/** Changes one bit of the pack that holds these bytes. */
function damage(chunks: string, bytes: Uint8Array): void {
  for (const name of readdirSync(chunks).filter((one) => one.endsWith(".pack"))) {
    const pack = readFileSync(join(chunks, name));
    const at = pack.indexOf(bytes);
    if (at < 0) continue;
    pack[at]! ^= 1;
    writeFileSync(join(chunks, name), pack);
    return;
  }
  throw new Error("no pack holds them");
}

let lab: FtpLab;
beforeAll(async () => {
  lab = await FtpLab.open();
});
afterAll(() => lab[Symbol.asyncDispose]());

describe("signing in", () => {
  test("[FTP-20] a wrong password and a user that there is not are answered alike, and the third ends it", async () => {
    const client = await lab.client("127.0.0.9");
    expect(await client.code("LIST")).toBe(530);
    expect(await client.code("PASS x")).toBe(503);
    const wrong = await client.signIn("admin", "wrong");
    expect(await client.signIn("nobody-at-all", "wrong")).toBe(wrong);
    expect(wrong).toStartWith("530 ");
    expect(await client.signIn("admin", "wrong")).toStartWith("421 ");
    expect(await client.reply()).toBe("");
  }, 20_000);

  test("[FTP-21] who is disabled while signed in is out at the next command, and REIN forgets who was there", async () => {
    const client = await lab.signedIn("reader");
    expect(await client.code("PWD")).toBe(257);
    await lab.api.ask("/v1/users/reader", { method: "PATCH", json: { disabled: true } });
    expect(await client.code("PWD")).toBe(530);
    await lab.api.ask("/v1/users/reader", { method: "PATCH", json: { disabled: false } });
    expect(await client.signIn("reader")).toStartWith("230 ");
    expect(await client.code("REIN")).toBe(220);
    expect(await client.code("PWD")).toBe(530);
  });

  test("[FTP-77] who is disabled while the password is compared is out, too", async () => {
    // Whose password was never compared before: that takes a while.
    expect((await lab.api.ask("/v1/users", { method: "POST", json: { name: "late", password: PASSWORD } })).ok).toBe(true);
    const client = await lab.client();
    await client.say("USER late");
    client.write(`PASS ${PASSWORD}\r\n`);
    await Bun.sleep(15);
    await lab.api.ask("/v1/users/late", { method: "PATCH", json: { disabled: true } });
    await client.reply();
    expect(await client.code("PWD")).toBe(530);
  });

  test("[FTP-22] commands that were sent together are answered in their order", async () => {
    const client = await lab.client();
    const words = ["USER admin", `PASS ${PASSWORD}`, "TYPE I", "CWD /demo", "PWD", ...Array.from({ length: 300 }, () => "NOOP"), "QUIT"];
    client.write(words.map((line) => `${line}\r\n`).join(""));
    const codes: number[] = [];
    for (let at = 0; at < words.length; at++) codes.push(Number((await client.reply()).slice(0, 3)));
    expect(codes).toEqual([331, 230, 200, 250, 257, ...Array.from({ length: 300 }, () => 200), 221]);
    expect(await client.reply()).toBe("");
  });

  test("[FTP-23] what is no command, or too long, is told so, and the session goes on", async () => {
    const client = await lab.signedIn();
    expect(await client.code("BOGUS x")).toBe(500);
    expect(await client.code(`CWD ${"x".repeat(9000)}`)).toBe(500);
    client.write(Buffer.from(randomBytes(5000).filter((byte) => byte !== 10)).toString("latin1"));
    expect(await client.code("")).toBe(500);
    expect(await client.code("NOOP")).toBe(200);
    for (const line of ["TYPE", "TYPE E", "MODE B", "STRU R", "REST x", "ALLO x", "PORT x", "EPRT x", "OPTS X", "LANG fr", "ACCT x", "CCC", "SITE X", "PROT P"]) {
      expect([line, Math.floor((await client.code(line)) / 100)]).toEqual([line, 5]);
    }
  });
});

describe("uploads", () => {
  test("[FTP-24] a file is there when it is acknowledged, with all its bytes, through every door", async () => {
    const client = await lab.signedIn();
    for (const size of [0, 1, 4096, (1 << 20) + 1, 5 << 20]) {
      const bytes = randomBytes(size);
      expect(await client.send(`STOR /demo/up ${size}.bin`, bytes)).toStartWith("226 ");
      expect((await lab.bytes(`/demo/up ${size}.bin`))?.equals(bytes)).toBe(true);
      const back = await client.receive(`RETR /demo/up ${size}.bin`);
      expect([back.reply.slice(0, 3), back.bytes.equals(bytes)]).toEqual(["226", true]);
      expect(await client.say(`SIZE /demo/up ${size}.bin`)).toBe(`213 ${size}`);
    }
    const data = await client.passive();
    const [, name = ""] = /FILE: (\S+)/.exec(await client.say("STOU /demo/u")) ?? [];
    data.end("unique");
    expect(await client.reply()).toStartWith("226 ");
    expect((await lab.bytes(`/demo/${name}`))?.toString()).toBe("unique");
  });

  test("[FTP-25] what breaks off leaves what was there, whether it was aborted, reset or cut off", async () => {
    await lab.put("/demo/old.txt", "as it was");
    for (const size of [10_000, 3 << 20]) {
      const client = await lab.signedIn();
      const aborted = await client.begin("STOR /demo/old.txt", randomBytes(size));
      expect(await client.say("ABOR")).toStartWith("426 ");
      expect(await client.reply()).toStartWith("226 ");
      aborted.destroy();
      const reset = await client.begin("STOR /demo/old.txt", randomBytes(size));
      reset.resetAndDestroy();
      expect(await client.reply()).toStartWith("426 ");
      await client.begin("STOR /demo/old.txt", randomBytes(size));
      client.destroy();
      expect((await lab.bytes("/demo/old.txt"))?.toString()).toBe("as it was");
    }
    const client = await lab.signedIn();
    await client.say("ALLO 100");
    expect(await client.send("STOR /demo/old.txt", "only this")).toStartWith("426 ");
    expect((await lab.bytes("/demo/old.txt"))?.toString()).toBe("as it was");
    expect(await client.code("ABOR")).toBe(225);
  });

  test("[FTP-78] a right that is taken away while bytes come is gone when they have come", async () => {
    await lab.put("/demo/in/there.txt", "x");
    const change = (roles: string[]) => lab.api.ask("/v1/users/writer", { method: "PATCH", json: { roles } });
    for (const size of [10_000, 3 << 20]) {
      const client = await lab.signedIn("writer");
      const data = await client.begin("STOR /demo/in/late.bin", randomBytes(size));
      expect((await change([])).ok).toBe(true);
      data.end();
      expect(await client.reply()).toStartWith("550 ");
      expect(await lab.bytes("/demo/in/late.bin")).toBeUndefined();
      await change(["in-writer"]);
    }
  });

  test("[FTP-26] an upload that broke off is gone on with, from what SIZE tells the same user, by APPE or REST and STOR", async () => {
    const whole = randomBytes(3 << 20);
    const ways = [[300_000, "APPE", 0], [2_500_000, "APPE", 0], [2_500_000, "STOR", 0], [70, "STOR", 0], [2_500_000, "STOR", 100_000]] as const;
    for (const [sent, how, less] of ways) {
      const path = `/demo/resume-${how}-${sent}-${less}.bin`;
      const first = await lab.signedIn();
      (await first.begin(`STOR ${path}`, whole.subarray(0, sent))).resetAndDestroy();
      expect(await first.reply()).toStartWith("426 ");
      const other = await lab.signedIn("writer");
      expect(await other.code(`SIZE ${path}`)).toBe(550);
      expect(await lab.bytes(path)).toBeUndefined();
      const client = await lab.signedIn();
      const there = Number((await client.say(`SIZE ${path}`)).slice(4));
      expect(there).toBeLessThanOrEqual(sent);
      const size = Math.max(0, there - less);
      expect((await client.receive("MLSD /demo")).bytes.toString()).not.toContain(path.slice(6));
      if (how === "STOR") {
        await client.say(`REST ${there + 1}`);
        expect(await client.send(`STOR ${path}`, "x")).toStartWith("554 ");
        await client.say(`REST ${size}`);
      }
      expect(await client.send(`${how} ${path}`, whole.subarray(size))).toStartWith("226 ");
      expect((await lab.bytes(path))?.equals(whole)).toBe(true);
      expect(await client.say(`SIZE ${path}`)).toBe(`213 ${whole.length}`);
    }
  });

  test("[FTP-27] a file that was changed meanwhile is not gone on with, and one that is there is appended to", async () => {
    const client = await lab.signedIn();
    (await client.begin("STOR /demo/raced.bin", randomBytes(2 << 20))).resetAndDestroy();
    await client.reply();
    await lab.put("/demo/raced.bin", "somebody else's");
    expect(await client.say("SIZE /demo/raced.bin")).toBe("213 15");
    expect(await client.send("APPE /demo/raced.bin", ", and more")).toStartWith("226 ");
    expect((await lab.bytes("/demo/raced.bin"))?.toString()).toBe("somebody else's, and more");
    await client.say("REST 8");
    expect(await client.send("STOR /demo/raced.bin", "-body")).toStartWith("226 ");
    expect((await lab.bytes("/demo/raced.bin"))?.toString()).toBe("somebody-body");
    await client.say("REST 99");
    expect(await client.send("STOR /demo/raced.bin", "x")).toStartWith("554 ");
    expect(await client.send("APPE /demo/new.txt", "new")).toStartWith("226 ");
  });

  test("[FTP-28] type A carries lines, refuses SIZE and REST, and is cut anywhere", async () => {
    const client = await lab.signedIn();
    await client.say("TYPE A");
    expect(await client.send("STOR /demo/text.txt", "one\r\ntwo\rthree\r\n\r\n")).toStartWith("226 ");
    expect((await lab.bytes("/demo/text.txt"))?.toString()).toBe("one\ntwo\rthree\n\n");
    expect((await client.receive("RETR /demo/text.txt")).bytes.toString()).toBe("one\r\ntwo\rthree\r\n\r\n");
    expect(await client.code("SIZE /demo/text.txt")).toBe(550);
    expect(await client.code("REST 3")).toBe(504);
    expect(await client.code("REST 0")).toBe(350);
  });

  test("[FTP-80] who makes something under a name that cannot be hears so; who asks for it finds nothing", async () => {
    const client = await lab.signedIn();
    const long = "n".repeat(256);
    await lab.put("/demo/short", "x");
    expect(await client.send(`STOR /demo/${long}`, "x")).toBe("553 This name cannot be used: name too long");
    expect(await client.say(`MKD /demo/${long}`)).toStartWith("553 ");
    expect(await client.say("MKD /demo/.syncline")).toBe("553 This name cannot be used: reserved name");
    expect(await client.code("RNFR /demo/short")).toBe(350);
    expect(await client.code(`RNTO /demo/${long}`)).toBe(553);
    for (const command of ["SIZE", "MDTM", "MLST", "CWD"]) expect([command, await client.code(`${command} /demo/${long}`)]).toEqual([command, 550]);
    expect(await client.send(`STOR /demo/${"n".repeat(255)}`, "x")).toStartWith("226 ");
  });

  test("[FTP-29] what has no room or no place is refused with its code, before bytes where that can be known", async () => {
    const client = await lab.signedIn();
    expect(await client.send("STOR /tiny/big.bin", Buffer.alloc(5000))).toStartWith("552 ");
    expect(await client.send("STOR /demo/none/x", "x")).toStartWith("550 ");
    expect(await client.send("STOR /top", "x")).toStartWith("550 ");
    expect(await client.send("STOR /demo", "x")).toStartWith("550 ");
    expect(await (await lab.signedIn()).code("STOR /demo/no-connection")).toBe(425);
    await client.passive();
    expect(await client.code("RETR /demo/none")).toBe(550);
  });
});

describe("downloads and transfers", () => {
  test("[FTP-30] a restart sends the rest, and an abort ends what is under way with both of its replies", async () => {
    const bytes = randomBytes(40 << 20);
    await lab.put("/demo/long.bin", bytes);
    const client = await lab.signedIn();
    await client.say(`REST ${bytes.length - 10}`);
    expect((await client.receive("RETR /demo/long.bin")).bytes.equals(bytes.subarray(-10))).toBe(true);
    await client.say(`REST ${bytes.length + 1}`);
    await client.passive();
    expect(await client.code("RETR /demo/long.bin")).toBe(554);
    const data = await client.passive();
    expect(await client.code("RETR /demo/long.bin")).toBe(150);
    data.pause();
    expect(await client.say("STAT")).toStartWith("211 Sending");
    client.write("NOOP\r\nABOR\r\n");
    expect([await client.reply(), await client.reply(), await client.reply()].map((reply) => reply.slice(0, 3))).toEqual(["426", "226", "200"]);
    data.destroy();
    // Sent ahead of its turn, it ends what has just begun.
    await client.passive();
    client.write("RETR /demo/long.bin\r\nABOR\r\n");
    expect([await client.reply(), await client.reply(), await client.reply()].map((reply) => reply.slice(0, 3))).toEqual(["150", "426", "226"]);
    expect((await client.receive("RETR /demo/long.bin")).bytes.equals(bytes)).toBe(true);
  });

  test("[FTP-37] who stops reading, or goes in the middle of a large file, leaves nothing behind, and others get theirs", async () => {
    const bytes = randomBytes(24 << 20);
    await lab.put("/demo/left.bin", bytes);
    const [stops, goes, dies, reads] = await Promise.all([1, 2, 3, 4].map(() => lab.signedIn())) as [FtpClient, FtpClient, FtpClient, FtpClient];
    const begun: Socket[] = [];
    for (const client of [stops, goes, dies]) {
      const data = await client.passive();
      data.pause();
      begun.push(data);
      expect(await client.code("RETR /demo/left.bin")).toBe(150);
    }
    begun[1]!.destroy();
    expect(await goes.reply()).toStartWith("426 ");
    dies.destroy();
    expect((await reads.receive("RETR /demo/left.bin")).bytes.equals(bytes)).toBe(true);
    expect(await stops.say("STAT")).toStartWith("211 Sending");
    expect(await stops.say("ABOR")).toStartWith("426 ");
    expect(await stops.reply()).toStartWith("226 ");
    expect((await stops.receive("RETR /demo/left.bin")).bytes.equals(bytes)).toBe(true);
    for (const data of begun) data.destroy();
  });

  test("[FTP-38] a file that is damaged in the store is never said to be sent, whole or from a place on", async () => {
    const bytes = randomBytes(9 << 20);
    const client = await lab.signedIn();
    expect(await client.send("STOR /demo/damaged.bin", bytes)).toStartWith("226 ");
    damage(join(lab.api.dir, "hub", "chunks"), bytes.subarray(6 << 20, (6 << 20) + 64));
    const got = await client.receive("RETR /demo/damaged.bin");
    expect(got.reply).toStartWith("551 ");
    expect(bytes.subarray(0, got.bytes.length).equals(got.bytes)).toBe(true);
    await client.say(`REST ${5 << 20}`);
    expect((await client.receive("RETR /demo/damaged.bin")).reply).toStartWith("551 ");
  });

  test("[FTP-31] a data connection is taken from the client's own address alone", async () => {
    const client = await lab.signedIn();
    const port = Number(/\|\|\|(\d+)\|/.exec(await client.say("EPSV"))?.[1]);
    const { connect } = await import("node:net");
    const thief = connect({ host: "127.0.0.1", port, localAddress: "127.0.0.7" });
    thief.on("error", () => undefined);
    await new Promise<void>((closed) => thief.on("close", () => closed()));
    const own = connect({ host: "127.0.0.1", port });
    own.resume();
    expect(await client.code("LIST /demo")).toBe(150);
    expect(await client.reply()).toStartWith("226 ");
    expect(await client.code("LIST /demo")).toBe(425);
  });

  test("[FTP-32] active mode goes to the client alone, and to no port of the system", async () => {
    const client = await lab.signedIn();
    for (const line of ["PORT 127,0,0,2,200,1", "PORT 10,1,2,3,200,1", "PORT 127,0,0,1,0,80", "EPRT |1|127.0.0.1|1023|", "EPRT |2|::1|5000|"]) {
      expect([line, await client.code(line)]).toEqual([line, 504]);
    }
    expect(await client.code("EPRT |7|x|5000|")).toBe(522);
    for (const command of ["PORT", "EPRT"]) {
      const { server, port, connection } = await activeServer();
      await client.say(command === "PORT" ? `PORT 127,0,0,1,${port >> 8},${port & 255}` : `EPRT |1|127.0.0.1|${port}|`);
      client.write("NLST /demo\r\n");
      const data = await connection;
      let text = "";
      data.on("data", (piece: Buffer) => (text += piece.toString()));
      expect(await client.reply()).toStartWith("150 ");
      expect(await client.reply()).toStartWith("226 ");
      await once(data, "close");
      expect(text).toContain("long.bin\r\n");
      server.close();
    }
    expect(await client.code("EPSV ALL")).toBe(200);
    for (const line of ["PASV", "PORT 127,0,0,1,200,1", "EPRT |1|127.0.0.1|5000|"]) expect(await client.code(line)).toBe(503);
    expect(await client.code("EPSV 2")).toBe(522);
    expect(await client.code("EPSV 1")).toBe(229);
  });

  test("[FTP-33] listings show names as they are, one a line, and patterns fit", async () => {
    const client = await lab.signedIn();
    for (const line of ["MKD /demo/list", "MKD /demo/list/sub"]) expect(await client.code(line)).toBe(257);
    // Telnet doubles a byte of 255 that is meant.
    for (const name of ["a.txt", "b c.txt", "-dash", 'q"uote', "\xff\xffbyte", "\xc3\xa9"]) {
      expect(await client.send(`STOR /demo/list/${name}`, "x")).toStartWith("226 ");
    }
    const names = (await client.receive("NLST /demo/list")).bytes.toString("latin1").split("\r\n").slice(0, -1);
    expect(names.sort()).toEqual(['-dash', "a.txt", "b c.txt", 'q"uote', "sub", "\xc3\xa9", "\xffbyte"].sort());
    expect((await client.receive("NLST /demo/list/*.txt")).bytes.toString()).toBe("/demo/list/a.txt\r\n/demo/list/b c.txt\r\n");
    const long = (await client.receive("LIST -la /demo/list")).bytes.toString("latin1");
    expect(long).toMatch(/^drwxr-xr-x 1 \S+ \S+ +0 .* sub\r\n/m);
    const facts = (await client.receive("MLSD /demo/list")).bytes.toString("latin1");
    expect(facts).toMatch(/^type=dir;perm=elcfmpd;unique=\S+;unix.mode=0755; sub\r\n/m);
    expect(facts).toMatch(/^type=file;size=1;modify=\d{14}(\.\d{3})?;perm=rawdf;.*; b c.txt\r\n/m);
    expect(await client.say('MLST /demo/list/q"uote')).toMatch(/^250-.*\r\n type=file;.* \/demo\/list\/q"uote\r\n250 /);
    expect(await client.say('CWD /demo/list/sub')).toBe('250 "/demo/list/sub" is the current directory');
    expect(await client.code("CDUP")).toBe(250);
    expect((await client.say("STAT a.txt")).split("\r\n")).toHaveLength(3);
    expect((await client.receive("MLSD a.txt")).reply).toStartWith("501 ");
    expect((await client.receive("LIST /demo/none")).reply).toStartWith("550 ");
    expect((await client.receive("NLST /")).bytes.toString()).toBe("demo\r\nother\r\ntiny\r\n");
  });
});

describe("files", () => {
  test("[FTP-82] a copy of a file that has several names is a file of its own", async () => {
    const client = await lab.signedIn();
    const { spaces } = lab.api.hub;
    const who = systemPrincipal("test");
    await lab.put("/demo/names/a", "one");
    const a = (await spaces.version(who, "demo", "names/a"))!;
    await using intake = spaces.intake(who, "demo");
    await intake.hold(a.content!);
    const entry = { ...a.entry!, linkTo: "names/a" } as typeof a.entry & object;
    const change = { type: "put", path: "names/b", expect: { kind: "any" }, entry, content: a.content, makeParents: true } as const;
    await spaces.commit(who, "demo", { changes: [change], intake, atomic: true, cause: "edit", traceId: "0".repeat(32) });
    expect(await client.code("CWD /demo/names")).toBe(250);
    expect(await client.code("SITE CPFR b")).toBe(350);
    expect(await client.code("SITE CPTO c")).toBe(250);
    const linkOf = async (path: string) => ((await spaces.version(who, "demo", path))!.entry as { linkTo?: string }).linkTo;
    expect([await linkOf("names/b"), await linkOf("names/c")]).toEqual(["names/a", undefined]);
  });

  test("[FTP-81] permissions that were taken away while a file comes are not back when it has come", async () => {
    const [client, other] = [await lab.signedIn(), await lab.signedIn()];
    for (const size of [100, 3 << 20]) {
      const path = `/demo/narrowed-${size}`;
      await client.send(`STOR ${path}`, "old");
      const data = await client.begin(`STOR ${path}`, randomBytes(size));
      expect(await other.code(`SITE CHMOD 600 ${path}`)).toBe(200);
      data.end();
      expect(await client.reply()).toStartWith("226 ");
      expect(await other.say(`MLST ${path}`)).toContain("unix.mode=0600;");
      expect(await other.say(`SIZE ${path}`)).toBe(`213 ${size}`);
    }
  });

  test("[FTP-34] names, times and modes are changed as POSIX changes them", async () => {
    const client = await lab.signedIn();
    await client.say("MKD /demo/files");
    await client.say("CWD /demo/files");
    await client.send("STOR a", "first");
    await client.send("STOR b", "second");
    expect(await client.code("RNTO c")).toBe(503);
    expect(await client.code("RNFR none")).toBe(550);
    await client.say("RNFR a");
    await client.say("NOOP");
    expect(await client.code("RNTO b")).toBe(250);
    expect((await lab.bytes("/demo/files/b"))?.toString()).toBe("first");
    expect(await lab.bytes("/demo/files/a")).toBeUndefined();
    await client.say("RNFR b");
    expect(await client.code("PWD")).toBe(257);
    expect(await client.code("RNTO c")).toBe(503);
    await client.say("RNFR b");
    expect(await client.code("RNTO /other/b")).toBe(550);
    expect(await client.say("MFMT 20200102030405 b")).toBe("213 Modify=20200102030405; /demo/files/b");
    expect(await client.say("MDTM b")).toBe("213 20200102030405");
    expect(await client.say("MDTM 20210102030405.5 b")).toBe("213 Modify=20210102030405.500; /demo/files/b");
    await client.say("SITE UTIME 202201020304 b");
    expect(await client.say("MDTM b")).toBe("213 20220102030400");
    expect(await client.code("MFMT 20201302030405 b")).toBe(501);
    expect(await client.code("SITE CHMOD 600 b")).toBe(200);
    expect(await client.say("MLST b")).toContain("unix.mode=0600;");
    await client.say("SITE CPFR b");
    expect(await client.code("SITE CPTO c d")).toBe(250);
    expect((await lab.bytes("/demo/files/c d"))?.toString()).toBe("first");
    expect(await client.code("RMD b")).toBe(550);
    expect(await client.code("DELE /demo/files")).toBe(550);
    expect(await client.code("RMD /demo/files")).toBe(550);
    for (const line of ["DELE b", "DELE c d", "CWD /", "RMD /demo/files"]) expect([line, await client.code(line)]).toEqual([line, 250]);
    expect(await client.code("MKD /demo/list")).toBe(550);
  });

  test("[FTP-35] sums are those of the bytes, of all or of a part", async () => {
    const client = await lab.signedIn();
    const bytes = randomBytes(2_000_000);
    await lab.put("/demo/sum 7", bytes);
    const hex = (name: "sha256" | "sha512" | "md5", part: Uint8Array): string => new Bun.CryptoHasher(name).update(part).digest("hex");
    expect(await client.say("HASH /demo/sum 7")).toBe(`213 SHA-256 0-2000000 ${hex("sha256", bytes)} /demo/sum 7`);
    expect(await client.say("XMD5 /demo/sum 7")).toBe(`250 ${hex("md5", bytes).toUpperCase()}`);
    expect(await client.say('XSHA256 "/demo/sum 7" 10 20')).toBe(`250 ${hex("sha256", bytes.subarray(10, 20)).toUpperCase()}`);
    expect(await client.say("XSHA512 /demo/sum 7")).toBe(`250 ${hex("sha512", bytes).toUpperCase()}`);
    expect(await client.say("XCRC /demo/sum 7")).toBe(`250 ${Bun.hash.crc32(bytes).toString(16).padStart(8, "0").toUpperCase()}`);
    await client.say("OPTS HASH MD5");
    expect(await client.say("HASH /demo/sum 7")).toContain(hex("md5", bytes));
    expect(await client.say("FEAT")).toContain("MD5*");
    expect(await client.code("OPTS HASH MD4")).toBe(501);
    expect(await client.code("HASH /demo")).toBe(550);
  });

  test("[FTP-70] the room that is left is that of the quota, and of the disk", async () => {
    const client = await lab.signedIn();
    await lab.put("/tiny/some", "x".repeat(100));
    expect(await client.say("AVBL /tiny")).toBe("213 900");
    await client.say("CWD /tiny");
    expect(await client.say("AVBL")).toBe("213 900");
    expect(await client.say("AVBL /demo")).toMatch(/^213 \d{6,}$/);
    for (const path of ["/", "/tiny/some", "/none"]) expect(await client.code(`AVBL ${path}`)).toBe(550);
    const stranger = await lab.signedIn("stranger");
    expect(await stranger.code("AVBL /tiny")).toBe(550);
    await client.say("DELE /tiny/some");
  });

  test("[FTP-36] everybody does what their rights allow, and sees nothing else", async () => {
    await lab.put("/demo/in/deep/file", "seen");
    await lab.put("/demo/in/file", "not by all");
    await lab.put("/demo/out/file", "by nobody but the administrator");
    const commands = (path: string): string[] => [
      `CWD ${path.slice(0, path.lastIndexOf("/"))}`, `MDTM ${path}`, `HASH ${path}`, `MLST ${path}`, `SITE CHMOD 600 ${path}`, `MFMT 20200101000000 ${path}`,
      `RNFR ${path}`, `RNTO ${path}.2`, `RNFR ${path}.2`, `RNTO ${path}`, `MKD ${path}.d`, `RMD ${path}.d`,
    ];
    const may = async (user: string, path: string): Promise<string> => {
      const client = await lab.signedIn(user);
      const reads = [(await client.receive(`RETR ${path}`)).reply, (await client.receive(`NLST ${path}`)).reply];
      const writes = [await client.send(`STOR ${path}`, "new"), await client.send(`APPE ${path}`, "er"), await client.send(`STOR ${path}.new`, "x")];
      const removals = [await client.say(`DELE ${path}.new`)];
      const plain: string[] = [];
      for (const line of commands(path)) plain.push(await client.say(line));
      return [...reads, ...writes, ...removals, ...plain].map((reply) => (/^[23]/.test(reply) ? "y" : "n")).join("");
    };
    const all = "yy yyy y yyyy yyyyyyyy".replaceAll(" ", "");
    const none = "nn nnn n nnnn nnnnnnnn".replaceAll(" ", "");
    const see = "yy nnn n yyyy nnynnnnn".replaceAll(" ", "");
    const way = "nn nnn n ynnn nnnnnnnn".replaceAll(" ", "");
    const seen: Record<string, string> = {};
    for (const user of ["admin", "writer", "reader", "stranger"]) {
      for (const path of ["/demo/in/deep/file", "/demo/in/file", "/demo/out/file"]) seen[`${user} ${path}`] = await may(user, path);
    }
    expect(seen).toEqual({
      "admin /demo/in/deep/file": all, "admin /demo/in/file": all, "admin /demo/out/file": all,
      "writer /demo/in/deep/file": all, "writer /demo/in/file": all, "writer /demo/out/file": none,
      "reader /demo/in/deep/file": see, "reader /demo/in/file": way, "reader /demo/out/file": none,
      "stranger /demo/in/deep/file": none, "stranger /demo/in/file": none, "stranger /demo/out/file": none,
    });
    const reader = await lab.signedIn("reader");
    expect((await reader.receive("NLST /")).bytes.toString()).toBe("demo\r\n");
    expect((await reader.receive("NLST /demo")).bytes.toString()).toBe("in\r\n");
    expect((await reader.receive("NLST /demo/in")).bytes.toString()).toBe("deep\r\n");
    expect((await reader.receive("MLSD /demo/in")).bytes.toString()).toContain("perm=el;");
  });
});
