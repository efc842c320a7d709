/**
 * A prefix of a bucket as a tree of files. Directories are what keys have in common, and a mark, an empty object whose key
 * ends with "/", where they are to stay without any. Times are kept as rclone keeps them.
 */
import { SynclineError } from "#model/error.ts";
import { type RelPath, nameOf } from "#model/path.ts";
import type { Clock, Random } from "#platform/host.ts";
import { isError } from "#sync/foreign/foreign-context.ts";
import {
  type Abilities,
  type Expected,
  type ForeignEntry,
  type ForeignFiles,
  type ReadOptions,
  type RemoveOptions,
  type WriteOptions,
  isExpected,
} from "#sync/foreign/foreign-files.ts";
import { contentTypeOf } from "#sync/foreign/s3/content-types.ts";
import { s3Lost } from "#sync/foreign/s3/s3-errors.ts";
import { S3Http, type S3Place } from "#sync/foreign/s3/s3-http.ts";
import { type Condition, MTIME_HEADER, type S3Object, S3Objects, headersWith, secondsText } from "#sync/foreign/s3/s3-objects.ts";
import { BUFFERED_BYTES_MAX, ByteRoom, upload } from "#sync/foreign/s3/s3-upload.ts";

const KEY_BYTES_MAX = 1024;
const PAGE_KEYS = 1000;
/** Requests at once that are of use; each is a connection. */
const PARALLEL = 12;

const ABILITIES: Abilities = {
  system: "S3",
  setsTimes: true,
  timeResolutionNs: 1n,
  listsTimes: false,
  renames: "copies",
  replaces: true,
  directories: false,
  modes: false,
  symlinks: false,
  conditional: true,
  ranges: true,
  keeps: true,
  parallel: PARALLEL,
};

export type S3FilesOptions = {
  readonly place: S3Place;
  /** Without "/" at its ends; "" for the whole bucket. */
  readonly prefix: string;
  readonly clock: Clock;
  readonly random: Random;
};

export class S3Files implements ForeignFiles {
  readonly label: string;
  readonly #prefix: string;
  readonly #bucket: string;
  readonly #http: S3Http;
  readonly #objects: S3Objects;
  readonly #room = new ByteRoom(BUFFERED_BYTES_MAX);
  readonly #random: Random;
  /** The server heeds conditions of changes; before tryWriting() it is not relied on. */
  #heeds = false;

  constructor({ place, prefix, clock, random }: S3FilesOptions) {
    this.#prefix = prefix;
    this.#bucket = place.bucket;
    this.#random = random;
    this.label = `s3://${place.bucket}${prefix === "" ? "" : `/${prefix}`}`;
    this.#http = new S3Http(place, clock, random);
    this.#objects = new S3Objects(this.#http);
  }

  async connect(signal: AbortSignal): Promise<Abilities> {
    try {
      await this.#objects.list(this.#below(""), "", 1, undefined, signal);
    } catch (error) {
      // The root need not exist.
      if (!isError(error, "NOT_FOUND")) throw error;
    }
    return ABILITIES;
  }

  /** Puts an object twice, the second time on a condition that does not hold. */
  async tryWriting(dir: RelPath, signal: AbortSignal): Promise<Abilities> {
    const key = this.#key(`${dir}/try-${Buffer.from(this.#random.bytes(8)).toString("hex")}`);
    const body = new Uint8Array(0);
    const refused = async (condition: Condition): Promise<boolean> => {
      try {
        await this.#objects.put(key, body, {}, condition, signal);
        return false;
      } catch (error) {
        if (isError(error, "STALE", "UNSUPPORTED")) return error.code === "STALE";
        throw error;
      }
    };
    await this.#objects.put(key, body, {}, {}, signal);
    try {
      this.#heeds = (await refused({ "if-none-match": "*" })) && (await refused({ "if-match": `"${"0".repeat(32)}"` }));
    } finally {
      await this.#objects.delete(key, {}, signal);
    }
    return { ...ABILITIES, conditional: this.#heeds };
  }

  #key(path: RelPath): string {
    const key = this.#prefix === "" ? path : path === "" ? this.#prefix : `${this.#prefix}/${path}`;
    if (!key.isWellFormed() || Buffer.byteLength(key) > KEY_BYTES_MAX) {
      const message = `no key can be like this: it is longer than ${KEY_BYTES_MAX} bytes, or no UTF-8`;
      throw new SynclineError({ code: "UNSUPPORTED", op: "name an object", path, message });
    }
    return key;
  }

  /** What all keys in a directory begin with; "" for all of the bucket. */
  #below(dir: RelPath): string {
    const key = this.#key(dir);
    return key === "" ? "" : `${key}/`;
  }

  async *list(dir: RelPath, signal: AbortSignal): AsyncGenerator<ForeignEntry[]> {
    const below = this.#below(dir);
    const place = (key: string): RelPath => (dir === "" ? "" : `${dir}/`) + key.slice(below.length);
    let isThere = dir === "";
    let next: string | undefined;
    do {
      const page = await this.#objects.list(below, "/", PAGE_KEYS, next, signal);
      next = page.next;
      const batch: ForeignEntry[] = [];
      for (const { key, size, etag } of page.objects) {
        isThere = true;
        // A mark that somebody keeps something in is a file whose name nobody here can have, and no empty directory.
        if (key !== below || (size > 0 && dir !== "")) batch.push({ path: place(key), kind: "file", size, tag: etag });
      }
      for (const prefix of page.prefixes) batch.push({ path: place(prefix.slice(0, -1)), kind: "dir", size: 0 });
      isThere ||= batch.length > 0;
      if (batch.length > 0) yield batch;
    } while (next !== undefined);
    if (!isThere) throw notFound("list", dir);
  }

  async stat(path: RelPath, signal: AbortSignal): Promise<ForeignEntry | undefined> {
    const object = path === "" ? undefined : await this.#objects.head(this.#key(path), signal);
    if (object !== undefined) return entryOf(path, object);
    try {
      const { objects } = await this.#objects.list(this.#below(path), "", 1, undefined, signal);
      const isThere = objects.length > 0 || (path === "" && this.#prefix === "");
      return isThere ? { path, kind: "dir", size: 0 } : undefined;
    } catch (error) {
      if (isError(error, "NOT_FOUND")) return undefined;
      throw error;
    }
  }

  async *read(path: RelPath, { offset = 0, expect }: ReadOptions, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const op = "read an object";
    const key = this.#key(path);
    if (expect !== undefined && offset >= expect.size && offset > 0) return;
    const headers = {
      ...(expect?.tag === undefined ? {} : { "if-match": expect.tag }),
      ...(offset === 0 ? {} : { range: `bytes=${offset}-` }),
    };
    let answer;
    try {
      answer = (await this.#http.ask({ op, method: "GET", key, headers, signal }))!;
    } catch (error) {
      if (isError(error, "NOT_FOUND") && expect !== undefined) throw stale(op, path);
      // There is nothing from there on.
      if (isError(error, "PROTOCOL") && offset > 0 && (await this.stat(path, signal))?.size === offset) return;
      throw error;
    }
    const length = Number(answer.headers.get("content-length") ?? Number.NaN);
    if ((expect?.tag !== undefined && answer.headers.get("etag") !== expect.tag) || (offset > 0 && answer.status !== 206)) {
      answer.drop();
      throw offset > 0 && answer.status !== 206 ? s3Lost(op, "it does not begin where it was asked to", path) : stale(op, path);
    }
    let got = 0;
    try {
      for await (const part of answer.body) {
        got += part.length;
        yield part;
      }
    } catch (error) {
      throw signal.aborted ? signal.reason : s3Lost(op, error, path);
    }
    if (!Number.isNaN(length) && got !== length) throw s3Lost(op, "it ended too early", path);
  }

  async write(path: RelPath, bytes: AsyncIterable<Uint8Array>, options: WriteOptions, signal: AbortSignal): Promise<ForeignEntry> {
    const key = this.#key(path);
    const { expect, mtimeNs, keepAs, size } = options;
    let isKept = false;
    let sent = 0;
    const counted = async function* (): AsyncGenerator<Uint8Array> {
      for await (const part of bytes) {
        sent += part.length;
        yield part;
      }
    };
    const headers: Record<string, string> = { "content-type": contentTypeOf(nameOf(path)) };
    if (mtimeNs !== undefined) headers[MTIME_HEADER] = secondsText(mtimeNs);
    const beforeVisible = async (): Promise<void> => {
      const there = await this.#checked(path, expect, keepAs !== undefined, signal);
      if (there === undefined || keepAs === undefined) return;
      await this.#objects.copy(key, this.#key(keepAs), there, undefined, this.#bucket, signal);
      isKept = true;
    };
    try {
      const condition = this.#heeds ? conditionOf(expect) : {};
      const tag = await upload(this.#objects, this.#room, counted(), { key, size, headers, condition, beforeVisible, signal });
      const time = mtimeNs ?? (await this.#objects.head(key, signal))?.mtimeNs;
      return { path, kind: "file", size: sent, mtimeNs: time, tag };
    } catch (error) {
      // A condition on an object that has gone is answered as if it were asked for.
      const isStale = isError(error, "STALE") || (isError(error, "NOT_FOUND") && expect !== undefined && expect !== "absent");
      if (isKept && isStale) await this.#objects.delete(this.#key(keepAs!), {}, signal);
      throw isStale && !isError(error, "STALE") ? stale("put an object", path) : error;
    }
  }

  /** What is there, when it is what was expected. Asked only where the server does not check by itself, or it is needed. */
  async #checked(path: RelPath, expect: Expected | undefined, isNeeded: boolean, signal: AbortSignal): Promise<S3Object | undefined> {
    if (!isNeeded && (expect === undefined || this.#heeds)) return undefined;
    const there = await this.#objects.head(this.#key(path), signal);
    const found = there === undefined ? undefined : entryOf(path, there);
    if (expect !== undefined && !isExpected(found, expect)) throw stale("put an object", path);
    return there;
  }

  async remove(path: RelPath, { expect, keepAs }: RemoveOptions, signal: AbortSignal): Promise<void> {
    const key = this.#key(path);
    const there = await this.#objects.head(key, signal);
    if (there === undefined) throw expect === undefined ? notFound("remove an object", path) : stale("remove an object", path);
    if (expect !== undefined && !isExpected(entryOf(path, there), expect)) throw stale("remove an object", path);
    if (keepAs !== undefined) await this.#objects.copy(key, this.#key(keepAs), there, undefined, this.#bucket, signal);
    try {
      await this.#objects.delete(key, this.#heeds ? { "if-match": there.etag } : {}, signal);
    } catch (error) {
      if (keepAs !== undefined && isError(error, "STALE")) await this.#objects.delete(this.#key(keepAs), {}, signal);
      throw error;
    }
  }

  async makeDir(path: RelPath, _mode: number | undefined, signal: AbortSignal): Promise<void> {
    if (this.#below(path) === "") throw noBucket(this.label);
    const mark = this.#below(path);
    // Somebody may keep something in the mark that is there.
    if (!this.#heeds && (await this.#objects.head(mark, signal)) !== undefined) return;
    try {
      await this.#objects.put(mark, new Uint8Array(0), {}, this.#heeds ? { "if-none-match": "*" } : {}, signal);
    } catch (error) {
      if (!isError(error, "STALE")) throw error;
    }
  }

  async removeDir(path: RelPath, signal: AbortSignal): Promise<void> {
    const below = this.#below(path);
    const { objects } = await this.#objects.list(below, "", 2, undefined, signal);
    if (objects.length === 0) throw notFound("remove a directory", path);
    if (objects.some(({ key, size }) => key !== below || size > 0)) {
      throw new SynclineError({ code: "EXISTS", op: "remove a directory", path, message: "the directory is not empty" });
    }
    await this.#objects.delete(below, {}, signal);
  }

  async rename(from: RelPath, to: RelPath, signal: AbortSignal, expect?: ForeignEntry): Promise<ForeignEntry> {
    const op = "rename";
    const source = await this.#objects.head(this.#key(from), signal);
    if (source === undefined) {
      if ((await this.stat(from, signal)) === undefined) throw notFound(op, from);
      throw new SynclineError({ code: "UNSUPPORTED", op, path: from, message: "a directory cannot be renamed there" });
    }
    if (expect !== undefined && !isExpected(entryOf(from, source), expect)) throw stale(op, from);
    if ((await this.stat(to, signal)) !== undefined) {
      throw new SynclineError({ code: "EXISTS", op, path: to, message: "something is there already" });
    }
    const tag = await this.#objects.copy(this.#key(from), this.#key(to), source, undefined, this.#bucket, signal);
    try {
      await this.#objects.delete(this.#key(from), this.#heeds ? { "if-match": source.etag } : {}, signal);
    } catch (error) {
      // It was written anew meanwhile: then it has not been moved.
      if (isError(error, "STALE")) await this.#objects.delete(this.#key(to), {}, signal);
      throw error;
    }
    return { ...entryOf(to, source), tag };
  }

  async setTime(path: RelPath, mtimeNs: bigint, signal: AbortSignal, expect?: ForeignEntry): Promise<ForeignEntry> {
    const key = this.#key(path);
    const there = await this.#objects.head(key, signal);
    if (there === undefined) throw notFound("set a time", path);
    if (expect !== undefined && !isExpected(entryOf(path, there), expect)) throw stale("set a time", path);
    const tag = await this.#objects.copy(key, key, there, headersWith(there, mtimeNs), this.#bucket, signal);
    return { path, kind: "file", size: there.size, mtimeNs, tag };
  }

  async setMode(path: RelPath): Promise<void> {
    throw new SynclineError({ code: "UNSUPPORTED", op: "set a mode", path, message: "objects have no permission bits" });
  }

  async makeSymlink(path: RelPath): Promise<void> {
    throw new SynclineError({ code: "UNSUPPORTED", op: "make a symlink", path, message: "there are no symlinks in a bucket" });
  }

  async close(): Promise<void> {
    this.#http.close();
  }
}

function entryOf(path: RelPath, { size, etag, mtimeNs }: S3Object): ForeignEntry {
  return { path, kind: "file", size, mtimeNs, tag: etag };
}

function conditionOf(expect: Expected | undefined): Condition {
  if (expect === undefined) return {};
  if (expect === "absent") return { "if-none-match": "*" };
  return expect.tag === undefined ? {} : { "if-match": expect.tag };
}

function notFound(op: string, path: RelPath): SynclineError {
  return new SynclineError({ code: "NOT_FOUND", op, path, message: "there is no such object or directory" });
}

function stale(op: string, path: RelPath): SynclineError {
  return new SynclineError({ code: "STALE", op, path, message: "another object is there than was expected", retryable: true });
}

function noBucket(label: string): SynclineError {
  const hint = "make the bucket first, with the rights and the region that it is to have";
  return new SynclineError({ code: "NOT_FOUND", op: "open root", message: `there is no bucket ${label}`, hint });
}
