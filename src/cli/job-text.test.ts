import { describe, expect, test } from "bun:test";
import type { ExplanationJson, JobJson, ScheduleJson } from "#gateway/api/job-shapes.ts";
import { SynclineError } from "#model/error.ts";
import { explanationLines, jobLines, jobTable, progressText, scheduleTable } from "#cli/job-text.ts";
import { readJobArgs } from "#cli/job-words.ts";

const NOW = Date.parse("2026-11-20T12:00:00Z");
const same = (text: string): string => text;
const paint = new Proxy({} as never, { get: () => same });
const ago = (seconds: number): string => new Date(NOW - seconds * 1000).toISOString();

function job(more: Partial<JobJson>): JobJson {
  return {
    id: 41, kind: "restore", args: { space: "site", path: "", to: "@friday" }, state: "queued", priority: "high",
    submittedBy: "user:ann", traceId: "ab", submitted: ago(90), tries: 0, triesMax: 3, preempted: 0, cancelAsked: false,
    ...more,
  };
}

describe("jobs for people", () => {
  test("[CLI-80] a list says of each job what it is about, since when, and how far or how it ended", () => {
    const progress = { done: 12_000, total: 50_000, unit: "paths", phase: "restoring" };
    const error = { code: "HALT", message: "too much at once" };
    const lines = jobTable(
      [
        job({}),
        job({ id: 7, state: "running", started: ago(60), progress }),
        job({ id: 6, state: "waiting", notBefore: ago(-30), error, tries: 1 }),
        job({ id: 5, state: "done", ended: ago(3600), result: { checkedBytes: 1 << 20, damagedChunks: 0 } }),
      ],
      NOW,
      paint,
    );
    expect(lines.map((line) => line.replaceAll(/ +/g, " ").trim())).toEqual([
      "#41 queued restore space=site to=@friday waits 2 min",
      `#7 running restore space=site to=@friday for 1 min ${progressText(progress)}`,
      "#6 waiting restore space=site to=@friday again in 30 s too much at once",
      "#5 done restore space=site to=@friday 1 h ago checked 1.0 MiB, damaged chunks 0",
    ].map((line) => line.replaceAll(/ +/g, " ")));
    expect(progressText(progress)).toBe("restoring  12,000 of 50,000 paths (24 %)");
    expect(progressText({ done: 1 << 20, total: 4 << 20, unit: "bytes" })).toBe("1.0 MiB of 4.0 MiB (25 %)");
  });

  test("[CLI-80] one job is shown with what it left alone; what others wrote cannot steer the terminal", () => {
    const result = { left: [{ path: "a", why: "it was changed after the job began" }], leftAlone: 1 };
    const text = jobLines(job({ state: "failed", error: { code: "X", message: "\u001b[2Jgone" }, result }), NOW, paint).join("\n");
    expect(text).toContain("  a: it was changed after the job began");
    expect(text).not.toContain("\u001b");
  });

  test("[CLI-80] an explanation says why, what goes before, and for how long others can", () => {
    const explained: ExplanationJson = {
      job: job({}), reason: "the hub runs 4 jobs at once: jobs 1, 2, 3, 4", base: 20, effective: 21, ahead: 12,
      aheadJobs: [31, 32], waitedSeconds: 90, agingStepSeconds: 60, starvationBoundSeconds: 600,
      breaker: { dependency: "host:web1", state: "open", failures: 3, until: ago(-15) },
    };
    expect(explanationLines(explained, NOW, paint)).toEqual([
      "#41 restore, queued: the hub runs 4 jobs at once: jobs 1, 2, 3, 4",
      "  priority high (20), 21 with its age; it rises by one every 1 min",
      "  jobs that come later can go before it for 9 min more, of 10 min",
      "  12 jobs before it: #31 #32 …",
      "  breaker of host:web1: open after 3 failures, tried again in 15 s",
    ]);
  });

  test("[CLI-80] schedules are listed with their next time and what became of the last", () => {
    const schedule: ScheduleJson = {
      name: "nightly", origin: "user", submittedBy: "user:ann", kind: "backup", args: {}, cron: "30 2 * * *",
      zone: "Europe/Berlin", priority: "bulk", misfire: "run-once", catchUp: 1, overlap: "forbid", enabled: true,
      spreadSeconds: 0, next: ago(-7200), lastOutcome: "job 12",
    };
    const lines = scheduleTable([schedule, { ...schedule, name: "off", enabled: false }], NOW, paint);
    expect(lines[0]).toBe("nightly  backup  30 2 * * * Europe/Berlin  next in 2 h  last: job 12");
    expect(lines[1]).toContain("disabled");
  });
});

describe("arguments of jobs", () => {
  test("[CLI-81] are read as the kind takes them", () => {
    for (const [kind, words, args] of [
      ["scrub", ["bytes=1GiB", "fromStart=true"], { bytes: 1 << 30, fromStart: true }],
      ["prune", ["share=80%"], { share: 0.8 }],
      ["prune", ["share=1"], { share: 1 }],
      ["restore", ["space=site", "to=41", "path=a=b", "message=true"], { space: "site", to: "41", path: "a=b", message: "true" }],
      ["expire", [], {}],
    ] as const) {
      expect(readJobArgs(kind, words)).toEqual(args);
    }
    for (const [kind, ...words] of [["nothing"], ["scrub", "bites=1"], ["scrub", "bytes"], ["prune", "share=120%"], ["expire", "x=1"], ["backup"], ["rescan", "host=a"]]) {
      const read = (): unknown => readJobArgs(kind!, words);
      expect(read).toThrow(SynclineError);
    }
    expect(() => readJobArgs("restore", ["path=a"])).toThrow("a job restore needs space=… to=…");
  });
});
