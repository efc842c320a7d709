/**
 * The tree that a user sees: the spaces that may be read as top folders, or one space (or a directory of one) where the
 * user is bound to it. Paths of clients become paths of spaces here and nowhere else: "." and ".." are taken out once,
 * and nothing leads above the top.
 */
import type { Access, Principal } from "#access/access.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { Version } from "#hub/space.ts";
import { DIR_MODE, type DirEntry, type Entry } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, joinPath, nameOf, parentOf, pathFault, printablePath } from "#model/path.ts";

/** Symlinks that one path may lead through. */
const LINKS_MAX = 16;
/** Entries that are asked for at once. */
const PAGE_ROWS = 500;

/** Where a path leads: the list of spaces, or into one. */
export type Place = { readonly space: string; readonly path: RelPath } | undefined;

export type Node = {
  /** Undefined: the list of spaces. */
  readonly place: Place;
  readonly entry: Entry;
  /** Undefined: a space itself, or a directory that is only shown because something below it may be read. */
  readonly version: Version | undefined;
  /** Of a space: when it was made. */
  readonly createdMs?: number;
};

export type Found = Node & { readonly place: NonNullable<Place> };

const SHOWN_DIR: DirEntry = { kind: "dir", mode: DIR_MODE };

/** One directory as it is read, page by page. */
export interface Listing {
  /** Undefined: that was all. */
  next(): Promise<readonly { readonly name: string; readonly node: Node }[] | undefined>;
}

export type TreeOptions = {
  readonly spaces: SpaceService;
  readonly access: Access;
  readonly who: () => Principal;
  /** What is at "/". Undefined: the list of spaces. */
  readonly root: NonNullable<Place> | undefined;
};

/** "/a/b", whatever was said: relative paths begin at "/", ".." stops there. @throws {SynclineError} NOT_FOUND for NUL */
export function canonicalPath(text: string): string {
  if (text.includes("\0")) throw notThere(text);
  const names: string[] = [];
  for (const name of text.split("/")) {
    if (name === "" || name === ".") continue;
    if (name === "..") names.pop();
    else names.push(name);
  }
  return `/${names.join("/")}`;
}

export class Tree {
  readonly #options: TreeOptions;

  constructor(options: TreeOptions) {
    this.#options = options;
  }

  /** Where a client's path leads, before any symlink. */
  locate(text: string): Place {
    const { root } = this.#options;
    const canonical = canonicalPath(text).slice(1);
    if (root !== undefined) {
      return canonical === "" ? root : { space: root.space, path: joinPath(root.path, canonical) };
    }
    if (canonical === "") return undefined;
    const slash = canonical.indexOf("/");
    if (slash < 0) return { space: canonical, path: "" };
    return { space: canonical.slice(0, slash), path: canonical.slice(slash + 1) };
  }

  /** How a client calls a place. */
  textOf({ space, path }: NonNullable<Place>): string {
    const { root } = this.#options;
    if (root === undefined) return `/${joinPath(space, path)}`;
    return `/${root.path === "" ? path : path.slice(root.path.length + 1)}`;
  }

  /** What is at a path. @throws {SynclineError} NOT_FOUND, DENIED */
  async find(text: string, isFollowed: boolean): Promise<Node> {
    const node = await this.look(text, isFollowed);
    if (node === undefined) throw notThere(text);
    return node;
  }

  /** As find; undefined where nothing is. */
  async look(text: string, isFollowed: boolean): Promise<Node | undefined> {
    let place = this.locate(text);
    for (let links = 0; links <= LINKS_MAX; links++) {
      if (place === undefined) return { place, entry: SHOWN_DIR, version: undefined };
      const node = await this.#at(place);
      const isLink = node?.entry.kind === "symlink";
      if (node !== undefined && !(isLink && isFollowed)) return node;
      const next = node === undefined ? await this.#throughLink(place) : this.#target(node);
      if (next === undefined) return undefined;
      place = next;
    }
    const message = `more than ${LINKS_MAX} symlinks are on the way to "${printablePath(text.slice(0, 200))}"`;
    throw new SynclineError({ code: "LIMIT", op: "find path", message });
  }

  /**
   * Where something would be put: the directory must be there, as far as the user may see it.
   * @throws {SynclineError} NOT_FOUND, DENIED for what is no path in a space, USAGE for a name that cannot be used
   */
  async target(text: string): Promise<NonNullable<Place>> {
    const straight = this.locate(text);
    const { root } = this.#options;
    if (straight === undefined || straight.path === "" || straight.path === root?.path) throw notInSpace();
    const fault = pathFault(straight.path);
    if (fault !== undefined) throw new SynclineError({ code: "USAGE", op: "name", path: straight.path, message: fault });
    const canonical = canonicalPath(text);
    let parent: Node | undefined;
    try {
      parent = await this.look(parentOf(canonical.slice(1)), true);
    } catch (error) {
      // Who may write but not read finds out when it is done.
      if (error instanceof SynclineError && error.code === "DENIED") return straight;
      throw error;
    }
    if (parent?.place === undefined) throw notThere(text);
    if (parent.entry.kind !== "dir") throw notDirectory();
    return { space: parent.place.space, path: joinPath(parent.place.path, nameOf(straight.path)) };
  }

  /** What a place holds; undefined when nothing, or when it is not for this user to know. */
  async #at(place: NonNullable<Place>): Promise<Found | undefined> {
    const { spaces, access, who } = this.#options;
    const { space: name, path } = place;
    try {
      if (path === "") {
        const space = await spaces.space(who(), name);
        return { place, entry: SHOWN_DIR, version: undefined, createdMs: space.createdMs };
      }
      const version = await spaces.version(who(), name, path);
      if (version?.entry !== undefined) return { place, entry: version.entry, version };
      // What a user is bound to may be made by the first upload.
      return path === this.#options.root?.path ? { place, entry: SHOWN_DIR, version: undefined } : undefined;
    } catch (error) {
      if (!(error instanceof SynclineError)) throw error;
      if (error.code === "SPACE_UNKNOWN") return undefined;
      if (error.code !== "DENIED" || !access.reaches(who(), "read", name, path)) throw error;
      return { place, entry: SHOWN_DIR, version: undefined };
    }
  }

  #target({ place, entry }: Found): Place {
    if (entry.kind !== "symlink") return undefined;
    return resolved(place, parentOf(place.path), entry.target, this.#top());
  }

  /** Nothing is at a place: it may lie behind a symlink. */
  async #throughLink({ space, path }: NonNullable<Place>): Promise<Place> {
    const top = this.#top();
    for (let at = path.indexOf("/", top === "" ? 0 : top.length + 1); at >= 0; at = path.indexOf("/", at + 1)) {
      const above = path.slice(0, at);
      const node = await this.#at({ space, path: above });
      if (node === undefined) return undefined;
      if (node.entry.kind === "dir") continue;
      if (node.entry.kind !== "symlink") return undefined;
      const rest = path.slice(at + 1);
      return resolved({ space, path: above }, parentOf(above), `${node.entry.target}/${rest}`, top);
    }
    return undefined;
  }

  #top(): RelPath {
    return this.#options.root?.path ?? "";
  }

  list(node: Node): Listing {
    return node.place === undefined ? this.#spaces() : this.#pages(node.place);
  }

  #spaces(): Listing {
    const { spaces, who } = this.#options;
    let isDone = false;
    return {
      next: async () => {
        if (isDone) return undefined;
        isDone = true;
        const all = await spaces.spaces(who());
        return all.map(({ name, createdMs }) => {
          return { name, node: { place: { space: name, path: "" }, entry: SHOWN_DIR, version: undefined, createdMs } };
        });
      },
    };
  }

  #pages({ space, path: below }: NonNullable<Place>): Listing {
    const { spaces, who } = this.#options;
    let after: RelPath | undefined;
    let isDone = false;
    return {
      next: async () => {
        if (isDone) return undefined;
        const page = await spaces.list(who(), space, { below, after, shallow: true, limit: PAGE_ROWS, at: undefined });
        isDone = page.length < PAGE_ROWS;
        after = page.at(-1)?.path;
        if (page.length === 0) return undefined;
        return page.flatMap((version) => {
          const { path, entry } = version;
          return entry === undefined ? [] : [{ name: nameOf(path), node: { place: { space, path }, entry, version } }];
        });
      },
    };
  }
}

/** Where a symlink leads; undefined: out of what the user sees. Absolute targets are places on some host. */
function resolved({ space }: NonNullable<Place>, dir: RelPath, target: string, top: RelPath): Place {
  if (target.startsWith("/")) return undefined;
  const names = dir === "" ? [] : dir.split("/");
  const least = top === "" ? 0 : top.split("/").length;
  for (const name of target.split("/")) {
    if (name === "" || name === ".") continue;
    if (name !== "..") names.push(name);
    else if (names.length <= least) return undefined;
    else names.pop();
  }
  return { space, path: names.join("/") };
}

export function notThere(text: string): SynclineError {
  const message = `there is no "${printablePath(text.slice(0, 200))}"`;
  return new SynclineError({ code: "NOT_FOUND", op: "find path", message });
}

export function notDirectory(): SynclineError {
  return new SynclineError({ code: "USAGE", op: "find path", message: "this is no directory" });
}

function notInSpace(): SynclineError {
  return new SynclineError({
    code: "DENIED",
    op: "change",
    message: "top folders are spaces: they are not made, renamed or removed through this door",
    hint: "syncline space create, syncline space delete",
  });
}
