/** rsync and ours in turn over the same source: A B A B. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { forgetDisks, syncDisks } from "./processes.ts";
import { RsyncDaemon, type Transfer } from "./rsync.ts";
import { requireSameTrees } from "./same-trees.ts";
import { SynclinePair } from "./syncline.ts";
import type { BenchContext, Measured } from "./workload.ts";

export type DuelOptions = {
  readonly name: string;
  readonly source: string;
  readonly runs: number;
  /** `fresh`: each run copies to an empty place. `kept`: both copied once, untimed, and each run goes on from there. */
  readonly destination: "fresh" | "kept";
  /** Nothing of either side is in memory when a run of `fresh` begins. */
  readonly isCold?: boolean | undefined;
  /** Alters the source before a round; both copy the same change. */
  readonly change?: ((round: number) => void) | undefined;
  readonly rsyncOptions?: readonly string[] | undefined;
};

export type DuelResult = Record<"seconds" | "wireBytes", { readonly ours: number[]; readonly peer: number[] }>;

/** The series of a duel as rows: time and, where it has a row, bytes on the wire. */
export function duelRows(result: DuelResult, ids: { readonly time?: string; readonly bytes?: string }): Measured[] {
  const rows: Measured[] = [];
  if (ids.time !== undefined) rows.push({ id: ids.time, ...result.seconds });
  if (ids.bytes !== undefined) rows.push({ id: ids.bytes, ...result.wireBytes });
  return rows;
}

/** @throws {WrongResult} when a destination is not like the source after a run */
export async function duel(context: BenchContext, options: DuelOptions): Promise<DuelResult> {
  const dir = join(context.dir, options.name);
  mkdirSync(dir, { recursive: true });
  try {
    const result: DuelResult = { seconds: { ours: [], peer: [] }, wireBytes: { ours: [], peer: [] } };
    const note = (who: "ours" | "peer", round: number, transfer: Transfer): void => {
      result.seconds[who].push(transfer.seconds);
      result.wireBytes[who].push(transfer.wireBytes);
      const bytes = transfer.wireBytes.toLocaleString("en");
      const name = who === "ours" ? "syncline" : "rsync";
      context.say(`  ${round}. ${name}: ${transfer.seconds.toFixed(3)} s, ${bytes} bytes`);
    };
    await using daemon = await RsyncDaemon.start(join(dir, "rsync"));
    if (options.destination === "fresh") await freshRounds(dir, daemon, options, note);
    else await keptRounds(dir, daemon, options, note);
    return result;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

type Note = (who: "ours" | "peer", round: number, transfer: Transfer) => void;

/**
 * What was copied stays until the end: ext4 passes over the inodes of files that were deleted in the last minutes, one by
 * one, and a first copy after the removal of 100,000 files would measure little else.
 */
async function freshRounds(dir: string, daemon: RsyncDaemon, options: DuelOptions, note: Note): Promise<void> {
  const { source, rsyncOptions = [], isCold = false } = options;
  const settle = isCold ? forgetDisks : syncDisks;
  for (let round = 1; round <= options.runs; round++) {
    options.change?.(round);
    const folder = `copy-${round}`;
    settle();
    note("peer", round, await daemon.push(source, folder, rsyncOptions));
    requireSameTrees("rsync", source, join(daemon.dir, folder));

    const pairDir = join(dir, `pair-${round}`);
    {
      await using pair = await SynclinePair.open(pairDir, source);
      settle();
      note("ours", round, await pair.sync());
      requireSameTrees("syncline", source, pair.destination);
    }
  }
}

async function keptRounds(dir: string, daemon: RsyncDaemon, options: DuelOptions, note: Note): Promise<void> {
  const { source, rsyncOptions = [] } = options;
  await using pair = await SynclinePair.open(join(dir, "pair"), source);
  await daemon.push(source, "kept", rsyncOptions);
  await pair.sync();
  for (let round = 1; round <= options.runs; round++) {
    options.change?.(round);
    syncDisks();
    note("peer", round, await daemon.push(source, "kept", rsyncOptions));
    requireSameTrees("rsync", source, join(daemon.dir, "kept"));
    syncDisks();
    note("ours", round, await pair.sync());
    requireSameTrees("syncline", source, pair.destination);
  }
}
