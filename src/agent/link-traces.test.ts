import { describe, expect, test } from "bun:test";
import { LinkTraces } from "#agent/link-traces.ts";
import type { Span } from "#platform/span.ts";
import type { Application, ApplyOp, Endpoint, ScanSummary, TracesAsked } from "#sync/endpoint/endpoint.ts";
import type { SessionEvent, Summary } from "#sync/session/events.ts";
import { SimRandom } from "#testing/sim-random.ts";

const never = new AbortController().signal;
const TOLD = ["00-11111111111111111111111111111111-aaaaaaaaaaaaaaaa-01", "00-22222222222222222222222222222222-bbbbbbbbbbbbbbbb-01"];
const SCANNED: ScanSummary = { seq: 7, epoch: "e", problems: [], entries: 1, hashedBytes: 0, degraded: undefined };
const REQUEST = { since: 5, acknowledged: 0, extent: "dirty", deep: false } as const;
const SUMMARY: Summary = {
  type: "summary", result: "same", runId: "r1", files: 1, changes: 1, healed: 0, planned: 0, held: false, conflicts: 0, problems: 0,
  bytes: { scanned: 0, literal: 0, reused: 0, sent: 0, received: 0 }, seconds: 1,
};
const OP: ApplyOp = { type: "change", change: { side: "alpha", path: "f", old: undefined, new: { kind: "dir", mode: 0o755 }, action: "content" } };

class Lab {
  readonly spans: Span[] = [];
  readonly asked: TracesAsked[] = [];
  readonly wanted: string[] = [];
  told: readonly string[] = TOLD;
  isRecorded = true;
  /** Of the space: does it know of traces, and is it reached? */
  knows: "traces" | "nothing" | "no way" = "traces";
  fails = false;
  #ms = 1000;
  #ids = 0;
  readonly traces = new LinkTraces({
    sink: {
      isRecorded: (traceId) => this.isRecorded || this.wanted.includes(traceId),
      want: (traceId) => void this.wanted.push(traceId),
      newSpanId: () => (++this.#ids).toString(16).padStart(16, "0"),
      record: (span) => void this.spans.push(span),
    },
    clock: { nowMs: () => this.#ms++, monotonicMs: () => 0, sleep: () => Promise.resolve() },
    random: new SimRandom(1).asRandom(),
    attributes: { "syncline.link": "l1" },
  });

  side(place: "host" | "space"): Endpoint {
    const application: Application = {
      push: () => Promise.resolve(),
      commit: (onResults) => {
        if (this.fails) return Promise.reject(new Error("no commit"));
        onResults([{ path: "f", status: "done", entry: undefined }]);
        return Promise.resolve({ seqBefore: 7, seqAfter: 8 });
      },
    };
    const exchange = async (asked: TracesAsked): Promise<readonly string[]> => {
      this.asked.push(asked);
      if (this.knows === "no way") throw new Error("lost");
      return asked.until > asked.after ? this.told : [];
    };
    const inner = {
      label: place, scan: () => Promise.resolve(SCANNED), apply: () => application,
      traces: place === "space" && this.knows !== "nothing" ? { exchange } : undefined,
    };
    return this.traces.traced(inner as unknown as Endpoint, place);
  }

  phase(phase: (SessionEvent & { type: "phase" })["phase"]): void {
    this.traces.event({ type: "phase", phase });
  }

  async cycle(scans: "host" | "space", changes: readonly ("host" | "space")[], summary: Partial<Summary> = {}): Promise<void> {
    this.phase("scanning");
    await this.side(scans).scan(REQUEST, () => undefined, never);
    this.phase("planning");
    if (changes.length > 0) this.phase("transferring");
    for (const place of changes) {
      const application = this.side(place).apply("r1", never);
      await application.push([OP]);
      await application.push([OP]);
      await application.commit(() => undefined).catch(() => undefined);
    }
    this.traces.event({ type: "cycle", summary: { ...SUMMARY, ...summary } });
    this.phase("watching");
  }

  /** "name < parent's name" by trace. */
  get story(): string[] {
    const nameOf = (id: string | undefined): string => this.spans.find(({ spanId }) => spanId === id)?.name ?? String(id);
    return this.spans.map(({ traceId, name, parentId }) => `${/^[12]{32}$/.test(traceId) ? traceId[0] : "own"}: ${name} < ${nameOf(parentId)}`);
  }
}

describe("spans of a link", () => {
  test("[OBSERVE-23] an edit of the host begins a trace, which the hub is told before anything is pushed", async () => {
    const lab = new Lab();
    await lab.cycle("host", ["space"]);
    expect(lab.story).toEqual(["own: scan host < cycle", "own: plan < cycle", "own: commit < cycle", "own: cycle < undefined"]);
    const root = lab.spans.at(-1)!;
    expect(lab.asked).toEqual([{ parent: `00-${root.traceId}-${root.spanId}-01`, after: 0, until: 0 }]);
    expect(root.attributes).toEqual({ "syncline.link": "l1", "syncline.run": "r1", "syncline.changes": 1, "syncline.problems": 0 });
    for (const { beganMs, endedMs } of lab.spans) expect(endedMs).toBeGreaterThan(beganMs);
  });

  test("[OBSERVE-23] what comes from the space goes on with the traces that the hub tells, whether its own would be recorded or not", async () => {
    const lab = new Lab();
    lab.isRecorded = false;
    await lab.cycle("space", ["host"]);
    expect(lab.story).toEqual([
      "1: scan space < cycle", "1: plan < cycle", "1: apply < cycle", "1: cycle < aaaaaaaaaaaaaaaa", "2: cycle < bbbbbbbbbbbbbbbb",
    ]);
    expect(lab.wanted).toEqual(TOLD.map((one) => one.split("-")[1]!));
    expect(lab.asked).toEqual([{ parent: undefined, after: 5, until: 7 }]);
  });

  test("[OBSERVE-23] both ways in one cycle are told apart; a cycle that carries nothing, or finds nothing, is no span", async () => {
    const lab = new Lab();
    await lab.cycle("space", ["host", "space"]);
    expect(lab.story.filter((line) => line.includes("commit") || line.includes("apply"))).toEqual(["own: commit < cycle", "1: apply < cycle"]);
    lab.spans.length = 0;
    await lab.cycle("space", []);
    lab.phase("scanning");
    lab.phase("watching");
    lab.traces.event({ type: "cycle", summary: SUMMARY });
    lab.fails = true;
    await lab.cycle("host", ["space"], { result: "failed" });
    expect(lab.spans).toEqual([]);
  });

  test("[OBSERVE-23] a hub that knows of no traces, or is not reached, hinders nothing: then the trace is the host's own", async () => {
    for (const knows of ["nothing", "no way"] as const) {
      const lab = new Lab();
      lab.knows = knows;
      await lab.cycle("space", ["host"]);
      expect(lab.story).toEqual(["own: scan space < cycle", "own: plan < cycle", "own: apply < cycle", "own: cycle < undefined"]);
    }
  });

  test("[OBSERVE-23] a cycle of very many groups is told by its first ones", async () => {
    const lab = new Lab();
    await lab.cycle("host", Array.from({ length: 500 }, () => "space" as const));
    expect(lab.spans).toHaveLength(65);
  });
});
