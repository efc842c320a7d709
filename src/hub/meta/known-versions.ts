/**
 * Versions that were asked for lately, and that there never was one, as long as nothing at all was committed since: a hub
 * that mostly reads asks the database for each of them once, and whoever puts a file looks more than once at what is
 * there. Where others may commit, too, nothing is remembered.
 */
import type { SpaceId, Version } from "#hub/space.ts";
import type { RelPath } from "#model/path.ts";
import type { Database } from "#platform/sql/database.ts";

/** Versions that are remembered; with one more all are forgotten. */
const VERSIONS_MAX = 16_384;
/** Bytes of a row's path, entry and attributes; what has more is read again each time. */
export const KNOWN_ROW_BYTES_MAX = 2 << 10;

export class KnownVersions {
  readonly #db: Pick<Database, "commits">;
  /** As of this many commits. */
  #commits: number | undefined;
  readonly #spaces = new Map<SpaceId, Map<RelPath, Version | null>>();
  #count = 0;

  constructor(db: Pick<Database, "commits">) {
    this.#db = db;
  }

  /** Null: there never was one. Undefined: that is not known. */
  get(space: SpaceId, path: RelPath): Version | null | undefined {
    if (this.#db.commits === this.#commits) return this.#spaces.get(space)?.get(path);
    this.#forget();
    return undefined;
  }

  /** @param commits what there were before it was read: it may be another one since */
  add(space: SpaceId, path: RelPath, version: Version | null, commits: number | undefined): void {
    if (commits === undefined || this.#db.commits !== commits || this.#commits !== commits) return;
    if (this.#count >= VERSIONS_MAX) this.#forget();
    let paths = this.#spaces.get(space);
    if (paths === undefined) this.#spaces.set(space, (paths = new Map()));
    const before = paths.size;
    paths.set(path, version);
    this.#count += paths.size - before;
  }

  #forget(): void {
    this.#spaces.clear();
    this.#count = 0;
    this.#commits = this.#db.commits;
  }
}
