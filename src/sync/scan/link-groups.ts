/**
 * Which paths share an inode. Kept in a table of the index because a scan of single paths must know the other
 * names of a file without looking at the whole root: watching reports a write only under the name that was
 * used.
 *
 * Key: inode as 16 hex digits, ":", path key in hex, so that the names of an inode are neighbours in path
 * order. Beside them one key for each inode whose group was changed by somebody else than a scan, or by one that has
 * not come to its end: who leads it is to be settled yet.
 */
import { type RelPath, decodeName, pathKey } from "#model/path.ts";
import { ByteReader, ByteWriter } from "#sync/wire/bytes.ts";
import type { Table } from "#sync/index/store.ts";

/** Inodes whose groups are looked at together before their groups are settled. */
export const TOUCHED_MAX = 50_000;

const PRESENT = new Uint8Array(1);
/** Before an inode, in keys that say that its group is to be settled. No key of a name begins so. */
const UNSETTLED = "~";

function prefixOf(ino: bigint): string {
  return `${ino.toString(16).padStart(16, "0")}:`;
}

export class LinkGroups {
  readonly #table: Table;
  /** False while no file had a second name, which is the usual case and saves every look-up. */
  #any: boolean;

  constructor(table: Table) {
    this.#table = table;
    this.#any = false;
    for (const _ of table.entries()) {
      this.#any = true;
      break;
    }
  }

  get any(): boolean {
    return this.#any;
  }

  /** Notes that `path` is a name of the inode. */
  join(ino: bigint, path: RelPath): void {
    const key = prefixOf(ino) + pathKey(path).toHex();
    if (this.#any && this.#table.get(key) !== undefined) return;
    this.#any = true;
    this.#table.set(key, PRESENT);
  }

  /** Notes that `path` is no longer a name of the inode; returns whether it was one. */
  leave(ino: bigint, path: RelPath): boolean {
    if (!this.#any) return false;
    const key = prefixOf(ino) + pathKey(path).toHex();
    if (this.#table.get(key) === undefined) return false;
    this.#table.delete(key);
    return true;
  }

  /**
   * A scan, this one or the next, is to say who leads the names of the inode.
   * @param nlink names that it has, where some of them may not be known to the group yet; 0: all are known
   */
  unsettle(ino: bigint, nlink = 0): void {
    this.#any = true;
    const w = new ByteWriter();
    w.varint(nlink);
    this.#table.set(UNSETTLED + ino.toString(16), w.finish());
  }

  /** As unsettle() was told. */
  unsettled(): { readonly ino: bigint; readonly nlink: number }[] {
    if (!this.#any) return [];
    return [...this.#table.entries(UNSETTLED)].map(([key, bytes]) => {
      return { ino: BigInt(`0x${key.slice(UNSETTLED.length)}`), nlink: new ByteReader(bytes).varint() };
    });
  }

  settled(ino: bigint): void {
    this.#table.delete(UNSETTLED + ino.toString(16));
  }

  /** Known names of the inode in comparePaths order; the first is the leader of the group. */
  members(ino: bigint): RelPath[] {
    if (!this.#any) return [];
    const prefix = prefixOf(ino);
    const paths: RelPath[] = [];
    for (const [key] of this.#table.entries(prefix)) {
      const bytes = Uint8Array.fromHex(key.slice(prefix.length));
      for (let at = 0; at < bytes.length; at++) if (bytes[at] === 0) bytes[at] = 47;
      paths.push(decodeName(bytes));
    }
    return paths;
  }
}
