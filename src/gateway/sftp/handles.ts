/** What a session has open: files that are read, files that are written, directories that are listed. */
import { SynclineError } from "#model/error.ts";
import type { ContentReader } from "#hub/space-service.ts";
import type { Version } from "#hub/space.ts";
import { failed } from "#gateway/sftp/status.ts";
import type { Listing, Node, Place } from "#gateway/sftp/tree.ts";
import type { WriteHandle } from "#gateway/sftp/write-handle.ts";

/** Of one session. */
export const HANDLES_MAX = 256;
/** Of them, files that are being written: each holds some MiB. */
const WRITERS_MAX = 64;

export type ReadHandle = { readonly type: "read"; readonly node: Node & { readonly version: Version }; readonly reader: ContentReader };
type Writing = { readonly type: "write"; readonly handle: WriteHandle; readonly isRead: boolean };
export type DirHandle = {
  readonly type: "dir";
  readonly node: Node;
  readonly listing: Listing;
  /** The page that is being told, and how far. */
  waiting: readonly { readonly name: string; readonly node: Node }[];
  at: number;
};
type Handle = ReadHandle | Writing | DirHandle;

export class Handles {
  readonly #all = new Map<string, Handle>();
  #next = 0;
  #writing = 0;

  /** Files that are being written. */
  get writing(): number {
    return this.#writing;
  }

  /** @throws {SynclineError} LIMIT */
  requireRoom(): void {
    if (this.#all.size < HANDLES_MAX && this.#writing < WRITERS_MAX) return;
    const message = `a session has ${HANDLES_MAX} handles open at most, and writes ${WRITERS_MAX} files`;
    throw new SynclineError({ code: "LIMIT", op: "open", message, hint: "close others first" });
  }

  /** @returns its name */
  add(handle: Handle): string {
    if (handle.type === "dir") this.requireRoom();
    const name = String(this.#next++);
    this.#all.set(name, handle);
    if (handle.type === "write") this.#writing++;
    return name;
  }

  /** @throws {SynclineError} USAGE when there is none of that name */
  get(name: string): Handle {
    const handle = this.#all.get(name);
    if (handle === undefined) throw failed("there is no such handle");
    return handle;
  }

  writer(name: string): { readonly name: string; readonly handle: WriteHandle } {
    const open = this.get(name);
    if (open.type !== "write") throw failed("this handle is not open for writing");
    return { name, handle: open.handle };
  }

  readable(name: string): ReadHandle | Writing {
    const open = this.get(name);
    if (open.type === "read" || (open.type === "write" && open.isRead)) return open;
    throw failed("this handle is not open for reading");
  }

  dir(name: string): DirHandle {
    const open = this.get(name);
    if (open.type !== "dir") throw failed("this handle is no directory");
    return open;
  }

  node(name: string): Node {
    const open = this.get(name);
    if (open.type !== "write") return open.node;
    return { place: open.handle.place, entry: open.handle.entry, version: undefined };
  }

  /** The file that is being written at a place; the last one that was opened. */
  writingAt({ space, path }: NonNullable<Place>): WriteHandle | undefined {
    let found: WriteHandle | undefined;
    for (const open of this.#all.values()) {
      if (open.type !== "write" || !open.handle.isNamed) continue;
      if (open.handle.place.space === space && open.handle.place.path === path) found = open.handle;
    }
    return found;
  }

  /** Commits what was written. The name is free again, whatever becomes of it. */
  async close(name: string): Promise<void> {
    const open = this.get(name);
    this.#all.delete(name);
    if (open.type !== "write") return;
    this.#writing--;
    await open.handle.close();
  }

  /** Nothing of what is still being written is kept. */
  async discardAll(): Promise<void> {
    const all = [...this.#all.values()];
    this.#all.clear();
    this.#writing = 0;
    for (const open of all) if (open.type === "write") await open.handle.discard();
  }
}
