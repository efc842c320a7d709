/** The ignore rules in force in each directory of a link: those of its session, then the ignore files in the space. */
import type { LinkView } from "#hub/endpoint/link-view.ts";
import type { Version } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, joinPath, parentOf } from "#model/path.ts";
import { IGNORE_FILE, IGNORE_FILE_BYTES_MAX, type IgnoreRules, ignoreLines } from "#sync/scan/ignore.ts";

/** Directories whose rules are remembered; beyond it all are forgotten. */
const REMEMBERED_MAX = 10_000;

export class SpaceRules {
  readonly #view: LinkView;
  readonly #base: IgnoreRules;
  readonly #known = new Map<RelPath, IgnoreRules>();

  constructor(view: LinkView, base: IgnoreRules) {
    this.#view = view;
    this.#base = base;
  }

  /** An ignore file changed: what is remembered of its directory and below is no longer true. */
  clear(): void {
    this.#known.clear();
  }

  async ignores(path: RelPath, isDir: boolean): Promise<boolean> {
    const rules = await this.#of(parentOf(path));
    return !rules.none && rules.ignores(path, isDir);
  }

  async #of(dir: RelPath): Promise<IgnoreRules> {
    const known = this.#known.get(dir);
    if (known !== undefined) return known;
    const outer = dir === "" ? this.#base : await this.#of(parentOf(dir));
    const own = await this.#read(await this.#view.version(joinPath(dir, IGNORE_FILE)));
    const rules = own === undefined ? outer : childOf(outer, dir, own);
    if (this.#known.size >= REMEMBERED_MAX) this.#known.clear();
    this.#known.set(dir, rules);
    return rules;
  }

  /** Undefined where there is no such file, or one that no side would read as rules. */
  async #read(version: Version | undefined): Promise<Uint8Array | undefined> {
    if (version?.entry?.kind !== "file" || version.entry.size > IGNORE_FILE_BYTES_MAX) return undefined;
    const { spaces, who, space } = this.#view;
    const content = await spaces.open(who, space, version);
    const bytes = new Uint8Array(content.size);
    await content.read(bytes, 0);
    return bytes;
  }
}

/**
 * A door takes any file under that name. One that is beyond the limits hides nothing here; the host that gets it leaves its
 * directory alone, and says so with the file's name, while all other directories of the link go on.
 */
function childOf(outer: IgnoreRules, dir: RelPath, bytes: Uint8Array): IgnoreRules {
  try {
    return outer.child(dir, ignoreLines(bytes));
  } catch (error) {
    if (error instanceof SynclineError && error.code === "LIMIT") return outer;
    throw error;
  }
}
