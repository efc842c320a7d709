/**
 * Uploads that were broken off, as FTP goes on with them: by user and path. One counts only while nobody has changed the
 * file since it was begun; what a client asks for its size is then the size of what has come.
 */
import type { Principal } from "#access/access.ts";
import type { Upload, UploadId, Uploader, Uploads } from "#hub/uploads/upload.ts";
import { SynclineError } from "#model/error.ts";
import type { FoundFile } from "#gateway/ftp/files.ts";
import type { Place } from "#gateway/ftp/ftp-path.ts";

const DOOR = "ftp";
/** Open uploads of one path that are looked at; nobody has more but by many sessions at once. */
const SAME_PATH_MAX = 64;

export class Partials {
  readonly #uploads: Uploads;
  /** Those that a session of this process writes to. */
  readonly #active = new Set<UploadId>();

  constructor(uploads: Uploads) {
    this.#uploads = uploads;
  }

  /** What has come for a path, the newest that can be gone on with; undefined where nothing has. */
  async find(who: Principal, place: Place, current: FoundFile | undefined): Promise<Upload | undefined> {
    const base = baseOf(current);
    let newest: Upload | undefined;
    for (const one of await this.#ofPath(who, place)) {
      if (one.note === base && one.received > 0 && one.createdMs >= (newest?.createdMs ?? 0)) newest = one;
    }
    return newest;
  }

  /** Begins one, and drops those of the same path that nobody writes to. */
  async begin(who: Principal, place: Place, current: FoundFile | undefined, mode: number): Promise<UploadId> {
    const by = uploader(who);
    for (const { id } of await this.#ofPath(who, place)) if (!this.#active.has(id)) await this.drop(who, id);
    const wanted = { ...place, kind: "stream", mode, note: baseOf(current) } as const;
    return (await this.#uploads.create(by, wanted)).id;
  }

  /** What has come is of no use any more. */
  async drop(who: Principal, id: UploadId): Promise<void> {
    try {
      await this.#uploads.abort(uploader(who), id);
    } catch (error) {
      // It has ended meanwhile.
      if (!(error instanceof SynclineError) || error.code !== "NOT_FOUND") throw error;
    }
  }

  /** Marks one as written to, until it is disposed. */
  hold(id: UploadId): Disposable {
    this.#active.add(id);
    return { [Symbol.dispose]: () => void this.#active.delete(id) };
  }

  append(who: Principal, id: UploadId, offset: number) {
    return this.#uploads.append(uploader(who), id, offset);
  }

  async complete(who: Principal, id: UploadId, traceId: string) {
    return (await this.#uploads.complete(uploader(who), id, { traceId })).result;
  }

  async #ofPath(who: Principal, { space, path }: Place): Promise<Upload[]> {
    const found = await this.#uploads.list(uploader(who), space, { prefix: path, limit: SAME_PATH_MAX });
    // In byte order: those of longer paths come behind.
    return found.filter((one) => one.path === path);
  }
}

const uploader = (who: Principal): Uploader => ({ who, door: DOOR });

/** The version that the upload is to replace, as its note. */
function baseOf(current: FoundFile | undefined): string {
  return String(current?.version.sequence ?? 0);
}
