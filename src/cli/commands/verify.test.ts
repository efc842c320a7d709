import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { verifyCommand } from "#cli/commands/verify.ts";
import { EXIT } from "#cli/exit-code.ts";
import { Output } from "#cli/output.ts";
import { parse } from "#cli/parse.ts";
import { makePaint } from "#cli/screen.ts";

const FILES = 1000;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "syncline-verify-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

const at = (name: string): string => join(dir, name);

/** @param onWrite sees what is written to a terminal, the line that tells how far it is with it */
function verify(words: readonly string[], signal: AbortSignal, onWrite = (_text: string): void => undefined): Promise<number> {
  let nowMs = 0;
  const out = { write: onWrite, isTty: true, columns: () => 80 };
  const form = { json: false, quiet: false, verbose: false };
  // Time passes, so that each state is drawn.
  const output = new Output({ out, err: { ...out, write: () => undefined }, paint: makePaint(false) }, form, () => (nowMs += 1000));
  const parsed = parse(["verify", ...words], {});
  return verifyCommand({ parsed, output, environment: {}, signal, onHangup: () => undefined, stateDir: () => at("state") });
}

test("[CLI-147] a repair that is interrupted is not told as done", async () => {
  for (const name of ["here", "there"]) mkdirSync(at(name));
  for (let file = 0; file < FILES; file++) writeFileSync(at(`here/f${file}`), `content ${file}`);
  const end = new AbortController();
  let said = "";
  let isToldAll = false;
  const onWrite = (text: string): void => {
    said += text;
    // Once what differs is told, all else is the repair.
    if (text.includes("missing")) setImmediate(() => (isToldAll = true));
    else if (isToldAll) end.abort(new Error("interrupted"));
  };
  const code = await verify([at("here"), at("there"), "--repair"], end.signal, onWrite);
  expect(readdirSync(at("there")).filter((name) => name !== ".syncline").length).toBeLessThan(FILES);
  expect([code, said.includes("repaired:")]).toEqual([EXIT.interrupted, false]);
}, 30_000);

test("[CLI-149] a manifest is written also where one that was killed has left what it had", async () => {
  mkdirSync(at("here"));
  writeFileSync(at("here/f"), "content");
  writeFileSync(at(`sums.${process.pid}.new`), "half");
  const { signal } = new AbortController();
  expect(await verify(["--manifest", at("sums"), "--write", at("here")], signal)).toBe(EXIT.same);
  expect(readFileSync(at("sums"), "utf8")).toEndWith("  f\n");
  expect(readdirSync(dir).toSorted()).toEqual(["here", "sums"]);
});
