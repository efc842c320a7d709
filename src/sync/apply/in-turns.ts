/** Work on one large file in pieces, between which everything else in the process has its turn. */
import { type SumSeeds, Summer } from "#sync/chunk/sum.ts";
import { BYTES_BETWEEN_TURNS, COPY_BYTES_MAX } from "#sync/transfer/limits.ts";
import type { Fd, FileSystem } from "#platform/file-system.ts";

const readBuffer = new Uint8Array(1 << 20);

export class Turns {
  readonly #turn: () => Promise<void>;
  #sinceTurn = 0;

  /** @param turn lets the others go on; rejects when nobody wants the work any more */
  constructor(turn: () => Promise<void>) {
    this.#turn = turn;
  }

  /** To be awaited after each piece. Undefined: it is not their turn yet. */
  worked(bytes: number): Promise<void> | undefined {
    this.#sinceTurn += bytes;
    if (this.#sinceTurn < BYTES_BETWEEN_TURNS) return undefined;
    this.#sinceTurn = 0;
    return this.#turn();
  }
}

/** Copies the beginning of a file to the same place; returns how much, less than `length` where it is shorter. Throws FsError. */
export async function copyInTurns(fs: FileSystem, from: Fd, to: Fd, length: number, turns: Turns): Promise<number> {
  let done = 0;
  while (done < length) {
    const copied = fs.copyRange(from, done, to, done, Math.min(length - done, COPY_BYTES_MAX));
    if (copied === 0) break;
    done += copied;
    await turns.worked(copied);
  }
  return done;
}

/** The sum of all of a file. Throws FsError. */
export async function sumInTurns(fs: FileSystem, fd: Fd, seeds: SumSeeds, turns: Turns): Promise<string> {
  const summer = new Summer(seeds);
  for (let at = 0; ; ) {
    const count = fs.read(fd, readBuffer, at);
    if (count === 0) return summer.digest();
    summer.update(readBuffer.subarray(0, count));
    at += count;
    await turns.worked(count);
  }
}
