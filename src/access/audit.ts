/**
 * Who did what: an append-only log in which every record carries the hash of all before it. A record that is changed,
 * removed, added or moved breaks the chain from there on; the head is marked with the hub's seal key, so that a chain
 * computed anew by somebody with the database alone is found as well. What this cannot find is the whole database put
 * back to an earlier day: note the head that verify() gives somewhere else, and hand it to a later verify().
 *
 * An audited change and its record are one: appendIn writes into the transaction of the change, and a caller of append
 * waits for it before its change is acknowledged. A record that cannot be written fails the change.
 */
import { createHash } from "node:crypto";
import { SynclineError } from "#model/error.ts";
import { printablePath } from "#model/path.ts";
import type { Clock } from "#platform/host.ts";
import type { Database, Sql } from "#platform/sql/database.ts";
import { type SealKey, sameBytes } from "#access/seal-key.ts";

/** Records written in one transaction at most. */
export const AUDIT_BATCH_MAX = 256;
/** Records waiting to be written at most; beyond it changes are refused, because they could not be recorded. */
export const AUDIT_WAITING_MAX = 10_000;
/** UTF-16 units of one field (a path of 4 KiB with every byte escaped fits), and of the details as JSON. */
export const AUDIT_FIELD_MAX = 16 << 10;
export const AUDIT_DETAILS_MAX = 64 << 10;
/** Records of one page at most. */
export const AUDIT_PAGE_MAX = 1_000;

/** Who makes a change, for its record. */
export type Actor = {
  /** A principal's id. */
  readonly id: string;
  readonly address?: string | undefined;
  /** 32 hex digits (W3C trace context). */
  readonly traceId?: string | undefined;
};

export type AuditEvent = {
  /** "user.create", "space.delete": what, then what was done to it. */
  readonly action: string;
  /** "user:ann", "space:demo/a/b". */
  readonly resource: string;
  readonly outcome: "done" | "denied" | "failed";
  /** Anything that JSON holds; never a secret. */
  readonly details?: unknown;
};

export type AuditRecord = {
  /** 1, 2, 3 … without gaps. */
  readonly seq: number;
  readonly timeMs: number;
  readonly actor: string;
  readonly action: string;
  readonly resource: string;
  readonly outcome: string;
  readonly address: string | undefined;
  readonly traceId: string | undefined;
  /** JSON text. */
  readonly details: string | undefined;
  readonly hash: Uint8Array;
};

export type AuditFilter = {
  readonly actor?: string | undefined;
  readonly action?: string | undefined;
  readonly resource?: string | undefined;
  readonly outcome?: string | undefined;
  readonly traceId?: string | undefined;
  /** At or after, and before. */
  readonly fromMs?: number | undefined;
  readonly untilMs?: number | undefined;
};

/** A place in the chain, to be noted elsewhere. */
export type AuditHead = { readonly seq: number; /** Hex. */ readonly hash: string };

export type AuditVerdict =
  | { readonly sound: true; readonly head: AuditHead }
  /** The first record that is not what was written. */
  | { readonly sound: false; readonly seq: number; readonly why: string };

type AuditRow = {
  seq: number;
  time_ms: number;
  actor: string;
  action: string;
  resource: string;
  outcome: string;
  address: string | null;
  trace_id: string | null;
  details: string | null;
  hash: Uint8Array;
};

type HeadRow = { seq: number | null; hash: Uint8Array | null; seal: Uint8Array | null; last: number | null; last_hash: Uint8Array | null };

const GENESIS = new Uint8Array(32);

// A left join from a row that is always there: one statement, so both come from one state of the database.
const SELECT_HEAD = `SELECT h.seq AS seq, h.hash AS hash, h.seal AS seal, r.seq AS last, r.hash AS last_hash
  FROM (SELECT 1 AS id) one
  LEFT JOIN access_audit_head h ON h.id = one.id
  LEFT JOIN access_audit r ON r.seq = (SELECT MAX(seq) FROM access_audit)`;
const SELECT_AFTER = "SELECT * FROM access_audit WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?";
// One text for every filter; an empty one matches all.
const SELECT_PAGE = `SELECT * FROM access_audit
  WHERE seq < ? AND (? = '' OR actor = ?) AND (? = '' OR action = ?) AND (? = '' OR resource = ?)
    AND (? = '' OR outcome = ?) AND (? = '' OR trace_id = ?) AND time_ms >= ? AND time_ms < ?
  ORDER BY seq DESC LIMIT ?`;
const INSERT = `INSERT INTO access_audit
  (seq, time_ms, actor, action, resource, outcome, address, trace_id, details, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const SET_HEAD = `INSERT INTO access_audit_head (id, seq, hash, seal) VALUES (1, ?, ?, ?)
  ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, seal = excluded.seal`;

/** What a change did. No event: it changed nothing, and nothing is recorded. */
export type Done<T> = { readonly value: T; readonly event: Omit<AuditEvent, "outcome"> | undefined };

type Entry = { readonly by: Actor; readonly event: AuditEvent; readonly timeMs: number };
type Waiting = { readonly entry: Entry; readonly resolve: () => void; readonly reject: (error: unknown) => void };

export class Audit {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #seal: SealKey;
  #waiting: Waiting[] = [];
  #isWriting = false;
  /** Ends with the last transaction that was begun here. */
  #tail: Promise<unknown> = Promise.resolve();
  #changes = 0;

  constructor(database: Database, clock: Clock, seal: SealKey) {
    this.#database = database;
    this.#clock = clock;
    this.#seal = seal;
  }

  /**
   * Resolves when the record is durable. Records that wait together are written together, in the order of the calls.
   * @throws {SynclineError} LIMIT, HALT when the log is not what was written, and what the database throws
   */
  async append(by: Actor, event: AuditEvent): Promise<void> {
    const entry = { by, event, timeMs: this.#clock.nowMs() };
    checkSize(entry);
    if (this.#waiting.length >= AUDIT_WAITING_MAX) throw tooMany();
    const written = new Promise<void>((resolve, reject) => this.#waiting.push({ entry, resolve, reject }));
    if (!this.#isWriting) void this.#write();
    await written;
  }

  /** Never rejects: who waits for a record is told. */
  async #write(): Promise<void> {
    this.#isWriting = true;
    // Whoever calls in this turn of the loop gets into the first batch.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, AUDIT_BATCH_MAX);
      try {
        const entries = batch.map(({ entry }) => entry);
        await this.#inTurn(() => this.#database.transaction((sql) => this.#appendAll(sql, entries)));
        for (const { resolve } of batch) resolve();
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#isWriting = false;
  }

  /**
   * Makes a change in a transaction and records it in the same one; `work` may run more than once.
   * @throws as append, and what `work` throws
   */
  async change<T>(by: Actor, work: (sql: Sql) => Promise<Done<T>>): Promise<T> {
    if (this.#changes >= AUDIT_WAITING_MAX) throw tooMany();
    this.#changes++;
    try {
      return await this.#inTurn(() =>
        this.#database.transaction(async (sql) => {
          const { value, event } = await work(sql);
          if (event !== undefined) await this.appendIn(sql, by, { ...event, outcome: "done" });
          return value;
        }),
      );
    } finally {
      this.#changes--;
    }
  }

  /** All who write here meet at the head: side by side they would only make each other begin again. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#tail.then(work);
    this.#tail = turn.catch(() => undefined);
    return turn;
  }

  /**
   * Writes the record of a change into the change's own transaction, where change() does not fit.
   * @throws as append
   */
  async appendIn(sql: Sql, by: Actor, event: AuditEvent): Promise<void> {
    const entry = { by, event, timeMs: this.#clock.nowMs() };
    checkSize(entry);
    await this.#appendAll(sql, [entry]);
  }

  async #appendAll(sql: Sql, entries: readonly Entry[]): Promise<void> {
    const head = await sql.get<HeadRow>(SELECT_HEAD);
    const fault = headFault(head!, this.#seal);
    // Going on would put our mark under what somebody else wrote.
    if (fault !== undefined)
      throw new SynclineError({
        code: "HALT",
        op: "write audit log",
        message: `the audit log is not what was written: ${fault}`,
        hint: "run `syncline audit verify`, find out who changed the database, then `syncline audit accept`",
      });
    await this.#link(sql, { seq: head!.seq ?? 0, hash: head!.hash ?? GENESIS }, entries);
  }

  async #link(sql: Sql, from: { seq: number; hash: Uint8Array }, entries: readonly Entry[]): Promise<void> {
    let { seq, hash } = from;
    for (const { by, event, timeMs } of entries) {
      seq++;
      const row: Omit<AuditRow, "hash"> = {
        seq,
        time_ms: timeMs,
        actor: printablePath(by.id),
        action: printablePath(event.action),
        resource: printablePath(event.resource),
        outcome: event.outcome,
        address: by.address === undefined ? null : printablePath(by.address),
        trace_id: by.traceId === undefined ? null : printablePath(by.traceId),
        details: event.details === undefined ? null : JSON.stringify(event.details),
      };
      hash = chain(hash, row);
      const { time_ms, actor, action, resource, outcome, address, trace_id, details } = row;
      await sql.run(INSERT, [seq, time_ms, actor, action, resource, outcome, address, trace_id, details, hash]);
    }
    await sql.run(SET_HEAD, [seq, hash, this.#seal.mark(headText(seq, hash))]);
  }

  /** Records before a sequence (undefined: the newest), newest first; `limit` up to AUDIT_PAGE_MAX. */
  async page(filter: AuditFilter, before: number | undefined, limit: number): Promise<AuditRecord[]> {
    const { actor = "", action = "", resource = "", outcome = "", traceId = "" } = filter;
    const texts = [actor, action, resource, outcome, traceId].flatMap((text) => [text, text]);
    const rows = await this.#database.all<AuditRow>(SELECT_PAGE, [
      before ?? Number.MAX_SAFE_INTEGER,
      ...texts,
      filter.fromMs ?? Number.MIN_SAFE_INTEGER,
      filter.untilMs ?? Number.MAX_SAFE_INTEGER,
      Math.min(limit, AUDIT_PAGE_MAX),
    ]);
    return rows.map(recordOf);
  }

  /** Records after a sequence and up to another, in order, with what the chain is computed of; up to AUDIT_PAGE_MAX. */
  async after(seq: number, until: number): Promise<AuditRecord[]> {
    return (await this.#database.all<AuditRow>(SELECT_AFTER, [seq, until, AUDIT_PAGE_MAX])).map(recordOf);
  }

  /** The newest sequence; 0 when nothing was ever written. */
  async newest(): Promise<number> {
    return (await this.#database.get<HeadRow>(SELECT_HEAD))!.last ?? 0;
  }

  /**
   * Walks the whole log as it is now. `noted`, a head that was noted earlier, must be in it.
   * What is written meanwhile is not looked at.
   */
  async verify(noted?: AuditHead): Promise<AuditVerdict> {
    const head = (await this.#database.get<HeadRow>(SELECT_HEAD))!;
    const until = Math.max(head.seq ?? 0, head.last ?? 0);
    let hash: Uint8Array = GENESIS;
    for (let seq = 0; seq < until; ) {
      const rows = await this.#database.all<AuditRow>(SELECT_AFTER, [seq, until, AUDIT_PAGE_MAX]);
      if (rows.length === 0) return { sound: false, seq: seq + 1, why: "it is missing, and all after it" };
      for (const row of rows) {
        seq++;
        if (row.seq !== seq) return { sound: false, seq, why: "it is missing" };
        hash = chain(hash, row);
        if (!sameBytes(hash, row.hash)) return { sound: false, seq, why: "it was changed, or what was before it" };
        if (noted?.seq === seq && noted.hash !== hex(hash))
          return { sound: false, seq, why: "it is not the one that was noted" };
      }
    }
    const fault = headFault(head, this.#seal);
    if (fault !== undefined) return { sound: false, seq: until, why: fault };
    if (noted !== undefined && noted.seq > until)
      return { sound: false, seq: until + 1, why: "it is missing, and was noted" };
    return { sound: true, head: { seq: until, hash: hex(hash) } };
  }

  /**
   * Goes on after damage, for a person who has looked at it: the log continues behind its last row, beginning with a
   * record of who decided so and what was found. verify() names the damage for ever.
   */
  async acceptDamage(by: Actor, reason: string): Promise<AuditVerdict> {
    const found = await this.verify();
    if (found.sound) return found;
    const event: AuditEvent = { action: "audit.accept-damage", resource: "audit", outcome: "done", details: { reason, found } };
    const entry = { by, event, timeMs: this.#clock.nowMs() };
    checkSize(entry);
    await this.#database.transaction(async (sql) => {
      const head = (await sql.get<HeadRow>(SELECT_HEAD))!;
      // Never a sequence again that was used, also when its record has gone.
      const seq = Math.max(head.seq ?? 0, head.last ?? 0);
      await this.#link(sql, { seq, hash: head.last_hash ?? GENESIS }, [entry]);
    });
    return found;
  }
}

function tooMany(): SynclineError {
  return new SynclineError({
    code: "LIMIT",
    op: "write audit log",
    message: `${AUDIT_WAITING_MAX} audit records wait for the disk`,
    hint: "try again when the hub's disk has caught up",
    retryable: true,
  });
}

function checkSize({ by, event }: Entry): void {
  const fields = [by.id, by.address ?? "", by.traceId ?? "", event.action, event.resource];
  const details = event.details === undefined ? "" : JSON.stringify(event.details);
  if (fields.every((field) => printablePath(field).length <= AUDIT_FIELD_MAX) && details.length <= AUDIT_DETAILS_MAX) return;
  throw new SynclineError({ code: "LIMIT", op: "write audit log", message: "a field of an audit record is too long" });
}

/** SHA-256 of the hash before and of the record. As a JSON array no two records have the same text. */
function chain(previous: Uint8Array, row: Omit<AuditRow, "hash">): Uint8Array {
  const { seq, time_ms, actor, action, resource, outcome, address, trace_id, details } = row;
  const text = JSON.stringify([seq, time_ms, actor, action, resource, outcome, address, trace_id, details]);
  return new Uint8Array(createHash("sha256").update(previous).update(text).digest());
}

function headText(seq: number, hash: Uint8Array): string {
  return `audit head ${seq} ${hex(hash)}`;
}

/** Why the head and the last record do not belong together; undefined when they do, or nothing was ever written. */
function headFault(head: HeadRow, seal: SealKey): string | undefined {
  const { seq, hash, seal: mark, last, last_hash: lastHash } = head;
  if (seq === null || hash === null || mark === null) return last === null ? undefined : "the head of the log is missing";
  if (!seal.isMark(mark, headText(seq, hash))) return "the head of the log was not written by this hub";
  if (last === null || lastHash === null || last < seq) return "records at its end are missing";
  if (last > seq) return "records were added at its end";
  return sameBytes(hash, lastHash) ? undefined : "its last record is not the one that was written";
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function recordOf(row: AuditRow): AuditRecord {
  return {
    seq: row.seq,
    timeMs: row.time_ms,
    actor: row.actor,
    action: row.action,
    resource: row.resource,
    outcome: row.outcome,
    address: row.address ?? undefined,
    traceId: row.trace_id ?? undefined,
    details: row.details ?? undefined,
    hash: row.hash,
  };
}
