/**
 * Names a set of paths whatever their order: how many, and the sum of their SHA-256, modulo 2^256. Agents and their hub
 * tell each other by it which deletions they mean, however many.
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import { type RelPath, pathKey } from "#model/path.ts";

/** Removals of one plan that are named so; of a larger one none are. */
export const NAMED_PATHS_MAX = 500_000;

const MODULUS = 1n << 256n;

export const PATH_SET = z.strictObject({
  count: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER),
  digest: z.string().regex(/^[0-9a-f]{64}$/),
});
export type PathSetName = z.infer<typeof PATH_SET>;

export class PathSet {
  #count = 0;
  #sum = 0n;

  /** Each path once. */
  add(path: RelPath): void {
    this.#count++;
    this.#sum = (this.#sum + BigInt(`0x${createHash("sha256").update(pathKey(path)).digest("hex")}`)) % MODULUS;
  }

  get name(): PathSetName {
    return { count: this.#count, digest: this.#sum.toString(16).padStart(64, "0") };
  }
}

export function sameSet(a: PathSetName, b: PathSetName): boolean {
  return a.count === b.count && a.digest === b.digest;
}
