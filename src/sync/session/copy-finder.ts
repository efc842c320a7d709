/**
 * Finds out that a new large file is a copy of one both sides have already, so that its bytes need not travel: equal
 * size first, which costs nothing, then the sums of the few that remain.
 */
import type { Sum } from "#model/entry.ts";
import type { RelPath } from "#model/path.ts";
import type { Side } from "#model/plan.ts";
import type { Row } from "#sync/plan/rows.ts";
import { otherSide } from "#sync/plan/rows.ts";
import type { SessionState } from "#sync/session/state.ts";

/** Below this a file is sent sooner than it is looked up. */
export const COPY_BYTES_MIN = 1 << 20;
/** Paths of one size that are compared. */
const SAME_SIZE_MAX = 8;

export class CopyFinder {
  readonly #state: SessionState;
  /** Agreed files by size; made at the first need, for one plan. */
  #bySize: Map<number, RelPath[]> | undefined;

  constructor(state: SessionState) {
    this.#state = state;
  }

  /** Sides on which this row's file should be hashed, because the other side may hold its bytes under another path. */
  *wanted(row: Row): Generator<Side> {
    for (const side of ["alpha", "beta"] as const) {
      const one = row[side];
      if (one.state !== "present" || one.entry.kind !== "file" || one.entry.sum !== undefined) continue;
      if (one.entry.size < COPY_BYTES_MIN || row[otherSide(side)].state !== "absent") continue;
      if (this.#candidates(one.entry.size).length > 0) yield side;
    }
  }

  /** A path where `side` holds these bytes unchanged. */
  find(side: Side, sum: Sum, size: number): RelPath | undefined {
    if (size < COPY_BYTES_MIN) return undefined;
    return this.#candidates(size).find((path) => {
      const held = this.#state.held(side, path);
      return held.state === "present" && held.entry.kind === "file" && held.entry.sum === sum;
    });
  }

  #candidates(size: number): readonly RelPath[] {
    this.#bySize ??= this.#collect();
    return this.#bySize.get(size) ?? [];
  }

  #collect(): Map<number, RelPath[]> {
    const bySize = new Map<number, RelPath[]>();
    for (const [path, entry] of this.#state.ancestor.walk("")) {
      if (entry.kind !== "file" || entry.size < COPY_BYTES_MIN || entry.sum === undefined) continue;
      const paths = bySize.get(entry.size);
      if (paths === undefined) bySize.set(entry.size, [path]);
      else if (paths.length < SAME_SIZE_MAX) paths.push(path);
    }
    return bySize;
  }
}
