/** Whose turn it is, and when one that failed is tried again. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { AGING_STEP_MS, byTurn, effectivePriority, starvationBoundMs } from "#jobs/aging.ts";
import { BACKOFF_LONGEST_MS, backoffMs, isDue } from "#jobs/backoff.ts";
import {
  BREAKER_FAILURES,
  type Breaker,
  CLOSED,
  OPEN_FIRST_MS,
  OPEN_LONGEST_MS,
  abandoned,
  begun,
  failed,
  mayTry,
} from "#jobs/breaker.ts";
import { type Candidate, type Circumstances, type Occupant, blockOf, choose, preemption } from "#jobs/choose.ts";
import { PRIORITIES, PRIORITY_NAMES, type Priority } from "#jobs/job.ts";

const T0 = 1_800_000_000_000;
const MINUTE = 60_000;

function job(id: number, priority: Priority, sinceMs: number, more: Partial<Candidate> = {}): Candidate {
  return { id, kind: "k", priority, sinceMs, deadlineMs: undefined, notBeforeMs: undefined, ...more };
}

function at(nowMs: number, more: Partial<Circumstances> = {}): Circumstances {
  const limitsOf = () => ({ all: 100 });
  return { nowMs, owner: "me", slots: 1, running: [], limitsOf, breakerOf: () => undefined, ...more };
}

const running = (id: number, priority: Priority, more: Partial<Occupant> = {}): Occupant & { startedMs: number } => ({
  id,
  kind: "k",
  priority,
  owner: "me",
  startedMs: T0,
  ...more,
});

describe("order", () => {
  test("[JOB-1] a job rises by one a step up to the highest base priority, and no higher", () => {
    for (const [priority, waitedSteps, effective] of [
      ["bulk", 0, 0],
      ["bulk", 0.99, 0],
      ["bulk", 1, 1],
      ["bulk", 30, 30],
      ["bulk", 1000, 30],
      ["normal", 5.5, 15],
      ["high", 100, 30],
      ["urgent", 100, 30],
      ["urgent", -100, 30],
      ["normal", -1, 10],
    ] as const) {
      const value = effectivePriority({ priority, sinceMs: T0 }, T0 + waitedSteps * AGING_STEP_MS);
      expect([priority, waitedSteps, value]).toEqual([priority, waitedSteps, effective]);
    }
  });

  test("[JOB-1] among equals the earlier deadline goes first, then the older one, then the lower number", () => {
    const order = (...jobs: Candidate[]): number[] => jobs.toSorted(byTurn(T0)).map(({ id }) => id);
    expect(order(job(1, "normal", T0), job(2, "urgent", T0), job(3, "bulk", T0 - 29 * MINUTE))).toEqual([2, 3, 1]);
    expect(order(job(1, "normal", T0), job(2, "normal", T0, { deadlineMs: T0 + 5 }))).toEqual([2, 1]);
    expect(order(job(2, "normal", T0 - 10), job(1, "normal", T0 - 5))).toEqual([2, 1]);
    expect(order(job(2, "normal", T0), job(1, "normal", T0))).toEqual([1, 2]);
  });

  const priority = fc.constantFrom(...PRIORITY_NAMES);

  test("[JOB-2] once a job has waited its bound, none that comes later goes before it, whatever it is", () => {
    const later = fc.record({ priority, afterMs: fc.nat(60 * MINUTE), deadline: fc.option(fc.nat(60 * MINUTE)) });
    fc.assert(
      fc.property(priority, fc.array(later, { maxLength: 30 }), fc.nat(120 * MINUTE), (mine, others, lookMs) => {
        const bound = starvationBoundMs(mine);
        const old = job(1, mine, T0);
        const rest = others.map(({ priority: theirs, afterMs, deadline }, index) => {
          const sinceMs = T0 + bound + afterMs + 1;
          const deadlineMs = deadline === null ? undefined : sinceMs + deadline;
          return job(index + 2, theirs, sinceMs, { deadlineMs });
        });
        const nowMs = T0 + bound + lookMs;
        const there = rest.filter(({ sinceMs }) => sinceMs <= nowMs);
        expect(choose([...there, old], at(nowMs))!.id).toBe(1);
      }),
      { numRuns: 2000 },
    );
  });

  test("[JOB-2] under any load that one place can carry no more, each job begins after a bounded number of others", () => {
    fc.assert(
      fc.property(fc.array(priority, { minLength: 1, maxLength: 8 }), fc.integer({ min: 1, max: 5 }), (stream, load) => {
        // A bulk job, and `load` new ones of the stream for each that is done, one a minute.
        let waiting = [job(0, "bulk", T0)];
        let next = 1;
        const boundMs = starvationBoundMs("bulk");
        for (let nowMs = T0; ; nowMs += MINUTE) {
          for (let made = 0; made < load; made++, next++) waiting.push(job(next, stream[next % stream.length]!, nowMs));
          const chosen = choose(waiting, at(nowMs))!;
          if (chosen.id === 0) break;
          waiting = waiting.filter(({ id }) => id !== chosen.id);
          const ahead = waiting.filter(({ sinceMs }) => sinceMs <= T0 + boundMs).length;
          // Only those that came within the bound can be before it, and they get fewer.
          if (nowMs > T0 + boundMs) expect(chosen.sinceMs).toBeLessThanOrEqual(T0 + boundMs);
          expect(ahead).toBeLessThanOrEqual((boundMs / MINUTE + 1) * load + 1);
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe("what stands in the way", () => {
  test("[JOB-3] limits by kind, host, space and process; a retry that is not due; a kind that nobody knows", () => {
    const limits = { all: 3, host: 1, space: 2 };
    const reason = (one: Partial<Candidate>, more: Partial<Circumstances>): string | undefined =>
      blockOf(job(9, "normal", T0, one), at(T0, { slots: 4, limitsOf: () => limits, ...more }))?.reason;
    expect(reason({}, {})).toBeUndefined();
    const other = { owner: "other" };
    expect(reason({}, { running: [1, 2, 3].map((id) => running(id, "bulk", other)) })).toBe("kind");
    expect(reason({}, { running: [1, 2, 3].map((id) => running(id, "bulk", { kind: "x" })) })).toBeUndefined();
    expect(reason({}, { running: [1, 2, 3, 4].map((id) => running(id, "bulk", { kind: "x" })) })).toBe("slots");
    expect(reason({}, { running: [1, 2, 3, 4].map((id) => running(id, "bulk", { kind: "x", ...other })) })).toBeUndefined();
    expect(reason({ host: "a" }, { running: [running(1, "bulk", { host: "a" })] })).toBe("host");
    expect(reason({ host: "b" }, { running: [running(1, "bulk", { host: "a" })] })).toBeUndefined();
    expect(reason({ space: "a" }, { running: [1, 2].map((id) => running(id, "bulk", { space: "a" })) })).toBe("space");
    expect(reason({ notBeforeMs: T0 + 1 }, {})).toBe("retry");
    expect(reason({ notBeforeMs: T0 }, {})).toBeUndefined();
    expect(reason({}, { limitsOf: () => undefined })).toBe("unknown-kind");
    const open: Breaker = { state: "open", failures: 3, opens: 1, untilMs: T0 + 1, probe: undefined };
    expect(reason({ dependency: "host:a" }, { breakerOf: () => open })).toBe("breaker");
    expect(reason({}, { breakerOf: () => open })).toBeUndefined();
    const probed = { dependency: "host:a", kind: "x" };
    const halfOpen = { breakerOf: () => ({ ...open, state: "half-open" as const, probe: 1 }) };
    expect(reason(probed, { ...halfOpen, running: [running(1, "bulk")] })).toBe("breaker");
    expect(reason(probed, { ...halfOpen, running: [running(2, "bulk")] })).toBeUndefined();
  });

  test("[JOB-3] what cannot begin keeps nobody behind it waiting", () => {
    const blocked = job(1, "urgent", T0 - 100 * MINUTE, { host: "a" });
    const limitsOf = () => ({ all: 9, host: 1 });
    const busy = at(T0, { slots: 4, limitsOf, running: [running(5, "normal", { host: "a" })] });
    expect(choose([blocked, job(2, "bulk", T0)], busy)!.id).toBe(2);
  });

  test("[JOB-4] the least urgent job that makes enough room gives way, and only to a more urgent base priority", () => {
    const bulk = running(1, "bulk");
    const later = { ...running(2, "bulk"), startedMs: T0 + 5 };
    const normal = running(3, "normal");
    const full = at(T0, { slots: 3, running: [bulk, later, normal] });
    const victim = (waiting: Candidate[], mayYield = [bulk, later, normal], where = full) =>
      preemption(waiting, mayYield, where);
    expect(victim([job(9, "urgent", T0)])).toEqual({ victim: 2, by: 9 });
    expect(victim([job(9, "urgent", T0)], [normal])).toEqual({ victim: 3, by: 9 });
    expect(victim([job(9, "normal", T0)], [normal])).toBeUndefined();
    // Age brings a turn, and throws out nobody.
    expect(victim([job(9, "bulk", T0 - 1000 * MINUTE)])).toBeUndefined();
    // A place that is not the one that it needs.
    const limitsOf = (kind: string) => ({ all: kind === "k" ? 9 : 1 });
    const other = { ...full, limitsOf, running: [bulk, running(4, "urgent", { kind: "one" })], slots: 9 };
    expect(victim([job(9, "urgent", T0, { kind: "one" })], [bulk], other)).toBeUndefined();
  });
});

describe("backoff", () => {
  test("[JOB-5] waits are drawn from 0 up to twice as much with every failure, and never more than the longest", () => {
    for (const [failures, most] of [[1, 10_000], [2, 20_000], [3, 40_000], [7, BACKOFF_LONGEST_MS], [1000, BACKOFF_LONGEST_MS]] as const) {
      expect([backoffMs(failures, 0), backoffMs(failures, 0.5), backoffMs(failures, 1)]).toEqual([0, most / 2, most]);
    }
    expect([isDue(5, 5, 10), isDue(6, 5, 10), isDue(100, 5, 10)]).toEqual([true, false, true]);
  });
});

describe("breaker", () => {
  test("[JOB-6] opens after failures in a row, lets one try, opens for longer, and closes with the first success", () => {
    let breaker = CLOSED;
    for (let count = 1; count < BREAKER_FAILURES; count++) breaker = failed(breaker, T0);
    expect([breaker.state, mayTry(breaker, T0)]).toEqual(["closed", true]);
    breaker = failed(breaker, T0);
    expect(breaker).toMatchObject({ state: "open", untilMs: T0 + OPEN_FIRST_MS });
    expect([mayTry(breaker, T0 + OPEN_FIRST_MS - 1), mayTry(breaker, T0 + OPEN_FIRST_MS)]).toEqual([false, true]);
    breaker = begun(breaker, 7);
    expect([breaker.state, mayTry(breaker, T0 + 10 ** 9)]).toEqual(["half-open", false]);
    const again = failed(breaker, T0);
    expect(again).toMatchObject({ state: "open", untilMs: T0 + 2 * OPEN_FIRST_MS, probe: undefined });
    // Whoever tried has gone: somebody else may, at once. Of another job's end it is nobody's business.
    expect(mayTry(abandoned(breaker, 7, T0), T0)).toBe(true);
    expect(abandoned(breaker, 8, T0)).toBe(breaker);
    // A clock that was put back.
    expect(mayTry(again, T0 - 10 ** 9)).toBe(true);
  });

  test("[JOB-6] whatever happens in whatever order, somebody may try again within the longest wait", () => {
    const step = fc.record({ what: fc.constantFrom("fail", "begin", "abandon", "close"), job: fc.nat(3), ms: fc.nat(200_000) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let breaker = CLOSED;
        let nowMs = T0;
        for (const { what, job: id, ms } of steps) {
          nowMs += ms;
          if (what === "begin" && mayTry(breaker, nowMs)) breaker = begun(breaker, id);
          else if (what === "fail") breaker = failed(breaker, nowMs);
          else if (what === "close") breaker = CLOSED;
          else breaker = abandoned(breaker, id, nowMs);
        }
        // Half-open ends with its job, one way or another.
        if (breaker.state === "half-open") breaker = abandoned(breaker, breaker.probe!, nowMs);
        expect(mayTry(breaker, nowMs + OPEN_LONGEST_MS)).toBe(true);
      }),
    );
  });
});

test("[JOB-1] every step of the priorities is worth the same", () => {
  expect(Object.values(PRIORITIES)).toEqual([0, 10, 20, 30]);
});
