/** What a link's session observes of its space: the whole listing at first, then what the journal has since. */
import type { LinkView } from "#hub/endpoint/link-view.ts";
import type { SpaceRules } from "#hub/endpoint/space-rules.ts";
import type { Version } from "#hub/space.ts";
import type { Observation } from "#model/observation.ts";
import { type RelPath, nameOf, parentOf } from "#model/path.ts";
import { BATCH_ITEMS_MAX, type OnObserved } from "#sync/endpoint/endpoint.ts";
import { IGNORE_FILE } from "#sync/scan/ignore.ts";

/** Changes kept in memory between the look for new rules and the telling. */
const REMEMBERED_MAX = 10_000;

class Batches {
  readonly #onBatch: OnObserved;
  #batch: Observation[] = [];

  constructor(onBatch: OnObserved) {
    this.#onBatch = onBatch;
  }

  async add(one: Observation): Promise<void> {
    this.#batch.push(one);
    if (this.#batch.length >= BATCH_ITEMS_MAX) await this.flush();
  }

  async flush(): Promise<void> {
    const batch = this.#batch;
    this.#batch = [];
    if (batch.length > 0) await this.#onBatch(batch, []);
  }
}

/** Everything that is there and not ignored, in path order. Returns the number of entries. */
export async function observeAll(
  view: LinkView,
  rules: SpaceRules,
  onBatch: OnObserved,
  signal: AbortSignal,
): Promise<number> {
  const batches = new Batches(onBatch);
  let entries = 0;
  for await (const version of view.walk("")) {
    signal.throwIfAborted();
    const { path, entry } = version;
    if (entry === undefined || (await rules.ignores(path, entry.kind === "dir"))) continue;
    entries++;
    await batches.add({ state: "present", path, entry });
  }
  await batches.flush();
  return entries;
}

/**
 * What changed after `sequence`. Where an ignore file changed, everything in its directory is told again under the new
 * rules: what is no longer seen is "ignored", and never absent.
 */
export async function observeSince(
  view: LinkView,
  rules: SpaceRules,
  sequence: number,
  onBatch: OnObserved,
  signal: AbortSignal,
): Promise<void> {
  const changed: Version[] = [];
  const ruled = new Set<RelPath>();
  let isWhole = true;
  for await (const version of view.changedSince(sequence)) {
    signal.throwIfAborted();
    if (changed.length < REMEMBERED_MAX) changed.push(version);
    else isWhole = false;
    if (nameOf(version.path) === IGNORE_FILE) ruled.add(parentOf(version.path));
    // A directory that came or went may bring or take its ignore files with it.
    if (version.entry?.kind !== "file") rules.clear();
  }
  if (ruled.size > 0) rules.clear();
  const batches = new Batches(onBatch);
  // All rules are known before the first is told; what is too much to remember is read again.
  for await (const version of isWhole ? changed : view.changedSince(sequence)) {
    signal.throwIfAborted();
    await batches.add(await observed(rules, version));
  }
  for (const dir of ruled) {
    for await (const version of view.walk(dir)) {
      signal.throwIfAborted();
      await batches.add(await observed(rules, version));
    }
  }
  await batches.flush();
}

async function observed(rules: SpaceRules, { path, entry }: Version): Promise<Observation> {
  if (entry === undefined) return { state: "absent", path };
  return (await rules.ignores(path, entry.kind === "dir")) ? { state: "ignored", path } : { state: "present", path, entry };
}
