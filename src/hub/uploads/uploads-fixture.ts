/** A hub with uploads whose process can die: what its rows and the disk of its chunks have is there afterwards. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Access, type Principal, systemPrincipal } from "#access/access.ts";
import { HubSpaces } from "#hub/hub-spaces.ts";
import { SqlMetaStore } from "#hub/meta/sql-meta-store.ts";
import { HubUploads } from "#hub/uploads/hub-uploads.ts";
import { UPLOAD_MIGRATIONS, UploadRows } from "#hub/uploads/upload-rows.ts";
import type { Completed, Completion, NewUpload, Uploader } from "#hub/uploads/upload.ts";
import { CHUNK_GRACE_MS, pruneChunks } from "#hub/upkeep.ts";
import { SynclineError } from "#model/error.ts";
import { openHost } from "#platform/host-bun.ts";
import type { Database } from "#platform/sql/database.ts";
import { migrate } from "#platform/sql/migrate.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";
import { MemoryChunkDisk, MemoryChunks } from "#store/memory-chunks.ts";

const { random } = openHost();
export const TRACE = "0123456789abcdef0123456789abcdef";
const UNRECORDED = { append: () => Promise.resolve(), appendIn: () => Promise.resolve() };

export class UploadLab {
  readonly disk = new MemoryChunkDisk();
  mayWrite: (who: string, path: string) => boolean = () => true;
  mayRead: (who: string, path: string) => boolean = () => true;
  nowMs = 1_700_000_000_000;
  /** What the wall clock is ahead of the monotonic one. */
  aheadMs = 0;
  spaces!: HubSpaces;
  uploads!: HubUploads;
  rows!: UploadRows;
  meta!: SqlMetaStore;
  chunks!: MemoryChunks;
  db!: Database;
  readonly #open: () => Promise<Database>;

  private constructor(open: () => Promise<Database>) {
    this.#open = open;
  }

  static async start(open: () => Promise<Database>): Promise<UploadLab> {
    const lab = new UploadLab(open);
    await lab.begin();
    await lab.spaces.createSpace(systemPrincipal("test"), "demo");
    return lab;
  }

  /** On an SQLite file of its own, which goes with `end`. */
  static async onFile(): Promise<{ readonly lab: UploadLab; readonly end: () => Promise<void> }> {
    const folder = mkdtempSync(join(tmpdir(), "syncline-uploads-"));
    const lab = await UploadLab.start(() => Promise.resolve(openSqlite(join(folder, "hub.db"))));
    const end = async (): Promise<void> => {
      await lab.uploads.close();
      await lab.db.close();
      rmSync(folder, { recursive: true, force: true });
    };
    return { lab, end };
  }

  async begin(): Promise<void> {
    this.db = await this.#open();
    const { access } = this;
    const clock = { ...openHost().clock, nowMs: () => this.nowMs + this.aheadMs, monotonicMs: () => this.nowMs };
    this.meta = await SqlMetaStore.open(this.db, random);
    await migrate(this.db, "uploads", UPLOAD_MIGRATIONS);
    this.chunks = new MemoryChunks(() => this.nowMs, this.disk);
    const parts = { meta: this.meta, access, clock, random };
    this.spaces = await HubSpaces.open({ ...parts, chunks: this.chunks, audit: UNRECORDED });
    this.rows = new UploadRows(this.db);
    this.uploads = new HubUploads({ ...parts, rows: this.rows, spaces: this.spaces });
  }

  /** What was not durable is gone. */
  async crash(): Promise<void> {
    this.disk.crash();
    await this.uploads.close();
    await this.db.close();
    await this.begin();
  }

  get access(): Access {
    const decide: Access["decide"] = (who, action, resource) => {
      const may = action === "write" ? this.mayWrite : this.mayRead;
      return { allowed: resource.type !== "space" || may(who.id, resource.path), reason: "a test" };
    };
    return {
      authenticate: () => Promise.reject(new Error("nobody signs in here")),
      decide,
      reaches: () => true,
      require: (who, action, resource) => {
        if (!decide(who, action, resource).allowed) throw new SynclineError({ code: "DENIED", op: "test", message: "no" });
      },
    };
  }

  async part(by: Uploader, id: string, number: number, bytes: Uint8Array, piece = 300_000): Promise<void> {
    await using sink = await this.uploads.part(by, id, number, { sums: ["md5"] });
    for (let at = 0; at < bytes.length; at += piece) await sink.write(bytes.subarray(at, at + piece));
    await sink.end();
    await sink.commit();
  }

  async append(by: Uploader, id: string, offset: number, bytes: Uint8Array, piece = 300_000): Promise<number> {
    await using sink = await this.uploads.append(by, id, offset);
    for (let at = 0; at < bytes.length; at += piece) await sink.write(bytes.subarray(at, at + piece));
    return sink.commit();
  }

  complete(by: Uploader, id: string, more: Partial<Completion> = {}): Promise<Completed> {
    return this.uploads.complete(by, id, { traceId: TRACE, ...more });
  }

  create(by: Uploader, path: string, more: Partial<NewUpload> = {}) {
    return this.uploads.create(by, { space: "demo", path, kind: "parts", ...more });
  }

  /** As any other door would. */
  async put(path: string, bytes: Uint8Array): Promise<void> {
    const who = systemPrincipal("test");
    await using intake = this.spaces.intake(who, "demo");
    const { content, sum } = await intake.store(bytes);
    const entry = { kind: "file", size: content.size, mode: 0o644, mtimeNs: 1n, sum } as const;
    const change = { type: "put", path, expect: { kind: "any" }, entry, content, makeParents: true } as const;
    await this.spaces.commit(who, "demo", { changes: [change], intake, atomic: true, cause: "edit", traceId: TRACE });
  }

  /** The bytes at a path, and what is known of them. */
  async file(path: string) {
    const who = systemPrincipal("test");
    const version = (await this.spaces.version(who, "demo", path))!;
    const reader = await this.spaces.open(who, "demo", version);
    const bytes = new Uint8Array(reader.size);
    await reader.read(bytes, 0);
    return { version, bytes };
  }

  /** Long after everything that was put. */
  async prune(): Promise<number> {
    const { meta, chunks, uploads } = this;
    const clock = { ...openHost().clock, nowMs: () => this.nowMs + 2 * CHUNK_GRACE_MS };
    const signal = new AbortController().signal;
    const unfinished = () => uploads.liveChunks();
    return (await pruneChunks({ meta, chunks, clock, unfinished }, 1, signal)).removedChunks;
  }
}

export const person = (name: string, door = "test"): Uploader => ({
  who: { id: `user:${name}`, kind: "user", name, roles: [], scopes: undefined } satisfies Principal,
  door,
});

/** Bytes that look alike nowhere. */
export function noise(size: number, seed: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(size / 4));
  let state = (seed * 2654435761) | 1;
  for (let at = 0; at < words.length; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[at] = state;
  }
  return new Uint8Array(words.buffer, 0, size);
}

/** How it ended: "none", or the code of its error. */
export const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(() => "none", (error: unknown) => (error instanceof SynclineError ? error.code : String(error)));
