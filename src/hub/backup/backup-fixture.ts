/** A hub's data directory with real stores, which can be stopped, backed up, damaged, restored and looked at. */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Principal, systemPrincipal } from "#access/access.ts";
import { RoleBook } from "#access/decide.ts";
import { HubAccess } from "#access/hub-access.ts";
import { type BackupProgress, type BackupResult, makeBackup } from "#hub/backup/make-backup.ts";
import { type RestoreResult, restoreBackup } from "#hub/backup/restore-backup.ts";
import { type CheckResult, checkHub } from "#hub/check/check-hub.ts";
import type { Finding } from "#hub/check/findings.ts";
import { HubSpaces } from "#hub/hub-spaces.ts";
import { UPLOAD_MIGRATIONS } from "#hub/uploads/upload-rows.ts";
import { migrate } from "#platform/sql/migrate.ts";
import { SqlMetaStore } from "#hub/meta/sql-meta-store.ts";
import type { FileSystem } from "#platform/file-system.ts";
import { openHost } from "#platform/host-bun.ts";
import type { Database } from "#platform/sql/database.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";
import { sqliteFault, sqliteFaults } from "#platform/sql/sqlite-check.ts";
import type { ChunkStore } from "#store/chunk-store.ts";
import type { PackSource } from "#store/packs/pack-source.ts";
import { openPacks } from "#store/packs/packs.ts";

export const TRACE = "0123456789abcdef0123456789abcdef";
export const never: AbortSignal = new AbortController().signal;

export type Stores = {
  readonly db: Database;
  readonly meta: SqlMetaStore;
  readonly chunks: ChunkStore;
  readonly packs: PackSource;
  readonly access: HubAccess;
  readonly spaces: HubSpaces;
};

export class BackupLab implements Disposable {
  readonly dir = mkdtempSync(join(tmpdir(), "syncline-backup-"));
  readonly host = openHost();
  readonly who: Principal = systemPrincipal("test");

  path(name: string): string {
    return join(this.dir, name);
  }

  async open(name = "hub"): Promise<Stores & AsyncDisposable> {
    const stores = await this.#open(name);
    const { meta, chunks, access } = stores;
    const { clock, random } = this.host;
    const spaces = await HubSpaces.open({ meta, chunks, access, audit: access.audit, clock, random });
    const close = async (): Promise<void> => {
      await spaces.close();
      await stores[Symbol.asyncDispose]();
    };
    return { ...stores, spaces, [Symbol.asyncDispose]: close };
  }

  async #open(name: string): Promise<Omit<Stores, "spaces"> & AsyncDisposable> {
    const { clock, random } = this.host;
    const dataDir = this.path(name);
    mkdirSync(join(dataDir, "chunks"), { recursive: true });
    const db = openSqlite(join(dataDir, "hub.db"));
    const meta = await SqlMetaStore.open(db, random);
    await migrate(db, "uploads", UPLOAD_MIGRATIONS);
    const limits = { packBytes: 1 << 20, packRecords: 1 << 18, bufferBytes: 8 << 20, largeBytes: 64 << 10 };
    const { store: chunks, source: packs } = await openPacks(this.host, join(dataDir, "chunks"), limits);
    const access = await HubAccess.open({
      database: db, clock, random, directory: join(dataDir, "keys"), roles: new RoleBook([]), rulesOfHost: () => [],
    });
    const close = async (): Promise<void> => {
      await chunks.close();
      await db.close();
    };
    return { db, meta, chunks, packs, access, [Symbol.asyncDispose]: close };
  }

  async put({ spaces }: Stores, space: string, files: Readonly<Record<string, string | Uint8Array>>): Promise<number> {
    await using intake = spaces.intake(this.who, space);
    const changes = [];
    for (const [path, bytes] of Object.entries(files)) {
      const { content, sum } = await intake.store(typeof bytes === "string" ? Buffer.from(bytes) : bytes, { sums: path === "large" ? ["md5"] : [] });
      const entry = { kind: "file", size: content.size, mode: 0o644, mtimeNs: 1n, sum } as const;
      const attributes = { "user.path": path };
      changes.push({ type: "put", path, expect: { kind: "any" }, entry, content, attributes, makeParents: true } as const);
    }
    const request = { changes, intake, atomic: true, cause: "upload", traceId: TRACE } as const;
    return (await spaces.commit(this.who, space, request)).after;
  }

  /** Paths and contents (as hashes) of all files. */
  async files({ spaces }: Stores, space: string): Promise<Record<string, string>> {
    const all: Record<string, string> = {};
    const request = { below: "", after: undefined, shallow: false, limit: 10_000, at: undefined };
    for (const version of await spaces.list(this.who, space, request)) {
      if (version.entry?.kind !== "file") continue;
      const reader = await spaces.open(this.who, space, version);
      const bytes = new Uint8Array(reader.size);
      await reader.read(bytes, 0);
      all[version.path] = bytes.length < 40 ? Buffer.from(bytes).toString() : Bun.hash(bytes).toString(16);
    }
    return all;
  }

  backup(
    stores: Stores,
    more: { fs?: FileSystem; name?: string; data?: string; signal?: AbortSignal; onProgress?: (progress: BackupProgress) => void } = {},
  ): Promise<BackupResult> {
    const { db: database, packs, meta } = stores;
    const dataDir = this.path(more.data ?? "hub");
    const fs = more.fs ?? this.host.fs;
    const parts = { fs, clock: this.host.clock, database, faultIn: sqliteFault, packs, hubId: meta.hubId, dataDir, program: "test" };
    const target = this.path(more.name ?? "backup");
    return makeBackup(parts, target, more.onProgress ?? (() => undefined), more.signal ?? never);
  }

  /** Files only: the lineages stay. */
  restore(name: string, backup = "backup", fs: FileSystem = this.host.fs): Promise<RestoreResult> {
    const options = {
      fs, backup: this.path(backup), target: this.path(name), token: "aa",
      finish: () => Promise.resolve(), onProgress: () => undefined,
    };
    return restoreBackup(options, never);
  }

  async check(name = "hub", deep = false): Promise<CheckResult & { found: Finding[] }> {
    await using stores = await this.#open(name);
    const { db: database, meta, chunks, access } = stores;
    const found: Finding[] = [];
    const verifyAudit = () => access.audit.verify();
    const onFinding = (one: Finding): void => void found.push(one);
    const databaseFaults = () => sqliteFaults(this.path(`${name}/hub.db`));
    const result = await checkHub({ database, databaseFaults, hubId: meta.hubId, chunks, verifyAudit, deep, onFinding }, never);
    return { ...result, found };
  }

  has(name: string): boolean {
    return existsSync(this.path(name));
  }

  [Symbol.dispose](): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export function bytesOf(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = (seed + 1) >>> 0;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

/** A file system whose process ends at the n-th change of anything: from then on nothing works. */
export function killedAt(real: FileSystem, count: number): { fs: FileSystem; isKilled: () => boolean } {
  const changing = new Set(["create", "write", "writeAsync", "rename", "unlink", "rmdir", "mkdir", "sync", "truncate"]);
  let left = count;
  let killed = false;
  const fs = new Proxy(real, {
    get(target, name) {
      const value = Reflect.get(target, name) as unknown;
      if (typeof value !== "function") return value;
      return (...args: unknown[]): unknown => {
        // Descriptors of a process that has ended are closed by the system.
        if (name !== "close" && (killed || (changing.has(String(name)) && left-- === 0))) {
          killed = true;
          throw new Error("killed");
        }
        return (value as (...args: unknown[]) => unknown).apply(target, args);
      };
    },
  });
  return { fs, isKilled: () => killed };
}
