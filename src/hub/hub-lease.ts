/**
 * One hub at a time on a database server: chunks and keys are in a hub's own directory, so two hubs on one database would
 * each have rows of files whose bytes the other has. Who begins while another shows signs of life is refused; one that is
 * silent is taken for dead, and behind a fence, so that it changes nothing when it was only frozen.
 */
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import {
  BEAT_MS, LEASE_MIGRATIONS, LEASE_MS, type LeaseRow, NOBODY, beatLease, giveBackLease, readLease, takeLease,
} from "#platform/sql/lease.ts";
import { migrate } from "#platform/sql/migrate.ts";
import { FENCE_MIGRATIONS, type ServerDatabase } from "#platform/sql/postgres.ts";

const NAME = "hub";
/** Between two looks at whether the holder lives. */
const LOOK_MS = 1_000;

export type HubLeaseOptions = {
  readonly db: ServerDatabase;
  readonly clock: Clock;
  /** Host and data directory, for people. */
  readonly holder: string;
  /** No other process can have that data directory: what a dead one of that name held is taken at once. */
  readonly isAlone: boolean;
  readonly tell: (message: string, fields: Readonly<Record<string, unknown>>) => void;
  /** Ends the wait for it. */
  readonly signal: AbortSignal;
};

export class HubLease {
  /** Resolves when another hub has taken over. */
  readonly lost: Promise<SynclineError>;
  readonly #lost = Promise.withResolvers<SynclineError>();
  readonly #options: HubLeaseOptions;
  readonly #generation: number;
  readonly #stop = new AbortController();
  #isLost = false;
  readonly #beating: Promise<void>;

  private constructor(options: HubLeaseOptions, generation: number) {
    this.lost = this.#lost.promise;
    this.#options = options;
    this.#generation = generation;
    this.#beating = this.#beat();
  }

  /**
   * Waits for LEASE_MS where the last holder has ended without a word, until it is taken for dead.
   * @throws {SynclineError} ROOT_BUSY when another hub lives on the database, what the database throws
   */
  static async take(options: HubLeaseOptions): Promise<HubLease> {
    const { db } = options;
    await migrate(db, "leases", LEASE_MIGRATIONS);
    await migrate(db, "fence", FENCE_MIGRATIONS);
    const generation = await takeFree(options);
    await db.fence(generation);
    return new HubLease(options, generation);
  }

  /** For who comes next, who need not wait then. Nothing is written under it any more. */
  async giveBack(): Promise<void> {
    const { db, tell } = this.#options;
    this.#stop.abort();
    await this.#beating;
    if (this.#isLost) return;
    await giveBackLease(db, NAME, this.#generation).catch((error: unknown) =>
      tell("the database was not given back: who comes next waits", { error: String(error) }),
    );
  }

  /** A database that is away ends no lease: while it is away, nobody else takes it either. */
  async #beat(): Promise<void> {
    const { db, clock } = this.#options;
    const { signal } = this.#stop;
    for (;;) {
      await clock.sleep(BEAT_MS, signal).catch(() => undefined);
      if (signal.aborted) return;
      if (await beatLease(db, NAME, this.#generation).catch(mayHold)) continue;
      this.#isLost = true;
      const row = await readLease(db, NAME).catch(() => undefined);
      this.#lost.resolve(takenOver(row?.owner));
      return;
    }
  }
}

/** After a beat that failed. */
const mayHold = (error: unknown): boolean => !(error instanceof SynclineError && error.code === "HALT");

async function takeFree({ db, clock, holder, isAlone, tell, signal }: HubLeaseOptions): Promise<number> {
  let seen: { readonly row: LeaseRow; readonly sinceMono: number } | undefined;
  for (;;) {
    const row = await readLease(db, NAME);
    const isOwn = isAlone && row?.owner === holder;
    const isSilent = seen !== undefined && clock.monotonicMs() - seen.sinceMono >= LEASE_MS;
    if (seen !== undefined && row !== undefined && row.owner !== NOBODY && !isSame(seen.row, row)) throw busy(row.owner);
    if (row === undefined || row.owner === NOBODY || isOwn || isSilent) {
      const generation = await takeLease(db, NAME, holder, row);
      if (generation !== undefined) return generation;
    } else if (seen === undefined) {
      seen = { row, sinceMono: clock.monotonicMs() };
      tell("waiting: the last hub on this database has not said that it ended", { holder: row.owner, seconds: LEASE_MS / 1000 });
    }
    await clock.sleep(LOOK_MS, signal);
  }
}

const isSame = (a: LeaseRow, b: LeaseRow): boolean => a.generation === b.generation && a.beat === b.beat;

function busy(holder: string): SynclineError {
  return new SynclineError({
    code: "ROOT_BUSY",
    op: "open hub",
    message: `a hub runs on this database already: ${holder}`,
    hint: "stop that one first, or give this one a database of its own: it can follow the other's spaces (syncline space --help)",
    retryable: true,
  });
}

function takenOver(holder: string | undefined): SynclineError {
  return new SynclineError({
    code: "HALT",
    op: "run hub",
    message: `another hub has taken over the database${holder === undefined ? "" : `: ${holder}`}`,
    hint: "this one was silent for too long; stop the other one before starting this one again",
  });
}
