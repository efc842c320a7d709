/** A whole hub in a directory of its own, and directories that sessions keep the same with its spaces. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type Access, type Principal, systemPrincipal } from "#access/access.ts";
import { Audit } from "#access/audit.ts";
import { ACCESS_MIGRATIONS } from "#access/schema.ts";
import { SealKey } from "#access/seal-key.ts";
import { ComingFiles } from "#hub/endpoint/coming-files.ts";
import { SpaceEndpoint } from "#hub/endpoint/space-endpoint.ts";
import { ENCRYPTED, OPENER_BYTES, encryptionText, storedPartBytes } from "#hub/encrypted-content.ts";
import { HubSpaces, seedsOf } from "#hub/hub-spaces.ts";
import { SqlMetaStore } from "#hub/meta/sql-meta-store.ts";
import type { Attributes } from "#hub/attributes.ts";
import type { Version } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import { openHost } from "#platform/host-bun.ts";
import type { Database } from "#platform/sql/database.ts";
import { migrate } from "#platform/sql/migrate.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";
import { MemoryChunkDisk, MemoryChunks } from "#store/memory-chunks.ts";
import { DirEndpoint } from "#sync/endpoint/dir-endpoint.ts";
import { openSqliteStore } from "#sync/index/sqlite-store.ts";
import type { Store } from "#sync/index/store.ts";
import type { SessionEvent, SessionOptions } from "#sync/session/events.ts";
import { runSession } from "#sync/session/session.ts";
import { PLAIN_OPTIONS } from "#sync/session/session-fixture.ts";

const shortHash = (text: string): string => new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 12);

export const TRACE = "0123456789abcdef0123456789abcdef";

/** For tests of what does not depend on rights; those of rights are access/'s own and the doors'. */
export const EVERYTHING: Access = {
  authenticate: () => Promise.reject(new Error("nobody signs in here")),
  decide: () => ({ allowed: true, reason: "a test" }),
  reaches: () => true,
  require: () => undefined,
};

export class TestHub implements AsyncDisposable {
  readonly dir: string;
  readonly spaces: HubSpaces;
  readonly meta: SqlMetaStore;
  readonly chunks: MemoryChunks;
  readonly database: Database;
  /** Of the chunks. */
  readonly disk: MemoryChunkDisk;
  readonly audit: Audit;
  readonly who: Principal = systemPrincipal("test");
  readonly host = openHost();
  /** Large files of tests need not be larger. */
  readonly coming = new ComingFiles(2 << 20);

  private constructor(
    dir: string,
    spaces: HubSpaces,
    database: Database,
    meta: SqlMetaStore,
    chunks: MemoryChunks,
    disk: MemoryChunkDisk,
    audit: Audit,
  ) {
    this.dir = dir;
    this.spaces = spaces;
    this.meta = meta;
    this.chunks = chunks;
    this.database = database;
    this.disk = disk;
    this.audit = audit;
  }

  /** @param access undefined: everybody may do everything */
  static async open(access: Access = EVERYTHING, clock: Clock = openHost().clock): Promise<TestHub> {
    const dir = mkdtempSync(join(tmpdir(), "syncline-hub-"));
    mkdirSync(join(dir, "stage"));
    const { random } = openHost();
    const db = openSqlite(join(dir, "hub.db"));
    const meta = await SqlMetaStore.open(db, random);
    await migrate(db, "access", ACCESS_MIGRATIONS);
    const audit = new Audit(db, clock, new SealKey(random.bytes(32), random));
    const disk = new MemoryChunkDisk();
    const chunks = new MemoryChunks(() => clock.nowMs(), disk);
    const spaces = await HubSpaces.open({ meta, chunks, access, audit, clock, random });
    return new TestHub(dir, spaces, db, meta, chunks, disk, audit);
  }

  /** Commits a file as a door would. */
  async put(space: string, path: string, text: string, attributes?: Attributes): Promise<number> {
    await using intake = this.spaces.intake(this.who, space);
    const { content, sum } = await intake.store(Buffer.from(text));
    const entry = { kind: "file", size: content.size, mode: 0o644, mtimeNs: 1n, sum } as const;
    const expect = { kind: "any" } as const;
    const change = { type: "put", path, expect, entry, content, attributes, makeParents: true } as const;
    const request = { changes: [change], intake, atomic: true, cause: "upload", traceId: TRACE, isAlone: true } as const;
    return (await this.spaces.commit(this.who, space, request)).after;
  }

  /** A file that is encrypted with a key of its client, as the S3 door would commit it: nothing here looks into its bytes. */
  async putEncrypted(space: string, path: string, size: number, more: Attributes = {}): Promise<Version> {
    await using intake = this.spaces.intake(this.who, space);
    const { random } = this.host;
    const { content } = await intake.store(random.bytes(storedPartBytes(size)));
    const entry = { kind: "file", size, mode: 0o644, mtimeNs: 1n, sum: undefined } as const;
    const text = encryptionText({ opener: random.bytes(OPENER_BYTES), parts: [{ number: 1, size }], sums: {} });
    const attributes = { ...more, [ENCRYPTED]: text };
    const change = { type: "put", path, expect: { kind: "any" }, entry, content, attributes, makeParents: true } as const;
    const request = { changes: [change], intake, atomic: true, cause: "upload", traceId: TRACE } as const;
    const [result] = (await this.spaces.commit(this.who, space, request)).results;
    if (result?.status !== "done") throw new Error(`it was not put: ${JSON.stringify(result)}`);
    return result.version;
  }

  /** Paths and texts of all files, as a reader sees them. */
  async files(space: string): Promise<Record<string, string>> {
    const all: Record<string, string> = {};
    const request = { below: "", after: undefined, shallow: false, limit: 10_000, at: undefined };
    for (const version of await this.spaces.list(this.who, space, request)) {
      if (version.entry?.kind !== "file") continue;
      const reader = await this.spaces.open(this.who, space, version);
      const bytes = new Uint8Array(reader.size);
      await reader.read(bytes, 0);
      all[version.path] = Buffer.from(bytes).toString();
    }
    return all;
  }

  /** What a power loss leaves of it, opened by another process. This one must not be used any more, nor be closed. */
  async afterPowerLoss(): Promise<TestHub> {
    const { dir, database, meta, disk, audit, host } = this;
    disk.crash();
    const { clock, random } = host;
    const chunks = new MemoryChunks(() => clock.nowMs(), disk);
    const spaces = await HubSpaces.open({ meta, chunks, access: EVERYTHING, audit, clock, random });
    return new TestHub(dir, spaces, database, meta, chunks, disk, audit);
  }

  endpoint(space: string, prefix = "", readOnly = false): SpaceEndpoint {
    const { spaces, who, host } = this;
    const stageFolder = join(this.dir, "stage");
    const label = `hub/${space}`;
    return new SpaceEndpoint({
      spaces, who, space, prefix, readOnly, label, host, stageFolder, hubId: this.meta.hubId, hash: shortHash,
      coming: this.coming,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.spaces.close();
    await this.meta.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** What a full disk says. */
export function diskFull(): SynclineError {
  return new SynclineError({ code: "DISK", op: "test", message: "the disk is full" });
}

/** A directory on some host that is kept the same with (a part of) a space. */
export class TestLink {
  readonly root: string;
  readonly #hub: TestHub;
  readonly #name: string;
  readonly #space: string;
  readonly #prefix: string;

  constructor(hub: TestHub, name: string, space: string, prefix = "") {
    this.#hub = hub;
    this.#name = name;
    this.#space = space;
    this.#prefix = prefix;
    this.root = join(hub.dir, name);
    mkdirSync(this.root, { recursive: true });
  }

  #store(name: string): Store {
    const file = join(this.#hub.dir, `state-${this.#name}`, `${name}.db`);
    mkdirSync(dirname(file), { recursive: true });
    return openSqliteStore(file);
  }

  async run(more: Partial<SessionOptions> = {}, signal = new AbortController().signal) {
    const { host, spaces, who } = this.#hub;
    const events: SessionEvent[] = [];
    const store = this.#store("session");
    const openStore = (name: string): Store => this.#store(name);
    try {
      const summary = await runSession({
        sessionId: shortHash(this.#name).repeat(3).slice(0, 32),
        alpha: () => new DirEndpoint({ host, path: this.root, label: this.#name, openStore, hash: shortHash }),
        beta: () => this.#hub.endpoint(this.#space, this.#prefix),
        options: { ...PLAIN_OPTIONS, conflict: "copy", ...more },
        seeds: seedsOf(await spaces.space(who, this.#space)),
        store,
        host,
        onEvent: (event) => events.push(event),
        hash: shortHash,
        signal,
      });
      return { summary, events };
    } finally {
      store.close();
    }
  }
}
