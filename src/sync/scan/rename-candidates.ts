/**
 * What vanished and what arrived in one scan, so that a renamed file keeps its sum and a renamed directory
 * its whole index. A rename keeps inode, size and mtime (it changes ctime). Bounded: what does not fit is a
 * removal and a creation, which is only slower.
 */
import type { RelPath } from "#model/path.ts";
import type { IndexRecord } from "#sync/index/record-codecs.ts";
import type { Stat } from "#platform/file-system.ts";

/** Vanished files, vanished directories and arrived files kept at most, each. */
export const CANDIDATES_MAX = 100_000;

export type VanishedFile = { readonly path: RelPath; readonly record: IndexRecord };
/** `aside`: where its subtree is kept in the index until the end of the scan. */
export type VanishedDir = { readonly path: RelPath; readonly aside: RelPath };

export class RenameCandidates {
  readonly #files = new Map<bigint, VanishedFile>();
  readonly #dirs = new Map<bigint, VanishedDir>();
  readonly #arrived = new Map<bigint, RelPath>();
  /** New path → path it had when the scan began. */
  readonly renames = new Map<RelPath, RelPath>();

  get hasFiles(): boolean {
    return this.#files.size > 0;
  }

  hasDir(ino: bigint): boolean {
    return this.#dirs.size > 0 && this.#dirs.has(ino);
  }

  fileVanished(path: RelPath, record: IndexRecord): void {
    if (this.#files.size < CANDIDATES_MAX) this.#files.set(record.ino, { path: this.originOf(path), record });
  }

  dirVanished(path: RelPath, aside: RelPath, ino: bigint): void {
    if (this.#dirs.size < CANDIDATES_MAX) this.#dirs.set(ino, { path: this.originOf(path), aside });
  }

  fileArrived(path: RelPath, ino: bigint): void {
    if (this.#arrived.size < CANDIDATES_MAX) this.#arrived.set(ino, path);
  }

  /** Files that arrived before what they may come from was known to have vanished; each is given once. */
  takeArrived(): [ino: bigint, path: RelPath][] {
    const arrived = [...this.#arrived].filter(([ino]) => this.#files.has(ino));
    this.#arrived.clear();
    return arrived;
  }

  /** The vanished file that `stat` is, going by inode, size and mtime; it is given once. */
  takeFile(stat: Stat): VanishedFile | undefined {
    const found = this.#files.get(stat.ino);
    if (found === undefined || found.record.entry.kind !== "file") return undefined;
    const mtimeNs = found.record.diskMtimeNs ?? found.record.entry.mtimeNs;
    if (found.record.entry.size !== stat.size || mtimeNs !== stat.mtimeNs) return undefined;
    this.#files.delete(stat.ino);
    return found;
  }

  takeDir(ino: bigint): VanishedDir | undefined {
    const found = this.#dirs.get(ino);
    if (found !== undefined) this.#dirs.delete(ino);
    return found;
  }

  /** The path that something had when the scan began, also when its directory was renamed in this scan. */
  originOf(path: RelPath): RelPath {
    if (this.renames.size === 0) return path;
    for (let at = path.length; at > 0; at = path.lastIndexOf("/", at - 1)) {
      const from = this.renames.get(path.slice(0, at));
      if (from !== undefined) return from + path.slice(at);
    }
    return path;
  }
}
