import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  appendFileSync, closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readTokens, stateDirectory } from "#cli/local-files.ts";
import {
  type RunLine,
  findRun,
  lastRuns,
  readRuns,
  registerRun,
  runOfPair,
  runOptions,
} from "#cli/run-register.ts";

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "syncline-register-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const run = (runId: string, more: Partial<RunLine> = {}): RunLine => ({
  runId,
  startedMs: 1,
  alpha: "/a",
  beta: "/b",
  options: [],
  result: "same",
  changes: 1,
  conflicts: 0,
  problems: 0,
  seconds: 1,
  ...more,
});

test("[CLI-34] runs come back in order, and a torn or foreign line costs only itself", () => {
  registerRun(dir, run("aaaa1111"));
  appendFileSync(join(dir, "runs.ndjson"), '{"runId":"torn\n[]\nnull\n{"runId":7}\n');
  registerRun(dir, run("aaaa2222", { alpha: "/odd\udc80\n" }));
  expect(readRuns(dir)).toEqual([run("aaaa1111"), run("aaaa2222", { alpha: "/odd\udc80\n" })]);
  expect(statSync(join(dir, "runs.ndjson")).mode & 0o077).toBe(0);
  expect(readRuns(join(dir, "nothing"))).toEqual([]);
});

test("[CLI-144] a run is registered after lines that were cut off anywhere, also twice in a row", () => {
  const file = join(dir, "runs.ndjson");
  registerRun(dir, run("aaaa1111"));
  const whole = statSync(file).size;
  registerRun(dir, run("aaaa2222"));
  const ends = Array.from({ length: statSync(file).size - whole - 1 }, (_, at) => whole + at);
  for (const end of ends) {
    rmSync(file);
    for (const id of ["aaaa1111", "aaaa2222"]) registerRun(dir, run(id));
    truncateSync(file, end);
    registerRun(dir, run("aaaa3333"));
    truncateSync(file, statSync(file).size - 2);
    registerRun(dir, run("aaaa4444"));
    const found = readRuns(dir).filter(({ runId }) => runId !== "aaaa2222");
    expect([end, found]).toEqual([end, [run("aaaa1111"), run("aaaa4444")]]);
  }
});

test("[CLI-146] a register that is shortened is replaced as a whole, and one that cannot be is read all the same", () => {
  const file = join(dir, "runs.ndjson");
  const line = (at: number): string => JSON.stringify(run(`${at}`.padStart(8, "0")));
  const lines = Array.from({ length: 20_001 }, (_, at) => `${line(at)}\n`).join("");
  writeFileSync(file, lines, { mode: 0o600 });
  const aside = `${file}.${process.pid}.new`;
  mkdirSync(aside);
  expect(readRuns(dir)).toHaveLength(10_000);
  rmSync(aside, { recursive: true });
  // Who has it open, as who is cut off in the middle would leave it, has all of it.
  const before = openSync(file, "r");
  expect(readRuns(dir)).toHaveLength(10_000);
  expect([readFileSync(before, "utf8").length, readFileSync(file, "utf8").split("\n").length]).toEqual([lines.length, 10_001]);
  closeSync(before);
  expect(statSync(file).mode & 0o077).toBe(0);
  expect(findRun(readRuns(dir), "00020000")).toEqual(run("00020000"));
});

test("[CLI-141] the line of a run's end takes the place of that of its beginning; runs without an id stay as they are", () => {
  const interrupted = run("aaaa1111", { result: "interrupted", changes: 0 });
  for (const line of [interrupted, run(""), run("aaaa2222"), run("aaaa1111"), run("")]) registerRun(dir, line);
  expect(readRuns(dir)).toEqual([run(""), run("aaaa2222"), run("aaaa1111"), run("")]);
  expect(findRun(readRuns(dir), "aaaa1")).toEqual(run("aaaa1111"));
});

test("[CLI-35] a run is found by its id or a beginning that only it has", () => {
  const runs = [run("aaaa1111"), run("aaaa2222"), run("")];
  expect(findRun(runs, "aaaa2222")?.valueOf()).toEqual(run("aaaa2222"));
  expect(findRun(runs, "aaaa1")?.valueOf()).toEqual(run("aaaa1111"));
  expect(findRun(runs, "aaaa")).toBe("ambiguous");
  expect(findRun(runs, "")).toBeUndefined();
  expect(findRun(runs, "bbbb")).toBeUndefined();
});

test("[CLI-36] a pair keeps the options of its last run, and those given now go before them", () => {
  const runs = [
    run("1111", { options: ["--mode=one-way-safe"] }),
    run("2222", { beta: "/c" }),
    run("3333", { options: ["--mode=two-way-resolved", "--exclude=*.o"] }),
  ];
  expect(lastRuns(runs).map((one) => one.runId)).toEqual(["2222", "3333"]);
  expect(runOptions(runOfPair(runs, { alpha: "/a", beta: "/b" }), { exclude: ["x"] }).given).toEqual({
    mode: "two-way-resolved",
    exclude: ["x"],
  });
  expect(runOptions(undefined, {}).given).toEqual({});
});

test("[CLI-37] the state directory: the option, XDG_STATE_HOME, or below home; private", () => {
  expect(stateDirectory(join(dir, "given"), {})).toBe(join(dir, "given"));
  expect(stateDirectory(undefined, { XDG_STATE_HOME: dir, HOME: "/nowhere" })).toBe(join(dir, "syncline"));
  expect(stateDirectory(undefined, { XDG_STATE_HOME: "relative", HOME: dir })).toBe(
    join(dir, ".local/state/syncline"),
  );
  expect(statSync(join(dir, "syncline")).mode & 0o077).toBe(0);
  expect(() => stateDirectory("/proc/nowhere", {})).toThrow("cannot be made");
});

test("[CLI-38] a token file holds one token a line, comments aside, and never none", () => {
  const file = join(dir, "tokens");
  appendFileSync(file, "# for the office\n\n  first \nsecond\n");
  expect(readTokens("token-file", file)).toEqual(["first", "second"]);
  appendFileSync(join(dir, "empty"), "# nothing\n");
  expect(() => readTokens("token-file", join(dir, "empty"))).toThrow("holds no token");
  expect(() => readTokens("token-file", join(dir, "missing"))).toThrow("no such file");
});
