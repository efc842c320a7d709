/** Places in a space that nothing can take as long as something is there that its rules hide; as apply/held-places.ts of a disk. */
import type { LinkView } from "#hub/endpoint/link-view.ts";
import type { SpaceRules } from "#hub/endpoint/space-rules.ts";
import type { Problem } from "#model/observation.ts";
import { type RelPath, isWithin } from "#model/path.ts";
import { type IgnoredIn, IgnoredEntries, heldDirectory, takenPlace } from "#sync/apply/held-places.ts";

/** Entries of a directory that are looked at for ignored ones. */
const LOOKED_AT_MAX = 10_000;

export class SpacePlaces {
  readonly #view: LinkView;
  readonly #rules: SpaceRules;

  constructor(view: LinkView, rules: SpaceRules) {
    this.#view = view;
    this.#rules = rules;
  }

  /** Why the directory stays for good; undefined where nothing of it is ignored. */
  async held(path: RelPath): Promise<Problem | undefined> {
    const ignored = await this.#ignoredIn(path);
    return ignored.named.length === 0 ? undefined : { ...heldDirectory(path, ignored), side: "beta" };
  }

  /** What is ignored and stands at the path. */
  async taken(path: RelPath): Promise<Problem | undefined> {
    const entry = (await this.#view.version(path))?.entry;
    const isIgnored = entry !== undefined && (await this.#rules.ignores(path, entry.kind === "dir"));
    return isIgnored ? { ...takenPlace(path, path), side: "beta" } : undefined;
  }

  /** Why no file can come to the path, as far as that is known beforehand, and lasting; undefined otherwise. */
  async whyNoFile(path: RelPath): Promise<Problem | undefined> {
    const entry = (await this.#view.version(path))?.entry;
    if (entry === undefined) return undefined;
    const taken = await this.taken(path);
    return taken === undefined && entry.kind === "dir" ? this.held(path) : taken;
  }

  async #ignoredIn(dir: RelPath): Promise<IgnoredIn> {
    const ignored = new IgnoredEntries();
    let last: RelPath | undefined;
    let left = LOOKED_AT_MAX;
    for await (const { path, entry } of this.#view.walk(dir)) {
      if (--left < 0 || ignored.isMore) break;
      if (entry === undefined || path === dir || (last !== undefined && isWithin(path, last))) continue;
      if (!(await this.#rules.ignores(path, entry.kind === "dir"))) continue;
      last = path;
      ignored.add(path);
    }
    return ignored;
  }
}
