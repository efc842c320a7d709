/** What a check has found, by kind; no more than so many of each are kept. */

/** Findings of one kind that are told one by one; all are counted. */
const SHOWN_OF_A_KIND_MAX = 100;

export type FindingKind =
  | "database" // the engine's own check
  | "row" // not what was written
  | "journal" // gaps, or versions that do not follow each other
  | "tree" // the current tree
  | "usage"
  | "commit"
  | "manifest"
  | "chunk"
  | "upload"
  | "audit";

export type Finding = {
  readonly kind: FindingKind;
  /** A space, a path, a chunk: as a person would look for it. */
  readonly where: string;
  readonly what: string;
};

export class Findings {
  readonly #onFinding: (finding: Finding) => void;
  readonly #counts = new Map<FindingKind, number>();

  /** @param onFinding called at once, for the first of each kind */
  constructor(onFinding: (finding: Finding) => void) {
    this.#onFinding = onFinding;
  }

  add(kind: FindingKind, where: string, what: string): void {
    const count = (this.#counts.get(kind) ?? 0) + 1;
    this.#counts.set(kind, count);
    if (count <= SHOWN_OF_A_KIND_MAX) this.#onFinding({ kind, where, what });
  }

  get counts(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counts);
  }

  get total(): number {
    let total = 0;
    for (const count of this.#counts.values()) total += count;
    return total;
  }
}
