import { describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { EXIT, exitOfError, exitOfSummary } from "#cli/exit-code.ts";
import { columnsOf, formatBytes, formatCount, formatSeconds, shellWord, shortenPath, wrapLine } from "#cli/format.ts";
import { Output, describeError } from "#cli/output.ts";
import { FsError } from "#platform/file-system.ts";
import { planLines } from "#cli/plan-text.ts";
import { type ProgressState, progressLine } from "#cli/progress.ts";
import { type Screen, type Stream, makePaint } from "#cli/screen.ts";
import { SessionReport } from "#cli/session-report.ts";
import type { FileEntry } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { Conflict, Plan } from "#model/plan.ts";
import type { Summary } from "#sync/session/events.ts";

type Recorder = Stream & { text: string };

function recorder(isTty: boolean, columns = 80): Recorder {
  const stream: Recorder = {
    text: "",
    isTty,
    columns: () => columns,
    write(text) {
      stream.text += text;
    },
  };
  return stream;
}

function screen(isTty: boolean): { out: Recorder; err: Recorder; screen: Screen } {
  const out = recorder(isTty);
  const err = recorder(isTty);
  return { out, err, screen: { out, err, paint: makePaint(isTty) } };
}

const PEOPLE = { json: false, quiet: false, verbose: false };
const summary: Summary = {
  type: "summary",
  result: "same",
  runId: "abc123",
  files: 3,
  changes: 2,
  healed: 0,
  planned: 0,
  held: false,
  conflicts: 0,
  problems: 0,
  bytes: { scanned: 1, literal: 2048, reused: 0, sent: 4, received: 5 },
  seconds: 1.25,
};

const file = (size: number): FileEntry => ({
  kind: "file",
  size,
  mode: 0o644,
  mtimeNs: 1_700_000_000_123_000_000n,
  sum: undefined,
});
const counts = { creates: 0, replaces: 0, metadata: 0, removes: 0, moves: 0, bytes: 0 };

function plan(parts: Partial<Plan>): Plan {
  return {
    changes: [],
    moves: [],
    conflicts: [],
    agreements: [],
    blocked: [],
    counts: { alpha: counts, beta: counts },
    ...parts,
  };
}

const context = {
  labels: { alpha: "/a", beta: "/b" },
  mode: "two-way-safe" as const,
  watch: false,
  dryRun: false,
  approveCommand: (hash: string) => `syncline sync /a /b --approve=${hash}`,
  resolveCommand: "syncline resolve /a /b",
};

describe("figures", () => {
  test("[CLI-23] sizes, times and counts stay short", () => {
    expect([0, 999, 1000, 1024, 12_595, 1023 * 1024, 2 ** 30, 2 ** 60].map(formatBytes)).toEqual([
      "0 B",
      "999 B",
      "1.0 KiB",
      "1.0 KiB",
      "12.3 KiB",
      "1.0 MiB",
      "1.0 GiB",
      "1024 PiB",
    ]);
    expect([0.0004, 0.85, 4.21, 59.97, 185, 7620].map(formatSeconds)).toEqual([
      "0 ms",
      "850 ms",
      "4.2 s",
      "1m 00s",
      "3m 05s",
      "2h 07m",
    ]);
    expect(formatCount(1_234_567)).toBe("1,234,567");
  });

  test("[CLI-24] a word for the shell means itself there", () => {
    const word = fc
      .string({ unit: "binary", maxLength: 20 })
      .filter((text) => !text.includes("\0") && text.isWellFormed());
    const words = fc.sample(word, { numRuns: 100, seed: 7 });
    const script = `printf '%s\\0' ${words.map(shellWord).join(" ")}`;
    const printed = Bun.spawnSync(["bash", "-c", script], { env: { LC_ALL: "C.UTF-8" } }).stdout.toString();
    expect(printed.split("\0").slice(0, -1)).toEqual(words);
  });

  test("[CLI-25] a shortened path fits, and keeps its end", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "grapheme", maxLength: 60 }),
        fc.integer({ min: 2, max: 40 }),
        (path, width) => {
          expect(columnsOf(shortenPath(path, width))).toBeLessThanOrEqual(width);
        },
      ),
    );
    expect(shortenPath("some/long/path/to/name.txt", 12)).toBe("…to/name.txt");
  });
});

describe("progress", () => {
  const state: ProgressState = {
    label: "transferring",
    done: 50,
    total: 100,
    bytes: 1 << 20,
    bytesTotal: 4 << 20,
    path: "dir/file",
  };

  test("[CLI-26] the line never wraps, whatever the width", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), fc.nat(1000), fc.boolean(), (columns, done, known) => {
        const line = progressLine(
          { ...state, done, total: known ? 1000 : undefined, path: "日本/語" },
          { bytes: 1e6, items: 10 },
          columns,
          makePaint(true),
        );
        expect(columnsOf(line)).toBeLessThanOrEqual(columns);
      }),
    );
    expect(progressLine(state, { bytes: 1 << 20, items: 1 }, 100, makePaint(false))).toContain(
      " 25%  50/100  1.0 MiB/4.0 MiB  1.0 MiB/s  3.0 s left",
    );
    const narrow = progressLine(state, { bytes: 1 << 20, items: 1 }, 40, makePaint(false));
    expect([narrow.includes(" 25%"), narrow.endsWith("3.0 s left")]).toEqual([true, true]);
  });

  test("[CLI-41] lines break at spaces where the terminal ends, and a command stays whole", () => {
    fc.assert(
      fc.property(fc.array(fc.stringMatching(/^[a-z·日]{1,7}$/)), fc.integer({ min: 20, max: 60 }), (words, columns) => {
        const text = `    ${words.join(" ")}`.trimEnd();
        const pieces = wrapLine(text, columns);
        for (const piece of pieces) expect(columnsOf(piece)).toBeLessThanOrEqual(columns);
        expect(pieces.map((piece) => piece.trim()).join(" ").trim()).toBe(words.join(" "));
      }),
    );
    const command = "settle them: syncline resolve /a/long/path /another --keep alpha|beta";
    expect(wrapLine(command, 30)).toEqual(["settle them:", "  syncline resolve /a/long/path /another --keep alpha|beta"]);
    expect(wrapLine("  ok    links   hard and soft", 28)).toEqual(["  ok    links   hard and", "    soft"]);
    expect(wrapLine("ok  links  hard and soft", 22)).toEqual(["ok  links  hard and", "           soft"]);
    const bold = makePaint(true).bold("syncline resolve /a/long/path /b --keep x");
    expect(wrapLine(`settle them: ${bold}`, 30)).toEqual(["settle them:", `  ${bold}`]);
    const piped = screen(false);
    const output = new Output(piped.screen, PEOPLE, () => 0);
    output.line("word ".repeat(40));
    output.flush();
    expect(piped.out.text).toBe(`${"word ".repeat(40)}\n`);
  });

  test("[CLI-27] on a terminal it is redrawn at intervals and wiped before other output; elsewhere it is never drawn", () => {
    let nowMs = 0;
    const tty = screen(true);
    const output = new Output(tty.screen, PEOPLE, () => nowMs);
    for (let at = 0; at < 100; at++) {
      nowMs += 10;
      output.progress.update({ ...state, done: at });
    }
    const redraws = tty.out.text.split("\r").length - 1;
    expect(redraws).toBeGreaterThan(5);
    expect(redraws).toBeLessThan(20);
    output.line("other");
    expect(tty.out.text).toEndWith("\r\u001b[2Kother\n");
    for (const form of [PEOPLE, { ...PEOPLE, json: true }, { ...PEOPLE, quiet: true }]) {
      const other = screen(form.json || form.quiet);
      new Output(other.screen, form, () => 0).progress.update(state);
      expect(other.out.text).toBe("");
    }
  });
});

describe("reports", () => {
  test("[CLI-28] paths are made printable everywhere", () => {
    const evil = "a\u001b[31m\nb\u202e";
    const { out, err, screen: both } = screen(false);
    const output = new Output(both, { ...PEOPLE, verbose: true }, () => 0);
    const report = new SessionReport(output, { ...context, labels: { alpha: evil, beta: evil } });
    report.begin();
    report.onEvent({ type: "change", side: "beta", path: evil, action: "create", from: evil, bytes: 12_595 });
    report.onEvent({
      type: "problem",
      problem: { path: evil, side: "beta", code: "EIO", message: "failed", transient: false },
    });
    report.onEvent({
      type: "conflict",
      conflict: {
        path: evil,
        reason: "both-changed",
        ancestor: undefined,
        alpha: file(1),
        beta: { kind: "symlink", target: evil },
      },
    });
    report.end(summary);
    expect(out.text + err.text).not.toMatch(/\u001b|\u202e/);
    expect(out.text).toContain(
      "→ beta   create    a\\x1b[31m\\nb\\u202e  (from a\\x1b[31m\\nb\\u202e)  (12.3 KiB)\n",
    );
  });

  test("[CLI-29] a plan names side, action, count, size and the first paths; conflicts show both sides", () => {
    const changes = Array.from({ length: 20 }, (_, at) => ({
      side: "beta" as const,
      path: `f${at}`,
      old: undefined,
      new: file(1024),
      action: "content" as const,
    }));
    const removed = {
      side: "alpha" as const,
      path: "gone",
      old: file(5),
      new: undefined,
      action: "remove" as const,
    };
    const text = planLines(
      plan({
        changes: [...changes, removed],
        moves: [{ side: "beta", from: "x", to: "y", count: 3 }],
        conflicts: [
          { path: "c", reason: "both-changed", ancestor: undefined, alpha: file(1), beta: undefined },
        ],
      }),
      context.labels,
      makePaint(false),
    ).join("\n");
    expect(text).toContain("  create 20 entries, 20.0 KiB\n    f0  (1.0 KiB)");
    expect(text).toContain("    … and 12 more");
    expect(text).toContain("on alpha  /a\n  remove 1 entry, 5 B\n    gone  (5 B)");
    expect(text).toContain("    x → y  (3 entries)");
    expect(text).toContain(
      "      alpha: file, 1 B, changed 2023-11-14 22:13:20.123 UTC\n      beta:  absent",
    );
    expect(planLines(plan({}), context.labels, makePaint(false))).toEqual([
      "Both sides are the same: nothing to do.",
    ]);
  });

  test("[CLI-30] a hold ends with the command that approves exactly this plan", () => {
    const { out, screen: both } = screen(false);
    const output = new Output(both, PEOPLE, () => 0);
    const report = new SessionReport(output, context);
    report.onEvent({
      type: "hold",
      hash: "f00ba4",
      reason: "9 of 9 entries of beta would be removed",
      plan: plan({ changes: [{ side: "beta", path: "p", old: file(2), new: undefined, action: "remove" }] }),
    });
    output.flush();
    expect(out.text).toEndWith("  syncline sync /a /b --approve=f00ba4\n");
    report.end({ ...summary, result: "held", changes: 0, planned: 1, held: true });
    output.flush();
    expect(out.text).toContain("held: 3 files the same · 1 change planned · ");
  });

  test("[CLI-42] while watching, what has not changed since the last cycle is not said again", () => {
    const { out, err, screen: both } = screen(false);
    const output = new Output(both, PEOPLE, () => 0);
    const report = new SessionReport(output, { ...context, watch: true });
    const conflict: Conflict = { path: "f", reason: "both-changed", ancestor: undefined, alpha: file(1), beta: file(2) };
    const problem = { path: "p", side: "alpha", code: "EACCES", message: "no", transient: false } as const;
    const cycle = (more: Partial<Summary>): void => {
      if (more.problems !== undefined) report.onEvent({ type: "problem", problem });
      if (more.result === "conflicts") report.onEvent({ type: "conflict", conflict });
      report.onEvent({ type: "cycle", summary: { ...summary, changes: 0, ...more } });
    };
    for (let at = 0; at < 3; at++) cycle({});
    for (let at = 0; at < 3; at++) cycle({ result: "conflicts", conflicts: 1 });
    cycle({ result: "conflicts", conflicts: 1, changes: 2 });
    cycle({});
    for (let at = 0; at < 3; at++) cycle({ result: "problems", problems: 1 });
    output.flush();
    const said = out.text.split("\n").map((line) => line.split(/[: ]/)[0]);
    expect(said.filter((word) => word !== "")).toEqual(["same", "1", "settle", "conflicts", "conflicts", "same", "incomplete"]);
    expect(err.text).toBe("failed  alpha: p: no (EACCES)\n");
  });

  test("[CLI-31] NDJSON: nothing but JSON on standard output, and the summary has the promised fields in order", () => {
    const { out, err, screen: both } = screen(false);
    const output = new Output(both, { ...PEOPLE, json: true }, () => 0);
    const report = new SessionReport(output, context);
    report.begin();
    report.onEvent({ type: "phase", phase: "scanning" });
    report.onEvent({
      type: "conflict",
      conflict: {
        path: "c\udc80",
        reason: "kind",
        ancestor: undefined,
        alpha: file(1),
        beta: { kind: "dir", mode: 0o755 },
      },
    });
    report.onEvent({
      type: "hold",
      hash: "1",
      reason: "r",
      plan: plan({ changes: [{ side: "beta", path: "p", old: file(2), new: file(3), action: "content" }] }),
    });
    report.end(summary);
    output.flush();
    const lines = out.text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { type: string });
    expect(lines.map(({ type }) => type)).toEqual(["phase", "conflict", "hold", "run", "summary"]);
    expect(out.text.trimEnd().split("\n").at(-1)).toBe(
      '{"type":"summary","result":"same","files":3,"changes":2,"healed":0,"conflicts":0,"problems":0,' +
        '"bytes":{"scanned":1,"literal":2048,"reused":0,"sent":4,"received":5},"seconds":1.25}',
    );
    expect(err.text).toBe("");
  });

  test("[CLI-32] an error is a message and a hint, and a stack only when asked for", () => {
    const { err, screen: both } = screen(false);
    const output = new Output(both, { ...PEOPLE, quiet: true }, () => 0);
    output.error(
      new SynclineError({
        code: "ROOT_MISSING",
        op: "open",
        message: "no such root",
        path: "/x\n",
        hint: "mkdir it",
      }),
      false,
    );
    expect(err.text).toBe("error: no such root (/x\\n)\nhint: mkdir it\n");
    output.error(new Error("boom"), false);
    expect(err.text).toContain("error: internal error: boom\n");
    expect(err.text).not.toContain("    at ");
    output.error(new Error("boom"), true);
    expect(err.text).toContain("    at ");
  });

  test("[CLI-123] what the operating system refuses is no fault of the program, and comes with what to do", () => {
    const told = (call: () => unknown) => {
      try {
        call();
      } catch (error) {
        return describeError(error);
      }
      throw new Error("it was done");
    };
    expect(told(() => mkdirSync("/proc/none"))).toEqual({
      code: "DISK",
      message: "cannot mkdir /proc/none: no such file or directory (ENOENT)",
      path: undefined,
      hint: "check that the directory above it exists",
    });
    expect(told(() => readFileSync("/")).hint).toBe("name a file");
    expect(describeError(new FsError("ENOSPC", "write")).hint).toContain("df -h");
    // What no file system says stays a fault.
    expect(describeError(Object.assign(new Error("x"), { code: "ERR_ASSERTION", syscall: "y" })).code).toBe("INTERNAL");
  });

  test("[CLI-33] exit codes", () => {
    const of = (result: Summary["result"], more: Partial<Summary> = {}) =>
      exitOfSummary({ ...summary, ...more, result });
    expect([
      of("same"),
      of("problems"),
      of("conflicts"),
      of("held"),
      of("interrupted"),
      of("dry-run"),
    ]).toEqual([0, 1, 2, 2, 130, 0]);
    expect(of("dry-run", { conflicts: 1 })).toBe(EXIT.decision);
    expect(of("dry-run", { held: true })).toBe(EXIT.decision);
    expect(of("failed")).toBe(EXIT.failed);
    const error = (code: "USAGE" | "INTERRUPTED" | "HALT") =>
      exitOfError(new SynclineError({ code, op: "", message: "" }));
    expect([error("USAGE"), error("INTERRUPTED"), error("HALT"), exitOfError(new Error("x"))]).toEqual([
      3, 130, 2, 3,
    ]);
  });
});
