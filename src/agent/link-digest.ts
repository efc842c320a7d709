/**
 * The digest of what a link's session agrees on with its space, for heartbeats. Computed when the link is at rest, at a
 * sequence that it was not computed at yet, and never for more than a small part of the time; directory by directory, so
 * that nothing else waits. What changes meanwhile makes it void.
 */
import type { RelPath } from "#model/path.ts";
import { joinPath } from "#model/path.ts";
import type { Clock } from "#platform/host.ts";
import { entryCodec } from "#sync/index/record-codecs.ts";
import type { Store } from "#sync/index/store.ts";
import { savedIgnored } from "#sync/session/state-records.ts";
import { LinkDigest } from "#sync/wire/link-digest.ts";

/** Between two computations at least, and so many times as long as the last one took. */
export const DIGEST_EVERY_MS = 30_000;
const REST_FACTOR = 50;
/** Entries of one turn of the event loop. */
const SLICE = 2000;

export type DigestSource = {
  readonly store: Store;
  /** The space's sequence up to which the link has applied everything. */
  readonly sequence: number;
  /** Ends with the session: its store is closed then. */
  readonly signal: AbortSignal;
};

export class LinkDigestKeeper {
  readonly #clock: Clock;
  readonly #onDone: () => void;
  #known: { readonly sequence: number; readonly text: string } | undefined;
  #isRunning = false;
  #nextMono = Number.NEGATIVE_INFINITY;
  /** Another number after every change of what is agreed. */
  #version = 0;

  /** @param onDone there is something to tell */
  constructor(clock: Clock, onDone: () => void) {
    this.#clock = clock;
    this.#onDone = onDone;
  }

  /** What is agreed may be something else now. */
  changed(): void {
    this.#version++;
    this.#known = undefined;
  }

  /** At `sequence`, where it is known. */
  at(sequence: number): string | null {
    return this.#known?.sequence === sequence ? this.#known.text : null;
  }

  /** The link is at rest: computes, if it is time to. */
  rest(source: DigestSource): void {
    if (this.#isRunning || source.signal.aborted || this.#known?.sequence === source.sequence) return;
    if (this.#clock.monotonicMs() < this.#nextMono) return;
    this.#isRunning = true;
    void this.#compute(source)
      .catch(() => undefined)
      .finally(() => (this.#isRunning = false));
  }

  async #compute({ store, sequence, signal }: DigestSource): Promise<void> {
    const ignored = savedIgnored(store);
    if (ignored === undefined) return;
    const version = this.#version;
    const beganMono = this.#clock.monotonicMs();
    const digest = new LinkDigest();
    const ancestor = store.tree("ancestor", entryCodec);
    const waiting: RelPath[] = [""];
    let left = SLICE;
    for (let dir = waiting.pop(); dir !== undefined; dir = waiting.pop()) {
      for (const { name, record } of ancestor.children(dir)) {
        const path = dir === "" ? name : joinPath(dir, name);
        if (ignored.has(path)) continue;
        if (!digest.add(path, record)) return;
        if (record.kind === "dir") waiting.push(path);
        if (--left > 0) continue;
        left = SLICE;
        await this.#clock.sleep(0, signal);
        if (this.#version !== version) return;
      }
    }
    const now = this.#clock.monotonicMs();
    this.#nextMono = Math.max(beganMono + DIGEST_EVERY_MS, now + (now - beganMono) * REST_FACTOR);
    this.#known = { sequence, text: digest.text() };
    this.#onDone();
  }
}
