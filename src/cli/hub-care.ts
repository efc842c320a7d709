/** Backup, restore and check, put together: for a hub that runs, and for a data directory that no hub holds. */
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Actor } from "#access/audit.ts";
import { RoleBook } from "#access/decide.ts";
import { HubAccess, SEAL_FILE } from "#access/hub-access.ts";
import { type BackupProgress, type BackupResult, makeBackup } from "#hub/backup/make-backup.ts";
import { type RestoreResult, restoreBackup } from "#hub/backup/restore-backup.ts";
import { UPLOAD_MIGRATIONS } from "#hub/uploads/upload-rows.ts";
import { migrate } from "#platform/sql/migrate.ts";
import { type CheckOptions, type CheckResult, checkHub } from "#hub/check/check-hub.ts";
import type { Finding } from "#hub/check/findings.ts";
import { FreshChunks } from "#hub/fresh-chunks.ts";
import type { HubCare } from "#hub/hub-care.ts";
import { SqlMetaStore } from "#hub/meta/sql-meta-store.ts";
import { endJobsOfBackup } from "#jobs/jobs.ts";
import { SynclineError } from "#model/error.ts";
import type { Host } from "#platform/host.ts";
import type { Database } from "#platform/sql/database.ts";
import { type ServerDatabase, openPostgres } from "#platform/sql/postgres.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";
import { sqliteFault, sqliteFaults } from "#platform/sql/sqlite-check.ts";
import type { ChunkStore } from "#store/chunk-store.ts";
import type { PackSource } from "#store/packs/pack-source.ts";
import { openPacks } from "#store/packs/packs.ts";
import { VERSION } from "#cli/version.ts";

const PROGRAM = `syncline ${VERSION}`;
const DATABASE_FILE = "hub.db";
const KEYS_DIR = "keys";
/** The copy that a check looks at, with what SQLite puts beside it. */
const COPY_FILE = "check.db";
const BESIDE = ["", "-wal", "-shm", "-lock"];
const RESTORED_BY: Actor = { id: "system:restore" };

type CareParts = {
  readonly host: Host;
  readonly database: Database;
  /** The same, where it is on a server. */
  readonly server: ServerDatabase | undefined;
  readonly chunks: ChunkStore;
  readonly packs: PackSource;
  readonly access: HubAccess;
  readonly hubId: string;
  readonly dataDir: string;
  /** Chunks that a check has found damaged. */
  readonly onDamaged: CheckOptions["onDamaged"];
};

export class RunningHubCare implements HubCare {
  readonly #parts: CareParts;
  #isChecking = false;

  constructor(parts: CareParts) {
    this.#parts = parts;
  }

  async backup(
    by: Actor,
    directory: string,
    onProgress: (progress: BackupProgress) => void,
    signal: AbortSignal,
  ): Promise<BackupResult> {
    const { host, database, packs, access, hubId, dataDir } = this.#parts;
    const event = { action: "hub.backup", resource: "hub", details: { directory } };
    const parts = { fs: host.fs, clock: host.clock, database, faultIn: sqliteFault, packs, hubId, dataDir, program: PROGRAM };
    let result: BackupResult;
    try {
      result = await makeBackup(parts, directory, onProgress, signal);
    } catch (error) {
      await access.audit.append(by, { ...event, outcome: "failed" });
      throw error;
    }
    await access.audit.append(by, { ...event, outcome: "done" });
    return result;
  }

  async check(deep: boolean, onFinding: (finding: Finding) => void, signal: AbortSignal): Promise<CheckResult> {
    if (this.#isChecking) throw busy();
    this.#isChecking = true;
    const { server, chunks, packs, access, hubId, onDamaged } = this.#parts;
    try {
      // What the state that is looked at refers to stays.
      using _hold = await packs.hold();
      signal.throwIfAborted();
      const verifyAudit = () => access.audit.verify();
      const check = (database: Database, databaseFaults?: CheckOptions["databaseFaults"]): Promise<CheckResult> =>
        checkHub({ database, databaseFaults, hubId, chunks, verifyAudit, deep, onDamaged, onFinding }, signal);
      return await (server === undefined ? this.#onCopy(check, signal) : server.snapshot((database) => check(database)));
    } finally {
      this.#isChecking = false;
    }
  }

  async #onCopy<T>(
    work: (database: Database, faults: () => Promise<readonly string[]>) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T> {
    const file = join(this.#parts.dataDir, COPY_FILE);
    let copy: Database | undefined;
    try {
      removeCopy(file);
      await this.#parts.database.copyTo(file, signal);
      copy = openSqlite(file);
      return await work(copy, () => sqliteFaults(file));
    } finally {
      await copy?.close();
      removeCopy(file);
    }
  }
}

function removeCopy(file: string): void {
  for (const suffix of BESIDE) rmSync(`${file}${suffix}`, { force: true });
}

export type AtRest = { readonly host: Host; readonly dataDir: string; /** "sqlite" or a URL. */ readonly database: string };

/** Opens what is in a data directory that no hub holds, and nothing that is not. */
async function withStores<T>(
  { host, dataDir, database: url }: AtRest,
  work: (stores: { database: Database; meta: SqlMetaStore; chunks: ChunkStore; packs: PackSource }) => Promise<T>,
): Promise<T> {
  if (url === "sqlite" && !existsSync(join(dataDir, DATABASE_FILE))) throw noHub(dataDir);
  const database = url === "sqlite" ? openSqlite(join(dataDir, DATABASE_FILE)) : await openPostgres(url);
  try {
    const meta = await SqlMetaStore.open(database, host.random);
    const directory = join(dataDir, "chunks");
    // A hub that lost its chunks is one whose loss is to be told.
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const { store: chunks, source: packs } = await openPacks(host, directory);
    try {
      // What the last hub had not put into its packs yet.
      if (meta.keepsFresh) await (await FreshChunks.open({ meta, chunks, clock: host.clock })).close();
      return await work({ database, meta, chunks, packs });
    } finally {
      await chunks.close();
    }
  } finally {
    await database.close();
  }
}

export function backupAtRest(
  at: AtRest,
  directory: string,
  onProgress: (progress: BackupProgress) => void,
  signal: AbortSignal,
): Promise<BackupResult> {
  const { fs, clock } = at.host;
  return withStores(at, ({ database, meta, packs }) => {
    const parts = { fs, clock, database, faultIn: sqliteFault, packs, hubId: meta.hubId, dataDir: at.dataDir, program: PROGRAM };
    return makeBackup(parts, directory, onProgress, signal);
  });
}

export function checkAtRest(
  at: AtRest,
  deep: boolean,
  onFinding: (finding: Finding) => void,
  signal: AbortSignal,
): Promise<CheckResult> {
  return withStores(at, async ({ database, meta, chunks }) => {
    // It may be of an older program, that knew less of uploads.
    await migrate(database, "uploads", UPLOAD_MIGRATIONS);
    const keys = join(at.dataDir, KEYS_DIR);
    // Opened without its key the log would get a new one, and that would say nothing.
    const access = existsSync(join(keys, SEAL_FILE)) ? await openAccess(at.host, database, keys) : undefined;
    const verifyAudit = access === undefined ? undefined : () => access.audit.verify();
    const databaseFaults = database.engine === "sqlite" ? () => sqliteFaults(join(at.dataDir, DATABASE_FILE)) : undefined;
    return checkHub({ database, databaseFaults, hubId: meta.hubId, chunks, verifyAudit, deep, onFinding }, signal);
  });
}

function openAccess({ clock, random }: Host, database: Database, directory: string): Promise<HubAccess> {
  return HubAccess.open({ database, clock, random, directory, roles: new RoleBook([]), rulesOfHost: () => [] });
}

/** Every space gets a new lineage: whoever knows later sequences than the backup compares everything. */
export function restoreHub(
  host: Host,
  backup: string,
  target: string,
  onProgress: (doneBytes: number, totalBytes: number) => void,
  signal: AbortSignal,
): Promise<RestoreResult> {
  const { fs, random } = host;
  const token = random.bytes(4).toHex();
  const options = { fs, backup, target, token, onProgress };
  const finish = async (directory: string, { time }: { time: string }): Promise<void> => {
    const database = openSqlite(join(directory, DATABASE_FILE));
    try {
      const meta = await SqlMetaStore.open(database, random);
      const spaces = await meta.renewLineages(random);
      const { audit } = await openAccess(host, database, join(directory, KEYS_DIR));
      const endedJobs = await endJobsOfBackup(database, host.clock.nowMs());
      const details = { backupOf: time, spaces, endedJobs };
      await audit.append(RESTORED_BY, { action: "hub.restore", resource: "hub", outcome: "done", details });
    } finally {
      await database.close();
    }
  };
  return restoreBackup({ ...options, finish }, signal);
}

function busy(): SynclineError {
  return new SynclineError({
    code: "LIMIT",
    op: "check hub",
    message: "another check is running",
    hint: "wait until it has ended",
    retryable: true,
  });
}

function noHub(dataDir: string): SynclineError {
  return new SynclineError({
    code: "NOT_FOUND",
    op: "open hub",
    path: dataDir,
    message: "there is no hub in this directory",
    hint: "--data DIR names the data directory of a hub; for one that runs, --hub URL --token-file FILE",
  });
}
