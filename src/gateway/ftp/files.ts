/** Files and directories by FTP's paths: questions and changes over SpaceService, with refusals as FTP knows them. */
import type { Principal } from "#access/access.ts";
import type { HubAccess } from "#access/hub-access.ts";
import { seedsOf } from "#hub/hub-spaces.ts";
import type { Intake, NamedContent, SpaceService } from "#hub/space-service.ts";
import type { ChangeResult, Expect, Space, SpaceChange, Version } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import { DIR_MODE, type Entry, FILE_MODE, type FileEntry } from "#model/entry.ts";
import { nameOf } from "#model/path.ts";
import type { SumSeeds } from "#sync/chunk/sum.ts";
import { entryOfCopy } from "#gateway/api/routes-entries.ts";
import { type FtpPath, type Place, nameFault, placeOf } from "#gateway/ftp/ftp-path.ts";
import type { Listed } from "#gateway/ftp/listing.ts";
import { onceMore } from "#gateway/once-more.ts";
import { FtpRefusal, refusedChange } from "#gateway/ftp/reply.ts";

/** The reply where somebody else was faster. */
const CHANGED = 450;
/** Entries that are asked for at once. */
const PAGE_ROWS = 1_000;
const ROOT_ENTRY: Entry = { kind: "dir", mode: 0o555 };
const SPACE_ENTRY: Entry = { kind: "dir", mode: DIR_MODE };

/** What is at a path. */
export type Found = {
  /** Undefined for the root. */
  readonly place: Place | undefined;
  readonly entry: Entry;
  /** Undefined for the root, a space, and a directory of which only what is below may be read. */
  readonly version: Version | undefined;
  readonly unique: string | undefined;
};

export type FoundFile = Found & { readonly place: Place; readonly version: Version; readonly entry: FileEntry };

export type FilesParts = {
  readonly spaces: SpaceService;
  readonly access: HubAccess;
  /** A trace id for one change. */
  readonly newTraceId: () => string;
};

/** What somebody may see of the spaces and do in them. */
export class FtpFiles {
  readonly #parts: FilesParts;
  readonly #who: Principal;

  constructor(parts: FilesParts, who: Principal) {
    this.#parts = parts;
    this.#who = who;
  }

  get spaces(): SpaceService {
    return this.#parts.spaces;
  }

  get who(): Principal {
    return this.#who;
  }

  // ---------------------------------------------------------------- questions

  /** Undefined: nothing that the user may see is there. */
  async find(path: FtpPath): Promise<Found | undefined> {
    try {
      const place = placeOf(path);
      if (place === undefined) return { place, entry: ROOT_ENTRY, version: undefined, unique: "root" };
      return await this.#findIn(place);
    } catch (error) {
      if (isUnseen(error) || error instanceof FtpRefusal) return undefined;
      throw error;
    }
  }

  async #findIn(place: Place): Promise<Found | undefined> {
    const { spaces } = this.#parts;
    if (place.path === "") {
      const { id } = await spaces.space(this.#who, place.space);
      return { place, entry: SPACE_ENTRY, version: undefined, unique: `s${id}` };
    }
    if (!this.#may("read", place)) return this.#findOnTheWay(place);
    const version = await spaces.version(this.#who, place.space, place.path);
    if (version?.entry === undefined) return undefined;
    return { place, entry: version.entry, version, unique: uniqueOf(place.space, version) };
  }

  /** A directory that leads to something that may be read, and may not be read itself. */
  async #findOnTheWay(place: Place): Promise<Found | undefined> {
    const request = { below: place.path, after: undefined, shallow: true, limit: 1, at: undefined };
    const below = await this.#parts.spaces.list(this.#who, place.space, request);
    return below.length === 0 ? undefined : { place, entry: SPACE_ENTRY, version: undefined, unique: undefined };
  }

  /** @throws {FtpRefusal} 550 */
  async require(path: FtpPath): Promise<Found> {
    const found = await this.find(path);
    if (found === undefined) throw new FtpRefusal(550, "No such file or directory");
    return found;
  }

  /** @throws {FtpRefusal} 550 */
  async requireFile(path: FtpPath): Promise<FoundFile> {
    const found = await this.require(path);
    if (found.entry.kind === "dir") throw new FtpRefusal(550, "Is a directory");
    if (found.entry.kind !== "file") throw new FtpRefusal(550, `Not a file but a ${found.entry.kind}`);
    return found as FoundFile;
  }

  /**
   * What may still be written below a directory: what its space's quota leaves, and the disk.
   *
   * @throws {FtpRefusal} 550 where nothing can be written
   */
  async roomIn(path: FtpPath, freeBytes: number): Promise<number> {
    const { place } = await this.requireDir(path);
    if (place === undefined) throw new FtpRefusal(550, "Files are put into spaces");
    const { settings, usage } = await this.#parts.spaces.space(this.#who, place.space);
    const { quotaBytes = Infinity } = settings;
    return Math.max(0, Math.min(freeBytes, quotaBytes - usage.bytes));
  }

  /** @throws {FtpRefusal} 550 */
  async requireDir(path: FtpPath): Promise<Found> {
    const found = await this.require(path);
    if (found.entry.kind !== "dir") throw new FtpRefusal(550, "Not a directory");
    return found;
  }

  /** Pages of what is in a directory, in the order of their bytes. */
  async *list(path: FtpPath): AsyncGenerator<Listed[]> {
    const place = placeOf(path);
    const { spaces } = this.#parts;
    if (place === undefined) {
      yield (await spaces.spaces(this.#who)).map((space) => this.#listedSpace(space));
      return;
    }
    for (let after: string | undefined; ; ) {
      const request = { below: place.path, after, shallow: true, limit: PAGE_ROWS, at: undefined };
      const page = await spaces.list(this.#who, place.space, request);
      if (page.length > 0) yield page.map((version) => this.#listedVersion(place.space, version));
      if (page.length < PAGE_ROWS) return;
      after = page.at(-1)!.path;
    }
  }

  #listedSpace({ name, id }: Space): Listed {
    return this.#listed({ space: name, path: "" }, name, SPACE_ENTRY, `s${id}`);
  }

  #listedVersion(space: string, version: Version): Listed {
    const { path, entry } = version;
    return this.#listed({ space, path }, nameOf(path), entry!, uniqueOf(space, version));
  }

  #listed(place: Place, name: string, entry: Entry, unique: string | undefined): Listed {
    return { name, entry, unique, mayRead: this.#may("read", place), mayWrite: this.#may("write", place) };
  }

  /** What was found, as listings show it. */
  shown(found: Found, name: string): Listed {
    if (found.place !== undefined) return this.#listed(found.place, name, found.entry, found.unique);
    return { name, entry: found.entry, unique: found.unique, mayRead: true, mayWrite: false };
  }

  /** @throws {FtpRefusal} 550 */
  requireWrite(place: Place): void {
    if (!this.#may("write", place)) throw new FtpRefusal(550, "Permission denied");
  }

  mayRead(place: Place): boolean {
    return this.#may("read", place);
  }

  #may(action: "read" | "write", { space, path }: Place): boolean {
    return this.#parts.access.decide(this.#who, action, { type: "space", space, path }).allowed;
  }

  // ---------------------------------------------------------------- changes

  /** Where a change may be made: in a space, below its root. @throws {FtpRefusal} 550, 553 for what cannot be there */
  target(path: FtpPath): Place {
    // "No such file" is what a reader is told; who wants to make one has to hear what is wrong with its name.
    const fault = nameFault(path);
    if (fault !== undefined) throw new FtpRefusal(553, `This name cannot be used: ${fault}`);
    const place = placeOf(path);
    if (place === undefined || place.path === "") throw new FtpRefusal(550, "Spaces are managed by an administrator");
    return place;
  }

  /**
   * Where a file would go: a directory must be above it, and no directory at it. The rights are asked here, before
   * anybody sends bytes, and again by the commit.
   * @param cwd was a directory a moment ago: it is not looked at again, the commit does
   * @throws {FtpRefusal} 550
   */
  async requireRoom(path: FtpPath, cwd: FtpPath): Promise<{ place: Place; current: FoundFile | undefined }> {
    const place = this.target(path);
    this.requireWrite(place);
    const isInCwd = path.length === cwd.length + 1 && cwd.every((name, at) => name === path[at]);
    if (path.length > 2 && !isInCwd && !(await this.#isDir(path.slice(0, -1)))) throw new FtpRefusal(550, "No such directory");
    // Who may write and not read learns nothing of what is there.
    const found = this.#may("read", place) ? await this.find(path) : undefined;
    if (found?.entry.kind === "dir") throw new FtpRefusal(550, "Is a directory");
    return { place, current: found?.entry.kind === "file" ? (found as FoundFile) : undefined };
  }

  async #isDir(path: FtpPath): Promise<boolean> {
    const place = placeOf(path)!;
    // Who may not read there finds out when it is committed.
    if (!this.#may("read", place)) return true;
    return (await this.find(path))?.entry.kind === "dir";
  }

  /** A new version of a file, of content that came through the intake; its permissions stay. Durable when it resolves. */
  async put(place: Place, intake: Intake, { content, sum }: NamedContent, { mtimeNs, isNew, isAlone }: PutHow): Promise<void> {
    const entry: FileEntry = { kind: "file", size: content.size, mode: FILE_MODE, mtimeNs, sum };
    const expect: Expect = { kind: isNew ? "absent" : "any" };
    const change = { type: "put", path: place.path, expect, entry, content, makeParents: false, keepsMode: true } as const;
    await this.#commit(place.space, [change], intake, isAlone);
  }

  /** Of the sums of the space's files. */
  async seeds({ space }: Place): Promise<SumSeeds> {
    return seedsOf(await this.#parts.spaces.space(this.#who, space));
  }

  newTraceId(): string {
    return this.#parts.newTraceId();
  }

  async makeDir(path: FtpPath): Promise<void> {
    const place = this.target(path);
    const entry: Entry = { kind: "dir", mode: DIR_MODE };
    const put = { type: "put", path: place.path, entry, content: undefined, makeParents: false } as const;
    await this.#commit(place.space, [{ ...put, expect: { kind: "absent" } }], undefined);
  }

  /** A file or a symlink. */
  removeFile(path: FtpPath): Promise<void> {
    return this.#remove(path, async () => {
      const found = await this.require(path);
      if (found.entry.kind === "dir") throw new FtpRefusal(550, "Is a directory");
      return found;
    });
  }

  removeDir(path: FtpPath): Promise<void> {
    return this.#remove(path, () => this.requireDir(path));
  }

  /** What was found, and nothing of another kind that has come in its place: where that was changed it is looked at again. */
  #remove(path: FtpPath, find: () => Promise<Found>): Promise<void> {
    const attempt = async (): Promise<void> => {
      const { version } = await find();
      const { space, path: inner } = this.target(path);
      const expect: Expect = version === undefined ? { kind: "present" } : { kind: "sequence", sequence: version.sequence };
      await this.#commit(space, [{ type: "remove", path: inner, expect, recursive: false }], undefined);
    };
    return onceMore(attempt, (error) => error instanceof FtpRefusal && error.code === CHANGED);
  }

  /** As rename() of POSIX: a file at the new name is replaced in the same commit. */
  async rename(from: FtpPath, to: FtpPath): Promise<void> {
    const source = this.target(from);
    const target = this.target(to);
    if (source.space !== target.space) throw new FtpRefusal(550, "A rename stays within a space; copy and delete instead");
    const found = await this.require(from);
    if (source.path === target.path) return;
    const there = await this.find(to);
    if (there?.entry.kind === "dir" || (there !== undefined && found.entry.kind === "dir")) {
      throw new FtpRefusal(550, "Something is there already");
    }
    const move: SpaceChange = { type: "move", from: source.path, to: target.path, expect: { kind: "present" } };
    const gone = there?.version === undefined ? [] : [removalOf(target, there.version)];
    await this.#commit(source.space, [...gone, move], undefined);
  }

  /** A second file of the same content; no byte is moved. */
  async copy(from: FtpPath, to: FtpPath): Promise<void> {
    const source = await this.requireFile(from);
    const { place } = await this.requireRoom(to, []);
    if (place.space !== source.place.space) throw new FtpRefusal(550, "A copy on the hub stays within a space");
    await this.#putAgain(place, source.version, entryOfCopy(source.entry), { kind: "any" });
  }

  /** Other permission bits, or another time. */
  async change(path: FtpPath, how: { readonly mode?: number; readonly mtimeNs?: bigint }): Promise<void> {
    const found = await this.require(path);
    const place = this.target(path);
    const { version, entry } = found;
    if (version === undefined || entry.kind === "symlink" || entry.kind === "other") {
      throw new FtpRefusal(550, "Only files and directories can be changed so");
    }
    const expect: Expect = { kind: "sequence", sequence: version.sequence };
    if (entry.kind === "file") return this.#putAgain(place, version, { ...entry, ...how }, expect);
    if (how.mtimeNs !== undefined) throw new FtpRefusal(550, "Directories have no time of their own here");
    const dir = { type: "put", path: place.path, expect, content: undefined, makeParents: false } as const;
    await this.#commit(place.space, [{ ...dir, entry: { ...entry, ...how } }], undefined);
  }

  async #putAgain(place: Place, version: Version, entry: Entry, expect: Expect): Promise<void> {
    const { content } = version;
    await using intake = this.#parts.spaces.intake(this.#who, place.space);
    if (content === undefined || !(await intake.hold(content))) throw refusedChange("CONTENT");
    await this.#commit(place.space, [{ type: "put", path: place.path, expect, entry, content, makeParents: false }], intake);
  }

  /** Durable when it resolves. @throws {FtpRefusal} for the first that was not done */
  async #commit(space: string, changes: readonly SpaceChange[], intake: Intake | undefined, isAlone = false): Promise<void> {
    const traceId = this.#parts.newTraceId();
    const request = { changes, intake, atomic: true, cause: "upload", traceId, isAlone } as const;
    const { results } = await this.#parts.spaces.commit(this.#who, space, request);
    const failed = results.find((one) => one.status !== "done" && !(one.status === "refused" && one.code === "ATOMIC"));
    if (failed !== undefined) throw notDone(failed, changes[results.indexOf(failed)]!);
  }

  /** What became of an upload. @throws {FtpRefusal} when it was not done */
  requireDone(result: ChangeResult): void {
    if (result.status === "refused") throw refusedChange(result.code);
    if (result.status === "stale") throw new FtpRefusal(450, "It was changed by somebody else meanwhile; try again");
  }
}

/** `isNew`: nothing may be there. */
export type PutHow = { readonly mtimeNs: bigint; readonly isNew: boolean; readonly isAlone: boolean };

function removalOf({ path }: Place, { sequence }: Version): SpaceChange {
  return { type: "remove", path, expect: { kind: "sequence", sequence }, recursive: false };
}

function notDone(result: ChangeResult, change: SpaceChange): FtpRefusal {
  if (result.status === "refused") return refusedChange(result.code);
  const isThere = result.status === "stale" && result.version?.entry !== undefined;
  if (change.type === "put" && change.expect.kind === "absent") return new FtpRefusal(550, "It exists already");
  if (!isThere) return new FtpRefusal(550, "No such file or directory");
  return new FtpRefusal(CHANGED, "It was changed by somebody else meanwhile; try again");
}

/** What may not be seen is not there. */
function isUnseen(error: unknown): boolean {
  return error instanceof SynclineError && (error.code === "DENIED" || error.code === "SPACE_UNKNOWN");
}

/** Each change of a path has a sequence of its own, so it names the version. */
function uniqueOf(space: string, { sequence }: Version): string {
  return `${space}.${sequence}`;
}
