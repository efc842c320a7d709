/** The real program: conflicts between two hosts, kept as copies or left open, looked at and settled from the command line. */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Fleet } from "./fleet.ts";
import { PROGRAM } from "./harness.ts";

const TEST_MS_MAX = 120_000;
const text = (path: string): string | undefined => (existsSync(path) ? readFileSync(path, "utf8") : undefined);

test("[CONFLICT-8] conflicts of both kinds are listed and settled from the command line, taken back, and end the same everywhere", async () => {
  await using fleet = await Fleet.start();
  const space = (...words: string[]) =>
    fleet.world.command([PROGRAM, "space", ...words, "--hub", fleet.url, "--token-file", "token"]);
  const root = (name: string, file = ""): string => join(fleet.root(name), file);
  const copies = (name: string): string[] => readdirSync(root(name)).filter((file) => file.includes(".conflict-"));

  // Both hosts write one file while one of them is away: the loser lies beside the winner.
  fleet.startAgent("web1");
  fleet.startAgent("web2");
  await fleet.healthy("web1", "web2");
  await fleet.kill("web2");
  writeFileSync(root("web1", "page.html"), "of web1");
  writeFileSync(root("web2", "page.html"), "of web2");
  await fleet.until("the space has web1's", async () => (await fleet.fetch("/v1/spaces/site/entries/page.html")).ok);
  fleet.startAgain("web2");
  await fleet.until("both have both", () => copies("web1").length === 1 && copies("web2").length === 1);
  await fleet.healthy("web1", "web2");
  const [copy] = copies("web1") as [string];
  const winner = text(root("web1", "page.html"))!;
  const loser = text(root("web1", copy))!;
  expect([winner, loser].toSorted()).toEqual(["of web1", "of web2"]);

  const listed = await space("conflicts", "site");
  expect([listed.code, listed.out]).toEqual([2, expect.stringContaining(`page.html  now 7 B`)]);
  expect(listed.out).toContain(copy);
  expect(listed.out).toContain(`agent:${loser.slice(3)}`);
  expect(listed.out).toContain("syncline space resolve site:PATH --keep current|copy|both");

  const resolved = await space("resolve", "site:page.html", "--keep", "copy", "--message", "the other one is right");
  expect([resolved.code, resolved.out]).toEqual([0, expect.stringContaining("page.html holds what the copy had")]);
  const run = /syncline space undo site ([0-9a-f]{12})/.exec(resolved.out)![1]!;
  for (const name of ["web1", "web2"]) {
    await fleet.until(`${name} has it`, () => text(root(name, "page.html")) === loser && copies(name).length === 0);
  }
  expect((await space("conflicts", "site")).code).toBe(0);
  expect((await space("undo", "site", run)).code).toBe(0);
  for (const name of ["web1", "web2"]) {
    await fleet.until(`${name} is as before`, () => text(root(name, "page.html")) === winner && text(root(name, copy)) === loser);
  }
  expect((await space("resolve", `site:${copy}`, "--keep", "both", "--as", "page-old.html")).code).toBe(0);
  await fleet.until("the copy has a name of its own", () => text(root("web2", "page-old.html")) === loser);

  // A third host leaves conflicts open: the hub asks it, and it carries out what was decided.
  mkdirSync(root("web3"), { recursive: true });
  writeFileSync(root("web3", "page.html"), "of web3");
  fleet.startAgentWith("web3", ["--link", `${root("web3")}=site,settle=immediate,conflict=leave`]);
  await fleet.until("it is in conflict", async () => (await space("conflicts", "site")).out.includes("left open by link"));
  const open = await space("conflicts", "site");
  expect([open.code, open.out]).toEqual([2, expect.stringMatching(/page\.html {2}left open by link [0-9a-f]{8}, both-changed/)]);
  const told = await space("resolve", "site:page.html", "--keep", "copy");
  expect([told.code, told.out]).toEqual([0, expect.stringContaining("told web3")]);
  await fleet.until("all have web3's", () => ["web1", "web2", "web3"].every((name) => text(root(name, "page.html")) === "of web3"));
  await fleet.healthy("web1", "web2", "web3");
  expect((await space("conflicts", "site")).out).toContain("No conflicts.");
  await fleet.expectSame("site", "web1", "web2", "web3");
  // Somebody who is wrong about it is told so.
  expect(await space("resolve", "site:page.html", "--keep", "copy")).toMatchObject({ code: 3, err: expect.stringContaining("is not in conflict") });
  for (const name of ["hub", "web1", "web2", "web3"]) expect(fleet.said(name)).not.toMatch(/"code":"(INTERNAL|PROTOCOL|STATE)"|\bat .*\.ts:\d+/);
}, TEST_MS_MAX);
