/** The command itself: from a checkout or standalone, its exit codes, its output, its completions. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { PROGRAM, World, eventually, summaryOf } from "./harness.ts";

describe("the command", () => {
  test("[CLI-1] exit codes: 0 same, 2 conflicts and holds, 3 could not start", async () => {
    await using world = new World();
    world.write("a/x", "one");
    expect((await world.run(["sync", "a", "b"])).code).toBe(0);
    world.write("a/x", "left");
    world.write("b/x", "right");
    expect((await world.run(["sync", "a", "b"])).code).toBe(2);
    const missing = await world.run(["sync", "nowhere", "b"]);
    expect(missing.code).toBe(3);
    expect(missing.err).toStartWith("error: ");
    expect(missing.err).not.toContain("    at ");
    expect((await world.run(["sync", "a"])).code).toBe(3);
    expect((await world.run(["sync", "a", "b", "--no-such"])).code).toBe(3);
  });

  test("[CLI-2] --json: every line is JSON and the last is the summary with exactly its fields", async () => {
    await using world = new World();
    for (let at = 0; at < 20; at++) world.write(`a/dir/${at}`, `content ${at}`);
    const done = await world.run(["sync", "a", "b", "--json"]);
    const lines = done.out
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const last = lines.at(-1)!;
    expect(Object.keys(last)).toEqual([
      "type",
      "result",
      "files",
      "changes",
      "healed",
      "conflicts",
      "problems",
      "bytes",
      "seconds",
    ]);
    expect(Object.keys(last["bytes"] as object)).toEqual([
      "scanned",
      "literal",
      "reused",
      "sent",
      "received",
    ]);
    expect(last).toMatchObject({
      type: "summary",
      result: "same",
      files: 20,
      changes: 21,
      conflicts: 0,
      problems: 0,
    });
    expect(lines.filter((line) => line["type"] === "change")).toEqual([]);
    const verbose = await world.run(["sync", "a", "c", "--json", "--verbose"]);
    expect(verbose.out.match(/^{"type":"change"/gm)).toHaveLength(21);
    expect(done.err).toBe("");
  });

  test("[CLI-2] --json: the summary is the last line of a run that fails, and of one that is held", async () => {
    await using world = new World();
    const failed = await world.run(["sync", "nowhere", "b", "--json"]);
    expect([failed.code, summaryOf(failed)]).toEqual([3, expect.objectContaining({ type: "summary", result: "failed", changes: 0 })]);
    for (const name of ["x", "y"]) world.write(`a/${name}`, name);
    await world.run(["sync", "a", "b"]);
    for (const name of ["x", "y"]) rmSync(world.path(`a/${name}`));
    for (const more of [[], ["--dry-run"]]) {
      const held = await world.run(["sync", "a", "b", "--json", ...more]);
      const result = more.length === 0 ? "held" : "dry-run";
      expect([held.code, summaryOf(held)]).toEqual([2, expect.objectContaining({ result, files: 0, changes: 2 })]);
    }
  });

  test("[CLI-3] a plan that empties a side is held, and --approve runs exactly that plan", async () => {
    await using world = new World();
    for (let at = 0; at < 30; at++) world.write(`a/${at}`, "x");
    await world.run(["sync", "a", "b"]);
    for (let at = 0; at < 30; at++) rmSync(world.path("a", String(at)));
    const held = await world.run(["sync", "a", "b"]);
    expect(held.code).toBe(2);
    const approve = /--approve=([0-9a-f]+)/.exec(held.out)?.[1] ?? "";
    expect(approve).not.toBe("");
    expect(existsSync(world.path("b", "7"))).toBe(true);
    expect((await world.run(["sync", "a", "b", "--approve=000000000000"])).code).toBe(2);
    expect(existsSync(world.path("b", "7"))).toBe(true);
    expect((await world.run(["sync", "a", "b", `--approve=${approve}`])).code).toBe(0);
    expect(existsSync(world.path("b", "7"))).toBe(false);
  });

  test("[CLI-4] --dry-run says what would be done and changes nothing", async () => {
    await using world = new World();
    world.write("a/new file", "12345");
    world.folder("b");
    const dry = await world.run(["sync", "a", "b", "--dry-run"]);
    expect(dry.code).toBe(0);
    expect(dry.out).toContain("new file  (5 B)");
    expect(existsSync(world.path("b/new file"))).toBe(false);
  });

  test("[CLI-5] --watch carries changes both ways until SIGTERM, then exits 130 in order", async () => {
    await using world = new World();
    world.write("a/x", "1");
    const child = world.start([PROGRAM, "sync", "a", "b", "--watch", "--settle", "immediate", "--json"]);
    await child.line((line) => line.includes('"watching"'), 20_000);
    writeFileSync(world.path("a/x"), "2");
    await eventually("the change on beta", () => readFileSync(world.path("b/x"), "utf8") === "2");
    writeFileSync(world.path("b/y"), "3");
    await eventually(
      "the change on alpha",
      () => existsSync(world.path("a/y")) && readFileSync(world.path("a/y"), "utf8") === "3",
    );
    child.kill("SIGTERM");
    expect(await child.exited).toBe(130);
    await eventually("the summary", () =>
      child.output().trimEnd().split("\n").at(-1)?.includes('"type":"summary"'),
    );
  });

  test("[CLI-6] log, undo, conflicts and resolve work on what was run", async () => {
    await using world = new World();
    world.write("a/keep", "old");
    await world.run(["sync", "a", "b"]);
    world.write("a/keep", "new");
    await world.run(["sync", "a", "b"]);
    const [run] = (await world.run(["log", "--json"])).out
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as { runId: string });
    const shown = await world.run(["log", run!.runId]);
    expect(shown.out).toContain("keep");
    expect((await world.run(["undo", run!.runId])).code).toBe(0);
    expect(readFileSync(world.path("b/keep"), "utf8")).toBe("old");
    world.write("a/keep", "left");
    world.write("b/keep", "right");
    await world.run(["sync", "a", "b"]);
    world.write("other/f", "1");
    await world.run(["sync", "other", "gone"]);
    world.write("other/f", "left");
    world.write("gone/f", "right");
    await world.run(["sync", "other", "gone"]);
    rmSync(world.path("gone"), { recursive: true });
    const beside = await world.run(["conflicts"]);
    expect([beside.code, beside.out, beside.err]).toEqual([
      3,
      expect.stringContaining("keep: both sides changed it"),
      expect.stringContaining(`syncline forget ${world.path("other")} ${world.path("gone")}`),
    ]);
    await world.run(["forget", "other", "gone"]);
    await world.run(["sync", "other", "gone"]);
    const conflicts = await world.run(["conflicts"]);
    expect(conflicts.code).toBe(2);
    expect(conflicts.out).toContain("keep: both sides changed it");
    expect((await world.run(["resolve", "a", "b", "keep", "--keep", "beta"])).code).toBe(0);
    expect(readFileSync(world.path("a/keep"), "utf8")).toBe("right");
    expect((await world.run(["conflicts"])).code).toBe(0);
    // What was not named is never settled along.
    for (const name of ["keep", "other"]) {
      world.write(`a/${name}`, "left again");
      world.write(`b/${name}`, "right again, longer");
    }
    expect((await world.run(["sync", "a", "b"])).code).toBe(2);
    await world.run(["resolve", "a", "b", "keep", "--keep", "alpha"]);
    expect(readFileSync(world.path("a/other"), "utf8")).toBe("left again");
    expect(readFileSync(world.path("b/other"), "utf8")).toBe("right again, longer");
  });

  test("[CLI-7] verify finds what differs by content, and --repair puts it right", async () => {
    await using world = new World();
    world.write("a/same", "same");
    world.write("a/rotten", "good");
    await world.run(["sync", "a", "b"]);
    // The same size and time, so that only the content can tell.
    const rot = await world.command([
      "bash",
      "-c",
      "touch -r b/rotten t && printf evil > b/rotten && touch -r t b/rotten && rm t",
    ]);
    expect(rot.code).toBe(0);
    const found = await world.run(["verify", "a", "b"]);
    expect(found.code).toBe(1);
    expect(found.out).toContain("rotten");
    expect(found.out).not.toContain("same  ");
    expect((await world.run(["verify", "a", "b", "--repair"])).code).toBe(0);
    expect(readFileSync(world.path("b/rotten"), "utf8")).toBe("good");
    expect((await world.run(["verify", "a", "b"])).code).toBe(0);
  });

  test("[CLI-8] the demonstration proves a round trip", async () => {
    await using world = new World();
    const demo = await world.run(["demo", "--once"]);
    expect(demo.err).toBe("");
    expect(demo.code).toBe(0);
    expect(demo.out).toContain("sent-by-right.txt arrived");
  });

  test("[CLI-9] bash completes commands, options and values from the sourced script", async () => {
    await using world = new World();
    const script = (await world.run(["completion", "bash"])).out;
    world.write("completion.bash", script);
    const complete = async (...words: string[]): Promise<string[]> => {
      const quoted = words.map((word) => `'${word}'`).join(" ");
      const done = await world.command([
        "bash",
        "--norc",
        "-c",
        `source completion.bash
        COMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}; _syncline; printf '%s\\n' "\${COMPREPLY[@]}"`,
      ]);
      expect(done.err).toBe("");
      return done.out.split("\n").filter((word) => word !== "");
    };
    expect(await complete("syncline", "sy")).toEqual(["sync"]);
    expect(await complete("syncline", "sync", "a", "b", "--max")).toEqual(["--max-delete"]);
    expect(await complete("syncline", "sync", "--mode", "one-way-r")).toEqual(["one-way-replica"]);
    expect(await complete("syncline", "sync", "--mode", "=", "one-way-r")).toEqual(["one-way-replica"]);
    expect(await complete("syncline", "completion", "f")).toEqual(["fish"]);
    expect(await complete("syncline", "sync", "./")).toEqual([]);
  });

  test("[CLI-9] fish completes the same, and zsh takes its script", async () => {
    await using world = new World();
    for (const shell of ["fish", "zsh"]) world.write(`completion.${shell}`, (await world.run(["completion", shell])).out);
    const complete = async (line: string): Promise<string[]> => {
      const done = await world.command(["fish", "--no-config", "-c", `source completion.fish; complete -C '${line}'`]);
      expect(done.err).toBe("");
      return done.out.split("\n").map((row) => row.split("\t")[0]!).filter((word) => word !== "");
    };
    expect(await complete("syncline sy")).toEqual(["sync"]);
    expect(await complete("syncline sync a b --max")).toEqual(["--max-delete"]);
    expect(await complete("syncline sync --mode one-way-r")).toEqual(["one-way-replica"]);
    expect(await complete("syncline restore-point cr")).toEqual(["create"]);
    const zsh = "autoload -Uz compinit; compinit -u -D; source completion.zsh; print $_comps[syncline]";
    const taken = await world.command(["zsh", "-f", "-c", zsh]);
    expect([taken.code, taken.out, taken.err]).toEqual([0, "_syncline\n", ""]);
  });

  test("[CLI-129] output that a full disk does not take is an error, and a reader that has enough is none", async () => {
    await using world = new World();
    const through = (words: string) => world.command(["bash", "-c", `set -o pipefail; "${PROGRAM}" ${words}`]);
    const full = await through("completion bash > /dev/full");
    expect([full.code, full.err.split("\n")[0]]).toEqual([
      3,
      "error: standard output: no space left on device (ENOSPC); not all of it is written",
    ]);
    const enough = await through("completion zsh | head -1");
    expect([enough.code, enough.out, enough.err]).toEqual([0, "#compdef syncline\n", ""]);
    // What only tells about the work does not stop it.
    world.write("a/x", "1");
    expect((await through("sync a b --verbose > /dev/full")).code).toBe(3);
    expect(readFileSync(world.path("b/x"), "utf8")).toBe("1");
  });

  test("[CLI-10] sizes, limits and words from the environment count, and the line wins", async () => {
    await using world = new World();
    world.write("a/keep.txt", "1");
    world.write("a/skip.log", "2");
    const done = await world.run(["sync", "a", "b", "--json"], { SYNCLINE_EXCLUDE: "*.log" });
    expect(summaryOf(done).files).toBe(1);
    const bad = await world.run(["sync", "a", "b"], { SYNCLINE_MODE: "sideways" });
    expect(bad.code).toBe(3);
    expect(bad.err).toContain("SYNCLINE_MODE");
    expect(
      (await world.run(["sync", "a", "c", "--mode", "one-way-safe"], { SYNCLINE_MODE: "two-way-safe" })).code,
    ).toBe(0);
  });
});
