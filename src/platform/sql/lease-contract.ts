/** What a lease promises, on every engine. */
import { describe, expect, test } from "bun:test";
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import { openHost } from "#platform/host-bun.ts";
import type { Database } from "#platform/sql/database.ts";
import { LEASE_MIGRATIONS, LEASE_MS, Lease, type Term, beatLease, isHeld, readLease, takeLease } from "#platform/sql/lease.ts";
import { migrate } from "#platform/sql/migrate.ts";

/** Stands still until somebody moves it on. */
export class StepClock implements Clock {
  #ms = 0;
  #waiting: { readonly atMs: number; readonly done: () => void }[] = [];
  readonly nowMs = (): number => this.#ms;
  readonly monotonicMs = (): number => this.#ms;

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.reject(signal.reason);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ atMs: this.#ms + ms, done: resolve });
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
  }

  advance(ms: number): void {
    this.#ms += ms;
    const due = this.#waiting.filter(({ atMs }) => atMs <= this.#ms);
    this.#waiting = this.#waiting.filter(({ atMs }) => atMs > this.#ms);
    for (const { done } of due) done();
  }
}

/** One process that wants a lease, on a database that can be out of its reach. */
class Candidate {
  readonly clock = new StepClock();
  readonly terms: Term[] = [];
  readonly told: string[] = [];
  isCut = false;
  #calls = 0;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;

  constructor(db: Database, isAlone = false) {
    const onTrouble = (message: string): void => void this.told.push(message);
    const lease = new Lease({ db: this.#counted(db), clock: this.clock, random: openHost().random, name: "l", isAlone, onTrouble });
    this.#running = lease.hold((term) => {
      this.terms.push(term);
      return new Promise((resolve) => term.signal.addEventListener("abort", () => resolve()));
    }, this.#stop.signal);
  }

  get holds(): boolean {
    return this.terms.at(-1)?.signal.aborted === false;
  }

  async settled(): Promise<void> {
    for (let still = 0; still < 3; still = this.#calls === 0 ? still + 1 : 0) await Bun.sleep(0);
  }

  async advance(ms: number, stepMs = 1000): Promise<void> {
    for (let left = ms; left > 0; left -= stepMs) {
      this.clock.advance(stepMs);
      await this.settled();
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  #counted(db: Database): Database {
    const counted = async <T>(ask: () => Promise<T>): Promise<T> => {
      if (this.isCut) throw new SynclineError({ code: "LINK_LOST", op: "ask", message: "no database", retryable: true });
      this.#calls++;
      return ask().finally(() => this.#calls--);
    };
    return {
      engine: db.engine,
      commits: undefined,
      all: (text, values) => counted(() => db.all(text, values)),
      get: (text, values) => counted(() => db.get(text, values)),
      run: (text, values) => counted(() => db.run(text, values)),
      transaction: (work) => counted(() => db.transaction(work)),
      copyTo: (file, signal) => db.copyTo(file, signal),
      close: () => db.close(),
    };
  }
}

export function leaseContract(engine: string, open: () => Promise<{ db: Database; dispose: () => Promise<void> }>): void {
  const on = async (body: (db: Database) => Promise<void>): Promise<void> => {
    const { db, dispose } = await open();
    try {
      await migrate(db, "leases", LEASE_MIGRATIONS);
      await body(db);
    } finally {
      await dispose();
    }
  };

  describe(`leases on ${engine}`, () => {
    test("[LEASE-1] of many that want it one holds it; who ends gives it back, and another term has another number", () =>
      on(async (db) => {
        const all = Array.from({ length: 5 }, () => new Candidate(db));
        for (const one of all) await one.settled();
        expect(all.filter(({ holds }) => holds)).toHaveLength(1);
        const first = all.find(({ holds }) => holds)!;
        await first.stop();
        const rest = all.filter((one) => one !== first);
        for (const one of rest) await one.advance(5000);
        expect(rest.filter(({ holds }) => holds)).toHaveLength(1);
        const second = rest.find(({ holds }) => holds)!;
        expect([first.terms[0]!.generation, second.terms[0]!.generation]).toEqual([1, 2]);
        expect([await isHeld(db, "l", 1), await isHeld(db, "l", 2)]).toEqual([false, true]);
        for (const one of rest) await one.stop();
        expect(await isHeld(db, "l", (await readLease(db, "l"))!.generation)).toBe(false);
      }));

    test("[LEASE-2] who lives keeps it; whose beat stands still for 30 s by another's clock loses it, and hears of it", () =>
      on(async (db) => {
        const holder = new Candidate(db);
        await holder.settled();
        const other = new Candidate(db);
        for (let at = 0; at < 100; at++) {
          await holder.advance(5000, 5000);
          await other.advance(5000, 5000);
        }
        expect([holder.holds, other.holds]).toEqual([true, false]);
        await other.advance(LEASE_MS - 5000);
        expect(other.holds).toBe(false);
        await other.advance(10_000);
        expect([other.holds, other.told]).toEqual([true, ["lease taken over: its holder was not heard any more"]]);
        expect(await isHeld(db, "l", holder.terms[0]!.generation)).toBe(false);
        await holder.advance(5000);
        expect([holder.holds, holder.terms.length, holder.told]).toEqual([false, 1, ["lease lost"]]);
        for (const one of [holder, other]) await one.stop();
      }));

    test("[LEASE-3] a holder that does not reach the database ends its term before anybody may take it, and wants it again", () =>
      on(async (db) => {
        const holder = new Candidate(db);
        await holder.settled();
        holder.isCut = true;
        await holder.advance(15_000);
        expect(holder.holds).toBe(true);
        await holder.advance(LEASE_MS - 15_000 - 1000);
        expect(holder.holds).toBe(false);
        holder.isCut = false;
        await holder.advance(LEASE_MS + 20_000);
        expect([holder.holds, holder.terms.map(({ generation }) => generation)]).toEqual([true, [1, 2]]);
        await holder.stop();
      }));

    test("[LEASE-4] where nobody else can have the database open, what a dead process held is taken at once", () =>
      on(async (db) => {
        expect(await takeLease(db, "l", "dead", undefined)).toBe(1);
        const holder = new Candidate(db, true);
        await holder.settled();
        expect(holder.terms.map(({ generation }) => generation)).toEqual([2]);
        expect([await beatLease(db, "l", 1), await beatLease(db, "l", 2)]).toEqual([false, true]);
        await holder.stop();
      }));
  });
}
