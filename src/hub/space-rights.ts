/** What somebody may see of spaces, and do in them, as access decides. Asked for every call of SpaceService (hub-spaces.ts). */
import type { Access, Action, Principal } from "#access/access.ts";
import { badPath } from "#hub/space-errors.ts";
import type { JournalRecord, Space, SpaceChange, Version } from "#hub/space.ts";
import { requireLockable } from "#hub/versions/lock-rights.ts";
import { type RelPath, isWithin, pathFault } from "#model/path.ts";

export class SpaceRights {
  readonly #access: Access;

  constructor(access: Access) {
    this.#access = access;
  }

  may(who: Principal, action: Action, space: string, path: RelPath): boolean {
    return this.#access.decide(who, action, { type: "space", space, path }).allowed;
  }

  require(who: Principal, action: Action, space: string, path: RelPath): void {
    this.#access.require(who, action, { type: "space", space, path });
  }

  /** At the path, or somewhere below it. */
  requireSome(who: Principal, action: Action, space: string, below: RelPath): void {
    if (!this.#access.reaches(who, action, space, below)) this.require(who, action, space, below);
  }

  /** As require, for the path with everything below it: a deny anywhere there refuses. */
  requireTree(who: Principal, action: Action, space: string, path: RelPath): void {
    this.#access.require(who, action, { type: "space", space, path, isTree: true });
  }

  /** What came from where somebody may not read tells them not what it was called there. */
  shownRecords(who: Principal, space: string, records: readonly JournalRecord[]): JournalRecord[] {
    const may = (path: RelPath): boolean => this.may(who, "read", space, path);
    const shown = records.filter(({ path }) => may(path));
    return shown.map((one) => (one.from === undefined || may(one.from) ? one : { ...one, from: undefined }));
  }

  mayReadTree(who: Principal, space: string, path: RelPath): boolean {
    return this.#access.decide(who, "read", { type: "space", space, path, isTree: true }).allowed;
  }

  /** A space that somebody may see nothing of does not exist for them. */
  seesAny(who: Principal, space: string): boolean {
    return this.#access.reaches(who, "read", space, "");
  }

  /** Directories on the way to something that may be read are shown where one goes down step by step. */
  isShown(who: Principal, space: string, { path, entry }: Version, shallow: boolean): boolean {
    if (this.may(who, "read", space, path)) return true;
    return shallow && entry?.kind === "dir" && this.#access.reaches(who, "read", space, path);
  }

  requireChange(who: Principal, of: Space, change: SpaceChange): void {
    const space = of.name;
    const paths = change.type === "move" ? [change.from, change.to] : [change.path];
    for (const path of paths) {
      const fault = pathFault(path);
      if (fault !== undefined) throw badPath(path, fault);
      const isTree = change.type === "move" || (change.type === "remove" && change.recursive);
      this.#access.require(who, "write", { type: "space", space, path, isTree });
    }
    const isLocked = change.type === "put" && change.lock !== undefined;
    if (isLocked) requireLockable(this.#access, who, of, change.path);
    // Or what may not be read could be brought to where it may.
    if (change.type === "move") this.requireTree(who, "read", space, change.from);
    if (change.type === "move" && isWithin(change.to, change.from)) throw badPath(change.to, "inside what is moved");
  }
}
