/** What the machine and the operator of a simulated hub do to its chunks: rot, upkeep, and healing from outside. */
import { type Expired, type ScrubCursor, type Scrubbed, expireOld, pruneChunks, scrubBegin, scrubChunks } from "#hub/upkeep.ts";
import type { PruneResult } from "#store/chunk-store.ts";
import type { RelPath } from "#model/path.ts";
import { type HubProcess, PACKS, SPACE, type SimHub, UNRECORDED, principal } from "#testing/hub/sim-hub.ts";
import type { SimRandom } from "#testing/sim-random.ts";

/** Further than the grace of chunks: in a simulation nothing is safe because it is young. */
const AHEAD_MS = 48 * 3_600_000;
/** More than a simulated hub has. */
const SCRUB_BYTES = 1 << 30;
export const OPERATOR = principal("user", "operator");
const never = new AbortController().signal;

/** Upkeep of whatever process lives when a round begins. */
export function upkeepOf(hub: SimHub): { round(signal: AbortSignal): Promise<Expired & PruneResult & Scrubbed> } {
  let cursor: string | undefined;
  const kept: ScrubCursor = { read: async () => cursor, write: async (next) => void (cursor = next) };
  return {
    round: async (signal) => {
      const { meta, chunks, boot, uploads } = hub.process!;
      const clock = {
        nowMs: () => boot.clock.nowMs() + AHEAD_MS,
        monotonicMs: () => boot.clock.monotonicMs(),
        sleep: (ms: number, until: AbortSignal) => boot.clock.sleep(ms, until),
      };
      const unfinished = () => uploads.liveChunks();
      const goOn = (): Promise<void> => Promise.resolve();
      const nothing = { erasedSpaces: 0, expiredVersions: 0 };
      const expired = await expireOld({ meta, audit: UNRECORDED, clock }, nothing, goOn, signal);
      const pruned = await pruneChunks({ meta, chunks, clock, unfinished }, 1, signal);
      const from = await scrubBegin(kept, false);
      const scrubbed = await scrubChunks({ chunks, cursor: kept, onDamaged: goOn }, SCRUB_BYTES, from, goOn, signal);
      return { ...expired, ...pruned, ...scrubbed };
    },
  };
}

/** One bit of one pack flips. */
export function rotChunks(hub: SimHub, random: SimRandom, say: (line: string) => void): void {
  const { disk } = hub.host;
  const packs = [...disk.inodeAt(PACKS).entries!.values()].filter(({ name, inode }) => {
    return name.endsWith(".pack") && inode.content !== undefined && inode.content.size > 0;
  });
  if (packs.length === 0) return;
  const { name, inode } = random.pick(packs);
  const position = random.int(inode.content!.size);
  say(`hub: rot in ${name} at ${position}`);
  disk.flipBit(`${PACKS}/${name}`, position);
}

/** Everything is looked at, and what anybody ever wrote is sent again: a chunk that is damaged takes the new bytes. */
export async function healChunks(hub: SimHub, contents: readonly Uint8Array[]): Promise<void> {
  const { chunks, spaces } = await hub.living();
  await chunks.scrub(undefined, Number.MAX_SAFE_INTEGER, never);
  await using intake = spaces.intake(OPERATOR, SPACE);
  for (const bytes of contents) await intake.store(bytes);
  await intake.flush();
}

export async function hasDir({ spaces }: HubProcess, path: RelPath): Promise<boolean> {
  return path === "" || (await spaces.version(OPERATOR, SPACE, path))?.entry?.kind === "dir";
}

/** A directory of the space, where it is gone or something else took its place. Returns whether it was made. */
export async function makeDir(process: HubProcess, path: RelPath): Promise<boolean> {
  if (await hasDir(process, path)) return false;
  const entry = { kind: "dir", mode: 0o755 } as const;
  const expect = { kind: "any" } as const;
  const change = { type: "put", path, expect, entry, content: undefined, makeParents: false } as const;
  const request = { changes: [change], intake: undefined, atomic: true, cause: "edit", traceId: "0".repeat(32) } as const;
  const { results } = await process.spaces.commit(OPERATOR, SPACE, request);
  if (results[0]!.status !== "done") throw new Error(`the operator could not make ${path}`);
  return true;
}
