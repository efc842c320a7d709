/**
 * What the lists of this room share: the database, and one way to change something. A change and its audit record are
 * one transaction; when it is over everything that was remembered is forgotten, so what was revoked ends at once.
 */
import { SynclineError } from "#model/error.ts";
import type { Clock, Random } from "#platform/host.ts";
import type { Database, Sql } from "#platform/sql/database.ts";
import type { Actor, Audit, Done } from "#access/audit.ts";
import type { SealKey } from "#access/seal-key.ts";

/** Names of users and groups: lower case, so that no two look alike to a door that does not tell cases apart. */
export const USER_NAME = /^[a-z0-9_]([a-z0-9._@-]{0,62}[a-z0-9_])?$/;
/** Secrets that are given (a bootstrap file) instead of drawn; they must be random, as they are stored as plain hashes. */
export const GIVEN_SECRET_CHARS_MIN = 32;
export const GIVEN_SECRET_CHARS_MAX = 512;
/** Rows of one page at most. */
export const PAGE_ROWS_MAX = 1_000;
/** Principals remembered by each list; the one that was asked for longest ago goes first. */
export const REMEMBERED_MAX = 10_000;

export class AccessStore {
  readonly database: Database;
  readonly clock: Clock;
  readonly random: Random;
  readonly seal: SealKey;
  readonly audit: Audit;
  #generation = 0;
  readonly #listeners = new Set<() => void>();

  constructor(database: Database, clock: Clock, random: Random, seal: SealKey, audit: Audit) {
    this.database = database;
    this.clock = clock;
    this.random = random;
    this.seal = seal;
    this.audit = audit;
  }

  /** Grows with every change. What was read before a change must not be remembered after it. */
  get generation(): number {
    return this.#generation;
  }

  /** Other processes change a PostgreSQL database, too, so nothing of it is remembered. */
  get mayRemember(): boolean {
    return this.database.engine === "sqlite";
  }

  /** As Audit.change; afterwards nothing is remembered of what was before. */
  async change<T>(by: Actor, work: (sql: Sql) => Promise<Done<T>>): Promise<T> {
    try {
      return await this.audit.change(by, work);
    } finally {
      // Also when it failed: a commit whose answer was lost may be there.
      this.#generation++;
      for (const listener of this.#listeners) listener();
    }
  }

  /** Called after every change, until the signal: connections that live long ask again whether they still may. */
  onChange(listener: () => void, signal: AbortSignal): void {
    if (signal.aborted) return;
    this.#listeners.add(listener);
    signal.addEventListener("abort", () => this.#listeners.delete(listener), { once: true });
  }

  /** A random id of 16 hex digits. */
  newId(): string {
    return Buffer.from(this.random.bytes(8)).toString("hex");
  }

  /** 256 random bits behind a prefix that tells people and secret scanners what it is. */
  newSecret(prefix: string): string {
    return prefix + Buffer.from(this.random.bytes(32)).toString("base64url");
  }
}

/** A bounded memory of what the database said; forgets everything when anything was changed. */
export class Remembered<T> {
  readonly #store: AccessStore;
  readonly #kept = new Map<string, T>();
  #generation = 0;

  constructor(store: AccessStore) {
    this.#store = store;
  }

  /** What is remembered, or what `read` gives now. Undefined is not remembered: guesses would push out what is used. */
  async get(key: string, read: () => Promise<T>): Promise<T> {
    const generation = this.#store.generation;
    if (this.#generation !== generation) {
      this.#kept.clear();
      this.#generation = generation;
    }
    const known = this.#kept.get(key);
    if (known !== undefined) {
      this.#kept.delete(key);
      this.#kept.set(key, known);
      return known;
    }
    const value = await read();
    // Read before a change that is over by now: true then, not now.
    if (!this.#store.mayRemember || value === undefined || this.#store.generation !== generation) return value;
    this.#kept.set(key, value);
    if (this.#kept.size > REMEMBERED_MAX) this.#kept.delete(this.#kept.keys().next().value!);
    return value;
  }
}

export function hashOf(secret: string): Uint8Array {
  return new Uint8Array(new Bun.CryptoHasher("sha256").update(secret).digest());
}

/** One message for everything that was wrong, so that nobody learns which names exist. */
export function refused(op: string): SynclineError {
  return new SynclineError({
    code: "AUTH",
    op,
    message: "these credentials are not valid",
    hint: "check them, or ask an administrator for new ones",
  });
}

export function taken(op: string, what: string): SynclineError {
  const hint = "choose another name, or change the one that is there";
  return new SynclineError({ code: "EXISTS", op, message: `${what} exists already`, hint });
}

export function notFound(op: string, what: string): SynclineError {
  return new SynclineError({ code: "NOT_FOUND", op, message: `there is no ${what}`, hint: "list what there is and try again" });
}

export function unusable(op: string, message: string): SynclineError {
  return new SynclineError({ code: "USAGE", op, message, hint: "correct the value and try again" });
}

/** @throws {SynclineError} USAGE */
export function checkGivenSecret(op: string, secret: string): void {
  if (secret.length < GIVEN_SECRET_CHARS_MIN || secret.length > GIVEN_SECRET_CHARS_MAX || !/^[\x21-\x7e]+$/.test(secret))
    throw unusable(op, `a given secret has ${GIVEN_SECRET_CHARS_MIN} to ${GIVEN_SECRET_CHARS_MAX} visible ASCII characters`);
}
