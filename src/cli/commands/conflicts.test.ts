import { expect, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { conflictsCommand } from "#cli/commands/conflicts.ts";
import { EXIT } from "#cli/exit-code.ts";
import { Output } from "#cli/output.ts";
import { parse } from "#cli/parse.ts";
import { makePaint } from "#cli/screen.ts";

const NOBODY = 65534;

test("[CLI-148] that there are no conflicts is said only where all could be looked at", async () => {
  const dir = mkdtempSync(join(tmpdir(), "syncline-conflicts-"));
  const shut = join(dir, "here", "shut");
  let said = "";
  const out = { write: (text: string) => void (said += text), isTty: false, columns: () => 80 };
  const look = async (): Promise<number> => {
    said = "";
    const output = new Output({ out, err: out, paint: makePaint(false) }, { json: false, quiet: false, verbose: false }, () => 0);
    const parsed = parse(["conflicts", join(dir, "here"), join(dir, "there")], {});
    const { signal } = new AbortController();
    const code = await conflictsCommand({ parsed, output, environment: {}, signal, onHangup: () => undefined, stateDir: () => join(dir, "state") });
    output.flush();
    return code;
  };
  // Root may read everything.
  const isRoot = process.geteuid!() === 0;
  try {
    for (const path of ["here", "there", "here/shut", "state"]) mkdirSync(join(dir, path), { mode: 0o777 });
    writeFileSync(join(shut, "f"), "content");
    if (isRoot) {
      for (const path of ["", "here", "there", "here/shut", "state"]) chownSync(join(dir, path), NOBODY, NOBODY);
      process.seteuid!(NOBODY);
    }
    chmodSync(shut, 0);
    expect(await look()).toBe(EXIT.problems);
    expect(said).not.toContain("No conflicts.");
    chmodSync(shut, 0o755);
    expect(await look()).toBe(EXIT.same);
    expect(said).toContain("No conflicts.");
  } finally {
    if (isRoot) process.seteuid!(0);
    rmSync(dir, { recursive: true });
  }
});
