/**
 * A lease: one of the processes that share a database does what must not be done by two of them. Its row has a beat that
 * grows while the holder lives. Another process that sees the beat stand still, by its own clock, takes the lease over;
 * no clocks of two hosts are compared. Each term has a number, its generation: what a holder writes in its term is
 * written in a transaction that asks isHeld(), so whoever was frozen and taken for dead changes nothing any more.
 */
import { SynclineError } from "#model/error.ts";
import type { Clock, Random } from "#platform/host.ts";
import type { Database, Migration, Sql } from "#platform/sql/database.ts";

/** Between two signs of life, and between two looks at another's. */
export const BEAT_MS = 5_000;
/** A holder that could not show a sign of life for so long ends its term. Well before others may take it. */
const GIVE_UP_MS = 20_000;
/** A beat that stands still for so long is that of a holder that is gone. */
export const LEASE_MS = 30_000;
const OWNER_BYTES = 8;
/** Of a lease that was given back. */
export const NOBODY = "";

export const LEASE_MIGRATIONS: readonly Migration[] = [
  {
    id: 1,
    statements: [
      "CREATE TABLE leases (name TEXT PRIMARY KEY, owner TEXT NOT NULL, generation BIGINT NOT NULL, beat BIGINT NOT NULL)",
    ],
  },
];

export type LeaseRow = { readonly owner: string; readonly generation: number; readonly beat: number };

/** Undefined: nobody has ever held it. */
export function readLease(sql: Sql, name: string): Promise<LeaseRow | undefined> {
  return sql.get<LeaseRow>("SELECT owner, generation, beat FROM leases WHERE name = ?", [name]);
}

/** Takes a lease that is as `found`; returns the generation of the term, undefined when somebody was faster. */
export async function takeLease(
  db: Database,
  name: string,
  owner: string,
  found: LeaseRow | undefined,
): Promise<number | undefined> {
  if (found !== undefined) {
    const text =
      "UPDATE leases SET owner = ?, generation = generation + 1, beat = 0 WHERE name = ? AND generation = ? AND beat = ? AND owner = ?";
    const taken = await db.run(text, [owner, name, found.generation, found.beat, found.owner]);
    return taken === 1 ? found.generation + 1 : undefined;
  }
  try {
    await db.run("INSERT INTO leases (name, owner, generation, beat) VALUES (?, ?, 1, 0)", [name, owner]);
    return 1;
  } catch (error) {
    if (error instanceof SynclineError && error.code === "EXISTS") return undefined;
    throw error;
  }
}

/** False when the term has ended. */
export async function beatLease(db: Database, name: string, generation: number): Promise<boolean> {
  return (await db.run("UPDATE leases SET beat = beat + 1 WHERE name = ? AND generation = ?", [name, generation])) === 1;
}

/** Is it still the term of that generation? Asked in the transaction of what is written in it. */
export async function isHeld(sql: Sql, name: string, generation: number): Promise<boolean> {
  const row = await readLease(sql, name);
  return row?.generation === generation && row.owner !== NOBODY;
}

export async function giveBackLease(db: Database, name: string, generation: number): Promise<void> {
  await db.run("UPDATE leases SET owner = ?, beat = beat + 1 WHERE name = ? AND generation = ?", [NOBODY, name, generation]);
}

/** One stretch of holding. The signal: it is over, or everything ends. */
export type Term = { readonly generation: number; readonly signal: AbortSignal };

export type LeaseOptions = {
  readonly db: Database;
  readonly clock: Clock;
  readonly random: Random;
  readonly name: string;
  /** Nobody else can have this database open: a holder that is written down is dead. */
  readonly isAlone: boolean;
  readonly onTrouble: (message: string, fields: Readonly<Record<string, unknown>>) => void;
};

export class Lease {
  readonly #options: LeaseOptions;
  readonly #owner: string;
  /** The row as it was seen last, and since when it is so. */
  #seen: { readonly row: LeaseRow; readonly sinceMono: number } | undefined;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#owner = Buffer.from(options.random.bytes(OWNER_BYTES)).toString("hex");
  }

  get name(): string {
    return this.#options.name;
  }

  get isAlone(): boolean {
    return this.#options.isAlone;
  }

  /**
   * Does the work in terms, one after the other, whenever the lease is here, until the signal. Work ends when its term
   * does. What it throws is told, and ends the term: whoever is next may have more luck.
   */
  async hold(work: (term: Term) => Promise<void>, signal: AbortSignal): Promise<void> {
    const { db, clock, name, onTrouble } = this.#options;
    const trouble = (message: string) => (error: unknown) => onTrouble(message, { lease: name, error: String(error) });
    for (;;) {
      const generation = await this.#take(signal);
      if (generation === undefined) return;
      const over = new AbortController();
      const term = { generation, signal: AbortSignal.any([signal, over.signal]) };
      const beating = this.#beat(generation, over);
      await work(term).catch(trouble("work under a lease failed"));
      over.abort();
      await beating;
      await giveBackLease(db, name, generation).catch(trouble("lease not given back"));
      if (!signal.aborted) await clock.sleep(BEAT_MS, signal).catch(() => undefined);
    }
  }

  async #take(signal: AbortSignal): Promise<number | undefined> {
    const { clock, name, onTrouble } = this.#options;
    let told = "";
    while (!signal.aborted) {
      try {
        const generation = await this.#look();
        if (generation !== undefined) return generation;
        told = "";
      } catch (error) {
        // A database that is away for a night is one line, not thousands.
        if (String(error) !== told) onTrouble("lease not looked at", { lease: name, error: String(error) });
        told = String(error);
      }
      await clock.sleep(BEAT_MS, signal).catch(() => undefined);
    }
    return undefined;
  }

  async #look(): Promise<number | undefined> {
    const { db, clock, name, isAlone, onTrouble } = this.#options;
    const row = await readLease(db, name);
    const nowMono = clock.monotonicMs();
    if (row === undefined || row.owner === NOBODY || isAlone) return takeLease(db, name, this.#owner, row);
    const seen = this.#seen;
    if (seen === undefined || seen.row.generation !== row.generation || seen.row.beat !== row.beat) {
      this.#seen = { row, sinceMono: nowMono };
      return undefined;
    }
    if (nowMono - seen.sinceMono < LEASE_MS) return undefined;
    const generation = await takeLease(db, name, this.#owner, row);
    if (generation !== undefined) onTrouble("lease taken over: its holder was not heard any more", { lease: name, holder: row.owner });
    return generation;
  }

  async #beat(generation: number, over: AbortController): Promise<void> {
    const { db, clock, name, onTrouble } = this.#options;
    const { signal } = over;
    let heardMono = clock.monotonicMs();
    while (!signal.aborted) {
      await clock.sleep(BEAT_MS, signal).catch(() => undefined);
      if (signal.aborted) return;
      const askedMono = clock.monotonicMs();
      // One that hangs counts as one that failed: what others see is a beat that stands still.
      const late = new AbortController();
      const patience = clock.sleep(Math.max(0, heardMono + GIVE_UP_MS - askedMono), AbortSignal.any([signal, late.signal]));
      const beat = beatLease(db, name, generation).catch(() => undefined);
      const isHere = await Promise.race([beat, patience.then(() => undefined, () => undefined)]);
      late.abort();
      if (isHere === true) heardMono = askedMono;
      else if (isHere === false || clock.monotonicMs() - heardMono >= GIVE_UP_MS) {
        const why = isHere === false ? "taken over" : "the database was not reached";
        if (!signal.aborted) onTrouble("lease lost", { lease: name, why });
        over.abort();
      }
    }
  }
}
