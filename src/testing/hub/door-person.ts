/**
 * Somebody who uses the space through a door of the hub: puts, removes, moves, restores, takes runs back and reads. What
 * was acknowledged is remembered, for the judge.
 */
import { ENCRYPTED, OPENER_BYTES, encryptionText, isEncrypted, storedPartBytes } from "#hub/encrypted-content.ts";
import type { CommitOutcome } from "#hub/meta/meta-store.ts";
import type { Expect, SpaceChange, Version } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import { type SumSeeds, sumOf } from "#sync/chunk/sum.ts";
import type { HubLedger } from "#testing/hub/hub-ledger.ts";
import { type HubProcess, SPACE, type SimHub, principal } from "#testing/hub/sim-hub.ts";
import { IGNORE_FILE } from "#testing/sim-oracle.ts";
import { SimCrash } from "#testing/sim-process.ts";
import { LARGE_BYTES, NAMES } from "#testing/sim-people.ts";
import type { SimRandom } from "#testing/sim-random.ts";

const WHO = principal("user", "ann");
/** Between a look and the change that expects what was seen. */
const LOOK_MS = 300;
const DEPTH_MAX = 3;
/** Conflict copies that are looked at. */
const CONFLICTS = 20;
/** Changes of sessions among which those are whose paths are interesting. */
const RECENT = 6;
/** What trouble of the hub may answer; everything else is a bug. */
const TROUBLES = ["DISK", "CHUNK_DAMAGED", "CHUNK_MISSING"];

/** A change that the hub said it has made. */
export type Acknowledged = {
  readonly sequence: number;
  readonly path: RelPath;
  readonly what: string;
  readonly expect: Expect;
  /** Of a file that was put. */
  readonly sum: string | undefined;
};

export class DoorPerson {
  readonly name = "door";
  readonly acknowledged: Acknowledged[] = [];
  /** Files that were encrypted. */
  encrypted = 0;
  /** Restore points by name. */
  readonly points = new Map<string, number>();
  /** What should never be answered. */
  readonly breaches: unknown[] = [];
  #hub: SimHub;
  readonly #random: SimRandom;
  readonly #ledger: HubLedger;
  readonly #prefixes: readonly RelPath[];
  readonly #seeds: SumSeeds;
  /** Of what is encrypted, in lives in which some of it is. */
  readonly #sealing: SimRandom | undefined;
  #points = 0;

  constructor(
    hub: SimHub,
    random: SimRandom,
    ledger: HubLedger,
    { prefixes, seeds, encrypts }: { readonly prefixes: readonly RelPath[]; readonly seeds: SumSeeds; readonly encrypts: boolean },
  ) {
    this.#hub = hub;
    this.#random = random;
    this.#ledger = ledger;
    this.#prefixes = prefixes;
    this.#seeds = seeds;
    this.#sealing = encrypts ? random.fork("sealing") : undefined;
  }

  goTo(hub: SimHub): void {
    this.#hub = hub;
  }

  /** The hub came back as it was at a sequence, with these restore points. */
  forget(after: number, points: ReadonlySet<string>): void {
    const kept = this.acknowledged.filter(({ sequence }) => sequence <= after);
    this.acknowledged.splice(0, this.acknowledged.length, ...kept);
    for (const name of this.points.keys()) if (!points.has(name)) this.points.delete(name);
  }

  /** Does one thing; resolves when it is done, or the hub has died in the middle of it. Never rejects. */
  async act(): Promise<void> {
    const process = await this.#hub.living();
    const work = this.#act(process).catch((error: unknown) => {
      if (!this.#isThere(process) || error instanceof SimCrash) return;
      const isTrouble = error instanceof SynclineError && TROUBLES.includes(error.code);
      this.#ledger.say(`door: ${isTrouble ? error.code : String(error)}`);
      if (!isTrouble) this.breaches.push(error);
    });
    await Promise.race([work, process.ended]);
  }

  /** Neither dead nor on its way to its end. */
  #isThere(process: HubProcess): boolean {
    return this.#hub.process === process;
  }

  async #act(process: HubProcess): Promise<void> {
    const draw = this.#random.int(100);
    const path = this.#path();
    if (draw < 36) return this.#put(process, path);
    if (draw < 42) return this.#several(process, [path, this.#path(), this.#path()]);
    if (draw < 54) return this.#remove(process, path);
    if (draw < 68) return this.#move(process, path, this.#path());
    if (draw < 78) return this.#restore(process, this.#random.chance(0.3) ? "" : path);
    if (draw < 86) return this.#undo(process);
    if (draw < 90) return this.#mark(process);
    if (draw < 95) return this.#decide(process);
    return this.#read(process, path);
  }

  #path(): RelPath {
    // Often where somebody else is at work.
    // Rules are for those to write who know how long a line of them may be.
    const recent = this.#hub.believed.slice(-RECENT).filter(({ path }) => !path.endsWith(IGNORE_FILE));
    if (recent.length > 0 && this.#random.chance(0.6)) return this.#random.pick(recent).path;
    const names = Array.from({ length: 1 + this.#random.int(DEPTH_MAX) }, () => this.#random.pick(NAMES));
    const prefix = this.#random.pick(this.#prefixes);
    return prefix === "" ? names.join("/") : `${prefix}/${names.join("/")}`;
  }

  #traceId(): string {
    return this.#random.bytes(16).toHex();
  }

  /** Looks, thinks, and expects what was seen. */
  async #expect({ spaces }: HubProcess, path: RelPath): Promise<Expect> {
    if (this.#random.chance(0.3)) return { kind: "any" };
    if (this.#random.chance(0.2)) return { kind: "absent" };
    const seen: Version | undefined = await spaces.version(WHO, SPACE, path);
    await this.#hub.clock.turn(this.#random.real() * LOOK_MS);
    if (this.#random.chance(0.3)) return { kind: "entry", entry: seen?.entry };
    return { kind: "sequence", sequence: seen?.sequence ?? 0 };
  }

  async #put(process: HubProcess, path: RelPath): Promise<void> {
    const expect = await this.#expect(process, path);
    const kind = this.#random.int(10);
    if (kind === 0) {
      const entry = { kind: "dir", mode: 0o755 } as const;
      return this.#change(process, "mkdir", { type: "put", path, expect, entry, content: undefined, makeParents: true });
    }
    if (kind === 1) {
      const entry = { kind: "symlink", target: "a" } as const;
      return this.#change(process, "symlink", { type: "put", path, expect, entry, content: undefined, makeParents: true });
    }
    if (this.#sealing?.chance(0.35) === true) return this.#putEncrypted(process, path, expect, this.#sealing);
    await using intake = process.spaces.intake(WHO, SPACE);
    const size = this.#random.chance(0.1) ? LARGE_BYTES : this.#random.pick([12, 40, 5000]);
    const bytes = this.#ledger.fresh(this, size);
    const { content, sum } = await intake.store(bytes);
    if (this.#random.chance(0.3)) await this.#hub.clock.turn(this.#random.real() * LOOK_MS);
    const mode = this.#random.pick([0o644, 0o600]);
    const entry = { kind: "file", size: bytes.length, mode, mtimeNs: this.#hub.clock.nowNs(), sum } as const;
    const change: SpaceChange = { type: "put", path, expect, entry, content, makeParents: this.#random.chance(0.7) };
    await this.#change(process, "put", change, intake);
  }

  /** As the S3 door does it for who sends a key along: the bytes say nothing to anybody here. */
  async #putEncrypted(process: HubProcess, path: RelPath, expect: Expect, random: SimRandom): Promise<void> {
    await using intake = process.spaces.intake(WHO, SPACE);
    const size = random.pick([0, 12, 5000, LARGE_BYTES]);
    const { content } = await intake.store(random.bytes(storedPartBytes(size)));
    const entry = { kind: "file", size, mode: 0o644, mtimeNs: this.#hub.clock.nowNs(), sum: undefined } as const;
    const text = encryptionText({ opener: random.bytes(OPENER_BYTES), parts: [{ number: 1, size }], sums: {} });
    const change: SpaceChange = { type: "put", path, expect, entry, content, attributes: { [ENCRYPTED]: text }, makeParents: random.chance(0.7) };
    await this.#change(process, "encrypt", change, intake);
  }

  async #remove(process: HubProcess, path: RelPath): Promise<void> {
    const expect = await this.#expect(process, path);
    await this.#change(process, "remove", { type: "remove", path, expect, recursive: this.#random.chance(0.6) });
  }

  async #move(process: HubProcess, from: RelPath, to: RelPath): Promise<void> {
    if (from === to || to.startsWith(`${from}/`)) return;
    await this.#change(process, "move", { type: "move", from, to, expect: { kind: "present" } });
  }

  async #change(
    process: HubProcess,
    what: string,
    change: SpaceChange,
    intake?: ReturnType<HubProcess["spaces"]["intake"]>,
  ): Promise<void> {
    const path = change.type === "move" ? `${change.from} to ${change.to}` : change.path;
    this.#ledger.say(`door: ${what} ${path} ${change.expect.kind}`);
    const request = { changes: [change], intake, atomic: true, cause: "upload", traceId: this.#traceId(), isAlone: true } as const;
    const outcome = await process.spaces.commit(WHO, SPACE, request);
    this.#acknowledge(process, what, outcome.results, change);
  }

  /** All of them or none. */
  async #several(process: HubProcess, paths: readonly RelPath[]): Promise<void> {
    const entry = { kind: "dir", mode: 0o750 } as const;
    const changes: SpaceChange[] = [];
    for (const path of paths) {
      const expect = await this.#expect(process, path);
      if (this.#random.chance(0.3)) changes.push({ type: "remove", path, expect, recursive: true });
      else changes.push({ type: "put", path, expect, entry, content: undefined, makeParents: true });
    }
    this.#ledger.say(`door: all of ${paths.join(", ")}`);
    const request = { changes, intake: undefined, atomic: true, cause: "edit", traceId: this.#traceId() } as const;
    this.#allOrNone(process, "several", await process.spaces.commit(WHO, SPACE, request));
  }

  #allOrNone(process: HubProcess, what: string, { results, before, after }: CommitOutcome): void {
    const isDone = results.every(({ status }) => status === "done");
    const made = results.some(({ status }) => status === "done") || after !== before;
    if (made && !isDone) throw new Error(`${what} was made in part: ${before} to ${after}`);
    this.#acknowledge(process, what, results);
  }

  #acknowledge(process: HubProcess, what: string, results: CommitOutcome["results"], change?: SpaceChange): void {
    if (!this.#isThere(process)) return;
    for (const result of results) {
      const { status, path } = result;
      if (status !== "done") {
        this.#ledger.say(`   door: ${path} ${status} ${status === "refused" ? result.code : ""}`);
        continue;
      }
      const { sequence, entry } = result.version;
      this.#ledger.say(`   door: ${path} is ${sequence}`);
      const sum = entry?.kind === "file" ? entry.sum : undefined;
      if (what === "encrypt") this.encrypted++;
      this.acknowledged.push({ sequence, path, what, expect: change?.expect ?? { kind: "any" }, sum });
    }
  }

  async #restore(process: HubProcess, below: RelPath): Promise<void> {
    const { sequence } = await process.spaces.space(WHO, SPACE);
    const to = { sequence: this.#random.int(sequence + 1) };
    this.#ledger.say(`door: restore "${below}" to ${to.sequence} of ${sequence}`);
    const request = { cause: "restore", traceId: this.#traceId() } as const;
    this.#allOrNone(process, "restore", await process.spaces.restore(WHO, SPACE, below, to, request));
  }

  /** Of a run of an agent, or of a restore. */
  async #undo(process: HubProcess): Promise<void> {
    const { spaces } = process;
    const records = await spaces.journal(WHO, SPACE, 0, 10_000);
    const runs = [...new Set(records.flatMap(({ origin }) => origin.runId ?? []))];
    if (runs.length === 0) return;
    const runId = this.#random.pick(runs.slice(-4));
    this.#ledger.say(`door: undo ${runId}`);
    this.#acknowledge(process, "undo", await spaces.undoRun(WHO, SPACE, runId, this.#traceId()));
  }

  /** About a conflict copy, some time after it was looked at. */
  async #decide(process: HubProcess): Promise<void> {
    const { spaces } = process;
    const page = await spaces.conflicts(WHO, SPACE, { below: "", after: undefined, limit: CONFLICTS });
    if (page.conflicts.length === 0) return;
    const { copy } = this.#random.pick(page.conflicts);
    const keep = this.#random.pick(["both", "copy", "current"] as const);
    await this.#hub.clock.turn(this.#random.real() * LOOK_MS);
    this.#ledger.say(`door: keeps ${keep} of ${copy.path}`);
    const decision = { copy: copy.path, keep, as: undefined, seen: this.#random.chance(0.7) ? page.sequence : undefined };
    try {
      const { outcome } = await spaces.resolveConflict(WHO, SPACE, decision, { traceId: this.#traceId() });
      this.#allOrNone(process, "decide", outcome);
    } catch (error) {
      // Somebody was there before, or retention.
      const isOld = error instanceof SynclineError && ["STALE", "NOT_FOUND", "CHUNK_MISSING", "USAGE"].includes(error.code);
      if (!isOld) throw error;
    }
  }

  async #mark(process: HubProcess): Promise<void> {
    const name = `p${this.#points++}`;
    const { sequence } = await process.spaces.createRestorePoint(WHO, SPACE, name);
    this.#ledger.say(`door: restore point ${name} at ${sequence}`);
    if (this.#isThere(process)) this.points.set(name, sequence);
  }

  async #read({ spaces }: HubProcess, path: RelPath): Promise<void> {
    const version = await spaces.version(WHO, SPACE, path);
    if (version?.entry?.kind !== "file") return;
    if (isEncrypted(version)) {
      const told = await spaces.open(WHO, SPACE, version).catch((error: unknown) => (error instanceof SynclineError ? error.code : error));
      if (told !== "ENCRYPTED") throw new Error(`${path} is encrypted, and reading it gave ${String(told)}`);
      return;
    }
    const reader = await spaces.open(WHO, SPACE, version);
    const bytes = new Uint8Array(reader.size);
    await reader.read(bytes, 0);
    const isRight = bytes.length === version.entry.size && sumOf(bytes, this.#seeds) === version.entry.sum;
    if (!isRight) throw new Error(`${path} reads as other bytes than it says`);
  }
}
