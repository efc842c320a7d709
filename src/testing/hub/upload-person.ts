/**
 * Somebody who sends files to a simulated hub as uploads, in pieces that may be far apart: as streams and in parts, given
 * up in the middle, gone on with after a crash, completed or aborted. What was acknowledged must be there.
 */
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import type { UploadId, UploadKind, Uploader } from "#hub/uploads/upload.ts";
import { type SumSeeds, sumOf } from "#sync/chunk/sum.ts";
import type { DoorPerson } from "#testing/hub/door-person.ts";
import type { HubLedger } from "#testing/hub/hub-ledger.ts";
import { type HubProcess, SPACE, type SimHub, principal } from "#testing/hub/sim-hub.ts";
import { SimCrash } from "#testing/sim-process.ts";
import { LARGE_BYTES, NAMES } from "#testing/sim-people.ts";
import type { SimRandom } from "#testing/sim-random.ts";

const BY: Uploader = { who: principal("user", "bob"), door: "simulation" };
/** Uploads that are open at a time. */
const OPEN_MAX = 3;
/** Parts of a file that is sent so. */
const PARTS = 3;
/** Between two pieces of one append. */
const PAUSE_MS = 200;

type Sending = {
  readonly id: UploadId;
  readonly path: RelPath;
  readonly kind: UploadKind;
  readonly bytes: Uint8Array;
  /** Of a stream: bytes that were acknowledged. */
  acknowledged: number;
  /** Numbers that were acknowledged. */
  readonly parts: Set<number>;
  isBusy: boolean;
  /** Its completion was asked for once: it may have ended, and nobody was told. */
  mayHaveEnded: boolean;
};

export class UploadPerson {
  readonly name = "uploader";
  /** Uploads that became files. */
  completed = 0;
  #hub: SimHub;
  readonly #random: SimRandom;
  readonly #ledger: HubLedger;
  readonly #door: DoorPerson;
  readonly #prefixes: readonly RelPath[];
  readonly #seeds: SumSeeds;
  #open: Sending[] = [];

  constructor(
    hub: SimHub,
    random: SimRandom,
    ledger: HubLedger,
    { door, prefixes, seeds }: { door: DoorPerson; prefixes: readonly RelPath[]; seeds: SumSeeds },
  ) {
    this.#hub = hub;
    this.#random = random;
    this.#ledger = ledger;
    this.#door = door;
    this.#prefixes = prefixes;
    this.#seeds = seeds;
  }

  goTo(hub: SimHub): void {
    this.#hub = hub;
  }

  /** The hub knows nothing of what is open, or less than it said. */
  forget(): void {
    this.#open = [];
  }

  /** Does one thing; resolves when it is done, or the hub has died in the middle of it. Never rejects. */
  async act(): Promise<void> {
    const process = await this.#hub.living();
    const idle = this.#open.filter(({ isBusy }) => !isBusy);
    const one = idle.length === 0 || (this.#open.length < OPEN_MAX && this.#random.chance(0.3)) ? undefined : this.#random.pick(idle);
    if (one === undefined && this.#open.length >= OPEN_MAX) return;
    if (one !== undefined) one.isBusy = true;
    const work = (one === undefined ? this.#begin(process) : this.#goOn(process, one)).catch((error: unknown) => {
      if (!this.#isThere(process) || error instanceof SimCrash) return;
      this.#say(String(error));
      if (!(error instanceof SynclineError && error.code === "DISK")) this.#door.breaches.push(error);
    });
    await Promise.race([work, process.ended]);
    if (one !== undefined) one.isBusy = false;
  }

  #isThere(process: HubProcess): boolean {
    return this.#hub.process === process;
  }

  #say(line: string): void {
    this.#ledger.say(`uploader: ${line}`);
  }

  async #begin(process: HubProcess): Promise<void> {
    const names = Array.from({ length: 1 + this.#random.int(2) }, () => this.#random.pick(NAMES));
    const path = [this.#random.pick(this.#prefixes), ...names].filter((name) => name !== "").join("/");
    const kind = this.#random.pick(["stream", "parts"] as const);
    const bytes = this.#ledger.fresh(this, this.#random.pick([0, 9000, LARGE_BYTES]));
    const size = this.#random.chance(0.5) ? bytes.length : undefined;
    const { id } = await process.uploads.create(BY, { space: SPACE, path, kind, size });
    if (!this.#isThere(process)) return;
    this.#say(`begins ${kind} ${path} of ${bytes.length}`);
    this.#open.push({ id, path, kind, bytes, acknowledged: 0, parts: new Set(), isBusy: false, mayHaveEnded: false });
  }

  async #goOn(process: HubProcess, one: Sending): Promise<void> {
    const isWhole = one.kind === "stream" ? one.acknowledged === one.bytes.length : one.parts.size === PARTS;
    if (this.#random.chance(0.05)) return this.#abort(process, one);
    if (isWhole) return this.#complete(process, one);
    return one.kind === "stream" ? this.#append(process, one) : this.#part(process, one);
  }

  async #abort({ uploads }: HubProcess, one: Sending): Promise<void> {
    this.#say(`aborts ${one.path}`);
    this.#drop(one);
    await uploads.abort(BY, one.id).catch((error: unknown) => {
      if (!(one.mayHaveEnded && error instanceof SynclineError && error.code === "NOT_FOUND")) throw error;
    });
  }

  #drop(one: Sending): void {
    this.#open = this.#open.filter((other) => other !== one);
  }

  async #append(process: HubProcess, one: Sending): Promise<void> {
    const { received } = await process.uploads.get(BY, one.id);
    if (received < one.acknowledged) throw new Error(`of ${one.path} ${one.acknowledged} had come, now ${received}`);
    const to = Math.min(one.bytes.length, received + 1 + this.#random.int(one.bytes.length));
    {
      await using sink = await process.uploads.append(BY, one.id, received);
      const middle = received + Math.floor((to - received) / 2);
      await sink.write(one.bytes.slice(received, middle));
      await this.#hub.clock.turn(this.#random.real() * PAUSE_MS);
      await sink.write(one.bytes.slice(middle, to));
      // Its client breaks off: what has come counts, and nobody was told how much that is.
      if (this.#random.chance(0.3)) return;
      await sink.end();
      const offset = await sink.commit();
      if (offset !== to) throw new Error(`${one.path} is acknowledged up to ${offset}, not ${to}`);
    }
    if (!this.#isThere(process)) return;
    this.#say(`${one.path} up to ${to}`);
    one.acknowledged = to;
  }

  async #part(process: HubProcess, one: Sending): Promise<void> {
    const there = new Map((await process.uploads.parts(BY, one.id, 0, PARTS)).map((part) => [part.number, part.size]));
    for (const number of one.parts) {
      if (there.get(number) !== partOf(one, number).length) throw new Error(`part ${number} of ${one.path} had come, and is gone`);
    }
    // Also one that is there already, with the same bytes.
    const number = 1 + this.#random.int(PARTS);
    const bytes = partOf(one, number);
    {
      await using sink = await process.uploads.part(BY, one.id, number);
      await sink.write(bytes.slice());
      await this.#hub.clock.turn(this.#random.real() * PAUSE_MS);
      await sink.end();
      if (this.#random.chance(0.2)) return;
      await sink.commit();
    }
    if (!this.#isThere(process)) return;
    this.#say(`${one.path} part ${number}`);
    one.parts.add(number);
  }

  async #complete(process: HubProcess, one: Sending): Promise<void> {
    const { path, id, bytes } = one;
    const traceId = this.#random.bytes(16).toHex();
    one.mayHaveEnded = true;
    const { result } = await process.uploads.complete(BY, id, { traceId });
    if (!this.#isThere(process)) return;
    this.#drop(one);
    this.#say(`${path} ${result.status === "done" ? `is ${result.version.sequence}` : result.status}`);
    if (result.status !== "done") return;
    const { entry, sequence } = result.version;
    const sum = entry?.kind === "file" ? entry.sum : undefined;
    if (sum !== sumOf(bytes, this.#seeds)) throw new Error(`the upload of ${path} came to other bytes`);
    this.completed++;
    this.#door.acknowledged.push({ sequence, path, what: "upload", expect: { kind: "any" }, sum });
  }
}

function partOf({ bytes }: Sending, number: number): Uint8Array {
  const size = Math.ceil(bytes.length / PARTS);
  return bytes.subarray((number - 1) * size, number * size);
}
