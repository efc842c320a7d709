/** Shares and archives as people use them: made by the command, used with curl, unpacked with unzip and tar. */
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { Fleet } from "./fleet.ts";

function done(what: string, { code, out, err }: { code: number; out: string; err: string }): string {
  if (code !== 0) throw new Error(`${what} ended with ${code}:\n${out}\n${err}`);
  return out;
}

describe("shares and archives", () => {
  test("[SHARE-12] an address from the command gives curl the file, goes on where it broke off, counts, and ends", async () => {
    await using fleet = await Fleet.start();
    const { world } = fleet;
    const client = ["--hub", fleet.url, "--token-file", "token"];
    const syncline = async (...args: string[]): Promise<string> => done(args.join(" "), await world.run([...args, ...client]));
    const content = randomBytes(24 << 20);
    world.write("pictures.tar", content);
    await syncline("put", "pictures.tar", "site:out/pictures.tar");
    world.write("secret", "open sesame\n");
    const url = (await syncline("share", "create", "site:out", "--downloads", "1", "--expires", "1h", "--password-file", "secret", "--quiet")).trim();
    const curl = (...args: string[]) => world.command(["curl", "-sS", "--fail", "-u", "me:open sesame", ...args]);
    expect((await world.command(["curl", "-sS", "--fail", url])).code).not.toBe(0);
    const slow = await curl("--limit-rate", "500K", "--max-time", "2", "-o", "got.tar", `${url}/pictures.tar`);
    expect(slow.code).toBe(28);
    const first = statSync(world.path("got.tar")).size;
    expect(first).toBeGreaterThan(0);
    expect(first).toBeLessThan(content.length);
    done("curl -C -", await curl("-C", "-", "-o", "got.tar", `${url}/pictures.tar`));
    expect(readFileSync(world.path("got.tar")).equals(content)).toBe(true);
    expect((await curl("-o", "again", `${url}/pictures.tar`)).err).toContain("410");
    const listed = JSON.parse((await syncline("share", "list", "site", "--json")).split("\n")[0]!) as { id: string; downloads: number; state: string };
    expect(listed).toMatchObject({ downloads: 1, state: "used-up" });
    const inbox = (await syncline("share", "create", "site:out", "--allow", "upload", "--quiet")).trim();
    done("curl -T", await world.command(["curl", "-sS", "--fail", "-T", "pictures.tar", `${inbox}/`]));
    expect(await syncline("ls", "site:out")).toContain("out/pictures (2).tar");
    await syncline("share", "revoke", "site", listed.id);
    expect((await curl(url)).err).toContain("404");
    await syncline("cp", "site:out", "out2");
    expect(await syncline("ls", "site:out2")).toContain("out2/pictures.tar");
  }, 60_000);

  test("[ARCHIVE-8] unzip and tar unpack what a space holds, links, times and modes too", async () => {
    await using fleet = await Fleet.start();
    const { world } = fleet;
    fleet.startAgent("web1");
    const root = fleet.root("web1");
    mkdirSync(`${root}/d/${"long".repeat(40)}`, { recursive: true });
    writeFileSync(`${root}/d/${"long".repeat(40)}/\u017elu\u0165`, randomBytes(700_000));
    writeFileSync(`${root}/d/run`, "#!/bin/sh\n", { mode: 0o755 });
    writeFileSync(`${root}/d/empty`, "");
    symlinkSync("run", `${root}/d/link`);
    done("touch", await world.command(["touch", "-d", "2020-01-02 03:04:05.678901234Z", `${root}/d/run`]));
    await fleet.until("all is in the space", async () => (await fleet.listing("site")).length === 6);
    for (const format of ["zip", "tar"]) {
      const response = await fleet.fetch(`/v1/spaces/site/archive/d?format=${format}`);
      world.write(`d.${format}`, new Uint8Array(await response.arrayBuffer()));
      world.folder(format);
    }
    done("unzip -t", await world.command(["unzip", "-tq", "d.zip"]));
    done("unzip", await world.command(["unzip", "-q", "d.zip", "-d", "zip"]));
    done("tar", await world.command(["tar", "-xpf", "d.tar", "-C", "tar"]));
    const described = async (dir: string): Promise<string> =>
      done("find", await world.command(["find", ".", "!", "-type", "d", "-printf", "%y %m %T@ %l %P\\n"], { cwd: dir }));
    const sorted = (text: string): string[] => text.trim().split("\n").toSorted();
    const wanted = sorted(await described(`${root}/d`));
    const noLinkTime = (lines: string[]): string[] => lines.map((line) => line.replace(/^(l \d+) \S+/, "$1"));
    expect(noLinkTime(sorted(await described(world.path("tar/d"))))).toEqual(noLinkTime(wanted));
    const seconds = (lines: string[]): string[] => noLinkTime(lines).map((line) => line.replace(/\.\d+ /, " ")).toSorted();
    expect(seconds(sorted(await described(world.path("zip/d"))))).toEqual(seconds(wanted));
    for (const format of ["zip", "tar"]) done("diff", await world.command(["diff", "-r", `${root}/d`, world.path(format, "d")]));
  }, 90_000);
});
