/**
 * Uploads that were broken off, as the doors go on with them whose clients know no more than a path and a size (FTP,
 * SFTP): by user and path. One counts only while nobody has changed the file since it was begun; what a client asks for
 * its size is then the size of what has come.
 */
import type { Principal } from "#access/access.ts";
import type { Completion, Upload, UploadId, Uploader, Uploads } from "#hub/uploads/upload.ts";
import { SynclineError } from "#model/error.ts";
import type { ContentReader, Intake } from "#hub/space-service.ts";
import type { RelPath } from "#model/path.ts";

/** Open uploads of one path that are looked at; nobody has more but by many sessions at once. */
const SAME_PATH_MAX = 64;

type Place = { readonly space: string; readonly path: RelPath };
/** The file that is there. */
type FoundFile = { readonly version: { readonly sequence: number } };

export class Partials {
  readonly #uploads: Uploads;
  readonly #door: string;
  /** Those that a session of this process writes to. */
  readonly #active = new Set<UploadId>();

  /** @param door each sees those that it has begun */
  constructor(uploads: Uploads, door: string) {
    this.#uploads = uploads;
    this.#door = door;
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
  async begin(who: Principal, place: Place, current: FoundFile | undefined): Promise<UploadId> {
    await this.forget(who, place);
    const { space, path } = place;
    const wanted = { space, path, kind: "stream", note: baseOf(current) } as const;
    return (await this.#uploads.create(this.#by(who), wanted)).id;
  }

  /** What has come is of no use any more. */
  async drop(who: Principal, id: UploadId): Promise<void> {
    try {
      await this.#uploads.abort(this.#by(who), id);
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
    return this.#uploads.append(this.#by(who), id, offset);
  }

  async complete(who: Principal, id: UploadId, completion: Completion) {
    return (await this.#uploads.complete(this.#by(who), id, completion)).result;
  }

  /** What has come of one, protected by `intake` from now on, also when it is dropped. */
  read(who: Principal, id: UploadId, intake: Intake): Promise<ContentReader> {
    return this.#uploads.read(this.#by(who), id, intake);
  }

  /** Drops all of a path that nobody writes to. */
  async forget(who: Principal, place: Place): Promise<void> {
    for (const { id } of await this.#ofPath(who, place)) if (!this.#active.has(id)) await this.drop(who, id);
  }

  #by(who: Principal): Uploader {
    return { who, door: this.#door };
  }

  async #ofPath(who: Principal, { space, path }: Place): Promise<Upload[]> {
    const found = await this.#uploads.list(this.#by(who), space, { prefix: path, limit: SAME_PATH_MAX });
    // In byte order: those of longer paths come behind.
    return found.filter((one) => one.path === path);
  }
}


/** The version that the upload is to replace, as its note. */
function baseOf(current: FoundFile | undefined): string {
  return String(current?.version.sequence ?? 0);
}
