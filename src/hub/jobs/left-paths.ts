/** Paths that a job has left alone: all are counted, and some are named, because what a job keeps is bounded. */
import { type RelPath, printablePath } from "#model/path.ts";

/** Paths that are named, their characters as JSON, and those of one reason. */
const NAMED_MAX = 100;
const CHARS_MAX = 32 << 10;
const REASON_CHARS_MAX = 300;

export type LeftPath = { readonly path: string; readonly why: string };

export class LeftPaths {
  readonly named: LeftPath[] = [];
  /** Of all that were left. */
  count = 0;
  #chars = 0;

  add(path: RelPath, why: string): LeftPath {
    this.count++;
    const left = { path: printablePath(path), why: why.slice(0, REASON_CHARS_MAX) };
    this.#chars += JSON.stringify(left).length;
    if (this.named.length < NAMED_MAX && this.#chars < CHARS_MAX) this.named.push(left);
    return left;
  }
}
