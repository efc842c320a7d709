/** The FTP door with the clients that people have: curl, lftp, rclone, Python's ftplib, basic-ftp. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Fleet } from "./fleet.ts";
import { type Done, ROOT, freePort } from "./harness.ts";

const PASSWORD = "ann's own password";
const USER = `ann:${PASSWORD}`;
/** 2020-01-02 03:04:05 UTC. */
const OLD = 1_577_934_245;

let fleet: Fleet;
let port: number;
let securePort: number;

const path = (...parts: string[]): string => fleet.world.path(...parts);
const run = (command: string[]): Promise<Done> => fleet.world.command(command);

async function done(command: string[]): Promise<string> {
  const { code, out, err } = await run(command);
  if (code !== 0) throw new Error(`${command.join(" ")}: ${code}\n${out}\n${err}`);
  return out;
}

const content = async (name: string): Promise<Buffer> =>
  Buffer.from(await (await fleet.fetch(`/v1/spaces/site/content/${name.split("/").map(encodeURIComponent).join("/")}`)).arrayBuffer());

/** What trees have: sizes around all limits, names with spaces and other letters, times. */
function makeTree(name: string): string {
  const root = path(name);
  mkdirSync(join(root, "sub", "deep"), { recursive: true });
  for (const size of [0, 1, 4_096, 131_073, 1_048_577, 3_000_000]) writeFileSync(join(root, `f${size}`), randomBytes(size));
  for (let at = 0; at < 20; at++) writeFileSync(join(root, "sub", `file ${at} ü`), `text ${at}`);
  writeFileSync(join(root, "sub", "deep", "-dash"), "text");
  utimesSync(join(root, "f4096"), OLD, OLD);
  return root;
}

const startHub = (): Promise<void> =>
  fleet.startHub("--ftp-listen", `127.0.0.1:${port}`, "--ftps-listen", `127.0.0.1:${securePort}`);

beforeAll(async () => {
  fleet = await Fleet.start();
  [port, securePort] = [await freePort(), await freePort()];
  await fleet.json("/v1/users/ann", "PATCH", { password: PASSWORD });
  await fleet.kill("hub");
  await startHub();
  makeTree("tree");
});
afterAll(() => fleet[Symbol.asyncDispose]());

/** Each way to connect, as curl says it. */
const WAYS = {
  plain: () => [[], `ftp://127.0.0.1:${port}`],
  explicit: () => [["-k", "--ssl-reqd"], `ftp://127.0.0.1:${port}`],
  implicit: () => [["-k"], `ftps://127.0.0.1:${securePort}`],
} as const satisfies Record<string, () => [string[], string]>;

describe("FTP with the clients that people have", () => {
  test("[FTP-60] curl puts, resumes, lists and gets in clear and in TLS, by EPSV, PASV and PORT", async () => {
    const file = path("tree", "f3000000");
    const bytes = readFileSync(file);
    for (const [name, way] of Object.entries(WAYS)) {
      const [options, url] = way();
      const modes = name === "plain" ? [[], ["--disable-epsv"], ["--ftp-port", "-"], ["--ftp-port", "-", "--disable-eprt"]] : [[], ["--disable-epsv"]];
      for (const [at, mode] of modes.entries()) {
        const curl = ["curl", "-sS", "--user", USER, ...options, ...mode];
        const target = `${url}/site/curl/${name}${at}.bin`;
        await done([...curl, "--ftp-create-dirs", "-T", file, target]);
        expect((await content(`curl/${name}${at}.bin`)).equals(bytes)).toBe(true);
        await done([...curl, "-o", path("got"), target]);
        expect(readFileSync(path("got")).equals(bytes)).toBe(true);
        writeFileSync(path("got"), bytes.subarray(0, 1_000_000));
        await done([...curl, "-C", "-", "-o", path("got"), target]);
        expect(readFileSync(path("got")).equals(bytes)).toBe(true);
        expect(await done([...curl, "-l", `${url}/site/curl/`])).toContain(`${name}${at}.bin`);
        expect(await done([...curl, "-I", target])).toContain("Content-Length: 3000000");
      }
    }
  }, 60_000);

  test("[FTP-61] lftp mirrors both ways with many connections, also compressed, gets in pieces, renames and changes modes", async () => {
    const setting = "set ssl:verify-certificate no; set net:max-retries 1; set net:timeout 10; set cmd:fail-exit yes;";
    const ways = [
      [`${setting} set ftp:ssl-allow no;`, `ftp://127.0.0.1:${port}`],
      [`${setting} set ftp:ssl-force yes; set ftp:ssl-protect-data yes; set ftp:use-mode-z yes; debug -o ${path("lftp.log")} 5;`,
        `ftp://127.0.0.1:${port}`],
      [`${setting} set ftp:passive-mode off;`, `ftps://127.0.0.1:${securePort}`],
    ] as const;
    for (const [at, [settings, url]] of ways.entries()) {
      const lftp = (commands: string): Promise<string> =>
        done(["lftp", "-u", `ann,${PASSWORD}`, "-e", `${settings} cd site; ${commands}; quit`, url]);
      await lftp(`mirror -R -P 6 ${path("tree")} lftp${at}`);
      await lftp(`mirror -P 6 lftp${at} ${path(`lftp-back${at}`)}`);
      expect((await run(["diff", "-r", path("tree"), path(`lftp-back${at}`)])).code).toBe(0);
      expect(statSync(path(`lftp-back${at}`, "f4096")).mtimeMs).toBe(OLD * 1000);
      await lftp(`pget -n 4 lftp${at}/f3000000 -o ${path(`pget${at}`)}`);
      expect(readFileSync(path(`pget${at}`)).equals(readFileSync(path("tree", "f3000000")))).toBe(true);
      const out = await lftp(`mv lftp${at}/f1 lftp${at}/one; chmod 600 lftp${at}/one; cls -l lftp${at}; rm lftp${at}/one; rm -r lftp${at}/sub`);
      expect(out).toMatch(/-rw------- .* lftp\d\/one/);
      const left = await fleet.json<{ entries: unknown[] }>(`/v1/spaces/site/entries?below=lftp${at}`);
      expect(left.entries).toHaveLength(5);
    }
    expect(readFileSync(path("lftp.log"), "utf8").includes("---> MODE Z\n<--- 200")).toBe(true);
  }, 60_000);

  test("[FTP-62] rclone copies, checks and keeps times, in clear and in both kinds of TLS", async () => {
    const password = (await done(["rclone", "obscure", PASSWORD])).trim();
    const ways = { plain: [String(port)], explicit: [String(port), "explicit_tls = true"], implicit: [String(securePort), "tls = true"] };
    const config = Object.entries(ways).map(([name, [at, ...more]]) =>
      [`[${name}]`, "type = ftp", "host = 127.0.0.1", `port = ${at}`, "user = ann", `pass = ${password}`, "no_check_certificate = true", ...more].join("\n"),
    );
    fleet.world.write("rclone.conf", `${config.join("\n\n")}\n`);
    for (const name of Object.keys(ways)) {
      const rclone = (...words: string[]): Promise<string> => done(["rclone", "--config", path("rclone.conf"), "--retries", "1", ...words]);
      await rclone("copy", path("tree"), `${name}:site/rclone-${name}`);
      await rclone("check", "--download", path("tree"), `${name}:site/rclone-${name}`);
      await rclone("copy", `${name}:site/rclone-${name}`, path(`rclone-${name}`));
      expect((await run(["diff", "-r", path("tree"), path(`rclone-${name}`)])).code).toBe(0);
      expect(statSync(path(`rclone-${name}`, "f4096")).mtimeMs).toBe(OLD * 1000);
      await rclone("moveto", `${name}:site/rclone-${name}/f1`, `${name}:site/rclone-${name}/sub/moved`);
      await rclone("purge", `${name}:site/rclone-${name}`);
    }
  }, 60_000);

  test("[FTP-63] Python's ftplib stores and fetches bytes and lines, aborts, and goes on with an upload", async () => {
    const script = `
import ftplib, io, sys, time
host, port, password, data = "127.0.0.1", int(sys.argv[1]), sys.argv[2], open(sys.argv[3], "rb").read()
for secure in (False, True):
    for passive in (True, False):
        ftp = ftplib.FTP_TLS() if secure else ftplib.FTP()
        ftp.connect(host, port, timeout=10)
        ftp.login("ann", password)
        if secure: ftp.prot_p()
        ftp.set_pasv(passive)
        ftp.cwd("/site")
        name = "py-%s-%s" % (secure, passive)
        ftp.mkd(name); ftp.cwd(name)
        ftp.storbinary("STOR a", io.BytesIO(data))
        got = io.BytesIO(); ftp.retrbinary("RETR a", got.write); assert got.getvalue() == data
        got = io.BytesIO(); ftp.retrbinary("RETR a", got.write, rest=1000); assert got.getvalue() == data[1000:]
        ftp.storlines("STOR lines", io.BytesIO(b"one\\ntwo\\n"))
        lines = []; ftp.retrlines("RETR lines", lines.append); assert lines == ["one", "two"], lines
        assert ftp.nlst() == ["a", "lines"], ftp.nlst()
        assert dict(ftp.mlsd())["a"]["size"] == str(len(data))
        ftp.voidcmd("TYPE I")
        assert ftp.size("a") == len(data) and ftp.size("lines") == 8
        half = ftp.transfercmd("STOR part"); half.sendall(data[:1500000]); time.sleep(0.5); ftp.abort(); half.close(); ftp.voidresp()
        there = ftp.size("part")
        ftp.storbinary("STOR part", io.BytesIO(data[there:]), rest=there)
        got = io.BytesIO(); ftp.retrbinary("RETR part", got.write); assert got.getvalue() == data
        ftp.rename("a", "b"); ftp.delete("b"); ftp.delete("part"); ftp.delete("lines"); ftp.cwd(".."); ftp.rmd(name)
        ftp.quit()
print("done")
`;
    const out = await done(["python3", fleet.world.write("ftp.py", script), String(port), PASSWORD, path("tree", "f3000000")]);
    expect(out.trim()).toBe("done");
  }, 60_000);

  test("[FTP-64] basic-ftp brings directories up and down, in clear and in both kinds of TLS", async () => {
    // In Node's own process: Bun's client ends an empty upload in the middle of its handshake, which counts as a cut.
    const script = `
const { Client } = require(${JSON.stringify(join(ROOT, "node_modules", "basic-ftp"))});
const [port, securePort, password, tree, into] = process.argv.slice(1);
(async () => {
  for (const [at, way] of [{ port: +port }, { port: +port, secure: true }, { port: +securePort, secure: "implicit" }].entries()) {
    const client = new Client(10_000);
    await client.access({ host: "127.0.0.1", user: "ann", password, secureOptions: { rejectUnauthorized: false }, ...way });
    await client.ensureDir("/site/basic" + at);
    await client.uploadFromDir(tree);
    await client.downloadToDir(into + at);
    const listed = (await client.list()).find(({ name }) => name === "f3000000");
    if (listed?.size !== 3_000_000 || !listed.isFile) throw new Error("not listed");
    await client.rename("f1", "one");
    await client.cd("..");
    await client.removeDir("basic" + at);
    client.close();
  }
  console.log("done");
})();`;
    const args = [String(port), String(securePort), PASSWORD, path("tree"), path("basic")];
    expect((await done(["node", "-e", script, ...args])).trim()).toBe("done");
    for (const at of [0, 1, 2]) expect((await run(["diff", "-r", path("tree"), path(`basic${at}`)])).code).toBe(0);
  }, 60_000);

  test("[FTP-65] an upload that the hub's death has cut is gone on with after the next start, by curl and by lftp", async () => {
    const bytes = randomBytes(60 << 20);
    const file = fleet.world.write("large.bin", bytes);
    const url = `ftp://127.0.0.1:${port}/site`;
    for (const name of ["by-curl.bin", "by-lftp.bin"]) {
      const cut = run(["curl", "-sS", "--user", USER, "--limit-rate", "40M", "-T", file, `${url}/${name}`]);
      await Bun.sleep(1_000);
      await fleet.kill("hub");
      expect((await cut).code).not.toBe(0);
      await startHub();
      expect((await fleet.fetch(`/v1/spaces/site/content/${name}`)).status).toBe(404);
      const head = await done(["curl", "-sS", "-I", "--user", USER, `${url}/${name}`]);
      const there = Number(/Content-Length: (\d+)/.exec(head)?.[1]);
      expect(there).toBeGreaterThan(0);
      expect(there).toBeLessThan(bytes.length);
      if (name === "by-curl.bin") await done(["curl", "-sS", "--user", USER, "-C", "-", "-T", file, `${url}/${name}`]);
      else await done(["lftp", "-u", `ann,${PASSWORD}`, "-e", `set cmd:fail-exit yes; set ftp:ssl-allow no; cd site; put -c ${file} -o ${name}; quit`, `ftp://127.0.0.1:${port}`]);
      expect((await content(name)).equals(bytes)).toBe(true);
    }
  }, 60_000);

  test("[FTP-66] what FTP stores is on an agent's disk, and what an agent has is read through FTP", async () => {
    fleet.startAgent("web1");
    await fleet.healthy("web1");
    const [stored, made] = [randomBytes(300_000), randomBytes(300_000)];
    fleet.world.write("stored", stored);
    await done(["curl", "-sS", "--user", USER, "-T", path("stored"), `ftp://127.0.0.1:${port}/site/stored by ftp`.replaceAll(" ", "%20")]);
    const onDisk = join(fleet.root("web1"), "stored by ftp");
    await fleet.until("the file is on the agent's disk", () => statSync(onDisk, { throwIfNoEntry: false })?.size === stored.length);
    expect(readFileSync(onDisk).equals(stored)).toBe(true);
    writeFileSync(join(fleet.root("web1"), "made-there"), made);
    const get = ["curl", "-sS", "--user", USER, "-o", path("fetched"), `ftp://127.0.0.1:${port}/site/made-there`];
    // An agent that waits for no rest may send what is there in the middle of the writing, and then what came after it.
    await fleet.until("the agent's file is in the space, whole", async () => {
      return (await run(get)).code === 0 && readFileSync(path("fetched")).equals(made);
    });
  }, 60_000);
});
