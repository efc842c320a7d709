/**
 * What was made anew just as it was. It is agreed on already, and nobody will ask for it: a power loss that took it would look
 * like a removal, or, where it left an empty file, like an edit. So a scan has it made durable before it ends. Where the disk
 * refuses, the controller is told of it and asks: a second sync may be answered with success although the first has lost it.
 */
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";

/** Paths that are remembered: more than are synced one by one. */
const PATHS_MAX = 1000;

export type Vouch = (paths: readonly RelPath[]) => Promise<Problem[]>;

export class RenewedPaths {
  readonly #paths = new Set<RelPath>();
  /** Whose sync was refused, until somebody asks. */
  readonly #refused = new Map<RelPath, Problem>();

  add(path: RelPath): void {
    // What is done for so many makes the others durable, too.
    if (this.#paths.size < PATHS_MAX) this.#paths.add(path);
  }

  /**
   * @param vouch makes durable what is at these paths, and returns what the disk refused
   * @param onFailed told all of them where `vouch` rejects, which this does then, too
   * @returns those that were refused: to be told, so that the controller asks for them
   */
  async settle(vouch: Vouch, onFailed: (paths: readonly RelPath[]) => void): Promise<readonly RelPath[]> {
    const paths = [...this.#paths];
    if (paths.length === 0) return paths;
    this.#paths.clear();
    try {
      const refused = await vouch(paths);
      for (const one of refused) this.#refused.set(one.path, one);
      return refused.map(({ path }) => path);
    } catch (error) {
      onFailed(paths);
      throw error;
    }
  }

  /** As `vouch`, which is not asked again for what was refused. */
  async vouch(paths: readonly RelPath[], vouch: Vouch): Promise<Problem[]> {
    const refused: Problem[] = [];
    const others: RelPath[] = [];
    for (const path of paths) {
      const problem = this.#refused.get(path);
      if (problem === undefined) others.push(path);
      else refused.push(problem);
      this.#refused.delete(path);
    }
    return [...refused, ...(await vouch(others))];
  }
}
