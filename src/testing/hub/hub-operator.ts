/** What the machine and the operator of a simulated hub do to its chunks: rot, upkeep, and healing from outside. */
import { Upkeep } from "#hub/upkeep.ts";
import { PACKS, SPACE, type SimHub, UNRECORDED, principal } from "#testing/hub/sim-hub.ts";
import type { SimRandom } from "#testing/sim-random.ts";

/** Further than the grace of chunks: in a simulation nothing is safe because it is young. */
const AHEAD_MS = 48 * 3_600_000;
const never = new AbortController().signal;

/** Upkeep of whatever process lives when a round begins. */
export function upkeepOf(hub: SimHub, onError: (error: unknown) => void): { round: Upkeep["round"] } {
  let cursor: string | undefined;
  return {
    round: (fractionMax, signal) => {
      const { meta, chunks, boot } = hub.process!;
      const { clock } = boot;
      const ahead = {
        nowMs: () => clock.nowMs() + AHEAD_MS,
        monotonicMs: () => clock.monotonicMs(),
        sleep: (ms: number, until: AbortSignal) => clock.sleep(ms, until),
      };
      const upkeep = new Upkeep({
        meta,
        chunks,
        audit: UNRECORDED,
        clock: ahead,
        cursor: { read: async () => cursor, write: async (next) => void (cursor = next) },
        onRound: () => undefined,
        onError,
      });
      return upkeep.round(fractionMax, signal);
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
  await using intake = spaces.intake(principal("user", "operator"), SPACE);
  for (const bytes of contents) await intake.store(bytes);
  await intake.flush();
}
