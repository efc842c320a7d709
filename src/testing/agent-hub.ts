/** A hub as it really is, in a directory of its own: database, packs, authority, listener; with agents on real folders. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Principal, Role } from "#access/access.ts";
import { RoleBook } from "#access/decide.ts";
import { HubAccess } from "#access/hub-access.ts";
import { type AgentOptions, runAgent } from "#agent/agent.ts";
import { CarriedApprovals } from "#hub/agents/carried-approvals.ts";
import { HubAgents } from "#hub/agents/hub-agents.ts";
import { HUB_TLS_NAME } from "#hub/agents/hello.ts";
import type { DeclaredLink } from "#hub/agents/link.ts";
import { LINK_SETTINGS, type LinkSettings } from "#hub/agents/link.ts";
import { AgentListener } from "#hub/agents/listener.ts";
import { AgentRegistry } from "#hub/agents/registry.ts";
import { makeBackup } from "#hub/backup/make-backup.ts";
import { CutsThread } from "#hub/cuts/cuts-thread.ts";
import { ComingFiles } from "#hub/endpoint/coming-files.ts";
import { ViewDigests } from "#hub/endpoint/view-digest.ts";
import { SpaceEndpoint } from "#hub/endpoint/space-endpoint.ts";
import { HubSpaces } from "#hub/hub-spaces.ts";
import { SqlMetaStore } from "#hub/meta/sql-meta-store.ts";
import type { Space } from "#hub/space.ts";
import type { FileSystem } from "#platform/file-system.ts";
import { openHost } from "#platform/host-bun.ts";
import type { Host } from "#platform/host.ts";
import type { Database } from "#platform/sql/database.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";
import { sqliteFault } from "#platform/sql/sqlite-check.ts";
import type { ChunkStore } from "#store/chunk-store.ts";
import type { PackSource } from "#store/packs/pack-source.ts";
import { openPacks } from "#store/packs/packs.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import { DirEndpoint } from "#sync/endpoint/dir-endpoint.ts";
import { openOrReplace } from "#sync/index/sqlite-store.ts";

/**
 * Of one test with agents. The runtime's own limit is five seconds: on a busy machine it ends a test that is well, whose
 * body then goes on in the hub of the next one.
 */
export const AGENT_TEST_MS = 60_000;
/** Large files of tests need not be larger. */
const COMING_BYTES = 2 << 20;
export const JOIN_TOKEN = "fedcba9876543210fedcba9876543210";
export const ADMIN: Principal = { id: "user:admin", kind: "user", name: "admin", roles: ["admin"], scopes: undefined };
const BY = { id: "user:admin" };
const PROGRAM = "syncline test";

export function hashOf(text: string, digits: number): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, digits);
}

export function linkTo(root: string, space: string, settings: Partial<LinkSettings> = {}, prefix = ""): DeclaredLink {
  return { root, space, prefix, settings: LINK_SETTINGS.parse({ settle: "immediate", ...settings }) };
}

type Parts = {
  agents: HubAgents; db: Database; meta: SqlMetaStore; chunks: ChunkStore; packs: PackSource;
  access: HubAccess; spaces: HubSpaces; registry: AgentRegistry; listener: AgentListener;
};

/** Puts something around the roots of an agent. */
export type WrapRoot = (root: Endpoint) => Endpoint;

/** A running agent of a test. */
export type TestAgent = { readonly name: string; readonly dataDir: string; stop(): Promise<void>; readonly failed: Promise<unknown> };

export class AgentHub implements AsyncDisposable {
  readonly dir = mkdtempSync(join(tmpdir(), "syncline-hub-"));
  host: Host = openHost();
  readonly log: string[] = [];
  /** Cuts large files of the hub, as in its process; undefined where there is one processor. */
  readonly cuts = CutsThread.make();
  /** What the hub keeps; another one may be put in its place while it is stopped. */
  dataDir = join(this.dir, "hub");
  /** Puts something around the disk of its chunks, from the next start on. */
  wrapDisk: (fs: FileSystem) => FileSystem = (fs) => fs;
  #parts: Parts | undefined;
  #port = 0;
  #roles: readonly Role[] = [];
  readonly #agents = new Set<TestAgent>();

  static async start(spaces: readonly string[] = ["demo"], roles: readonly Role[] = []): Promise<AgentHub> {
    const hub = new AgentHub();
    hub.#roles = roles;
    await hub.start();
    for (const name of spaces) await hub.spaces.createSpace(ADMIN, name);
    await hub.access.joinTokens.create(BY, { value: JOIN_TOKEN, labels: ["test"] });
    return hub;
  }

  get #now(): Parts {
    return this.#parts!;
  }

  get access(): HubAccess {
    return this.#now.access;
  }

  get spaces(): HubSpaces {
    return this.#now.spaces;
  }

  get registry(): AgentRegistry {
    return this.#now.registry;
  }

  get agents(): HubAgents {
    return this.#now.agents;
  }

  get listener(): AgentListener {
    return this.#now.listener;
  }

  get database(): Database {
    return this.#now.db;
  }

  get chunks(): ChunkStore {
    return this.#now.chunks;
  }

  get meta(): SqlMetaStore {
    return this.#now.meta;
  }

  get port(): number {
    return this.#port;
  }

  async start(): Promise<void> {
    const { host } = this;
    const { clock, random } = host;
    const folder = this.dataDir;
    mkdirSync(join(folder, "stage"), { recursive: true });
    const db = openSqlite(join(folder, "hub.db"));
    const registry = await AgentRegistry.open({ db, clock, random });
    const access = await HubAccess.open({
      database: db, clock, random, directory: join(folder, "keys"), roles: new RoleBook(this.#roles),
      rulesOfHost: (name) => registry.rulesOfHost(name),
    });
    const meta = await SqlMetaStore.open(db, random);
    mkdirSync(join(folder, "chunks"), { recursive: true });
    const { store: chunks, source: packs } = await openPacks({ ...host, fs: this.wrapDisk(host.fs) }, join(folder, "chunks"));
    const spaces = await HubSpaces.open({ meta, chunks, access, audit: access.audit, clock, random, cuts: this.cuts });
    await registry.spacesAre(await spaces.spaces(ADMIN));
    spaces.onRename((space) => registry.spacesAre([space]));
    const carried = await CarriedApprovals.open({ db, registry, spaces, access, clock });
    const { identity } = access.authority.serverIdentity([HUB_TLS_NAME, "localhost", "127.0.0.1"]);
    const digests = new ViewDigests();
    const coming = new ComingFiles(COMING_BYTES);
    const listener = new AgentListener({
      listen: { host: "127.0.0.1", port: this.#port },
      identity,
      hubId: meta.hubId,
      authority: {
        ca: access.authority.certificate,
        enrol: (token, request, from) => access.enrol(token, request, from),
        renew: (old, request, from) => access.hosts.renew(old, request, from),
        labelsOf: async (name) => (await access.hosts.get(name))?.labels,
      },
      access,
      registry,
      carried,
      mayDeclare: (_host, link) => link.space !== "forbidden",
      resolveSpace: (who, link) => spaces.space(who, link.space).then((space: Space) => ({ id: space.id, seeds: space.seeds, ignore: space.settings.ignore })),
      openSpace: (who, link, readOnly) =>
        new SpaceEndpoint({
          spaces, who, readOnly, host, space: link.space, prefix: link.prefix, hubId: meta.hubId,
          label: `${link.space}/${link.prefix}`, stageFolder: join(folder, "stage"), hash: (text) => hashOf(text, 32), digests, coming,
        }),
      stageFolder: join(folder, "stage"),
      onAccessChange: (changed, signal) => access.onChange(changed, signal),
      host,
      program: PROGRAM,
      log: (message, fields) => this.log.push(line("hub", message, fields)),
    });
    this.#port = listener.port;
    const agents = await HubAgents.open({
      registry, listener, carried, access, clock,
      removeIdentity: (by, name) => access.hosts.remove(by, name),
      revokeIdentity: (by, name) => access.hosts.revoke(by, name),
      setLabels: (by, name, labels) => access.hosts.setLabels(by, name, labels),
    });
    this.#parts = { agents, db, meta, chunks, packs, access, spaces, registry, listener };
  }

  /** While it runs. */
  async backup(directory: string): Promise<void> {
    const { db: database, meta, packs } = this.#now;
    const { fs, clock } = this.host;
    const parts = { fs, clock, database, faultIn: sqliteFault, packs, hubId: meta.hubId, dataDir: this.dataDir, program: PROGRAM };
    await makeBackup(parts, directory, () => undefined, new AbortController().signal);
  }

  async stop(): Promise<void> {
    const parts = this.#parts;
    this.#parts = undefined;
    if (parts === undefined) return;
    await parts.listener.close();
    await parts.chunks.close();
    await parts.db.close();
  }

  /** A folder of a host, made when it is missing. */
  folder(name: string): string {
    const path = join(this.dir, "hosts", name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  agent(name: string, links: readonly DeclaredLink[], given: Partial<AgentOptions> & { wrapRoot?: WrapRoot } = {}): TestAgent {
    const { wrapRoot = (root) => root, ...more } = given;
    const { host } = this;
    const dataDir = join(this.dir, "agents", name);
    const openState = (file: string) => {
      mkdirSync(join(dataDir, file, ".."), { recursive: true });
      return openOrReplace(join(dataDir, file), { check: false }).store;
    };
    const stop = new AbortController();
    const running = runAgent(
      {
        address: { kind: "sync", host: "127.0.0.1", port: this.#port },
        name, dataDir, links, host, openState,
        joinToken: () => JOIN_TOKEN,
        fingerprint: undefined,
        acceptNew: true,
        ignore: [],
        hooks: { before: undefined, after: undefined, timeoutMs: 10_000, onAfterFailure: "report" },
        mayInstall: false,
        onReload: () => undefined,
        program: PROGRAM,
        platform: "test",
        openRoot: (path) =>
          wrapRoot(new DirEndpoint({
            host, path, label: path, readOnly: false,
            openStore: (file) => openState(`roots/${file}.db`),
            removeStore: () => undefined,
            hash: (text) => hashOf(text, 32),
          })),
        hash: hashOf,
        installation: name,
        log: (message, fields) => this.log.push(line(name, message, fields)),
        ...more,
      },
      stop.signal,
    );
    const failed = running.then(() => undefined, (error: unknown) => error);
    const agent: TestAgent = {
      name, dataDir, failed,
      stop: async () => {
        this.#agents.delete(agent);
        stop.abort();
        await failed;
      },
    };
    this.#agents.add(agent);
    return agent;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#agents].map((agent) => agent.stop()));
    await this.stop();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function line(who: string, message: string, fields: object): string {
  return [who, message, ...Object.entries(fields).map(([name, value]) => `${name}=${String(value)}`)].join(" ");
}

/** Waits until something is so; the test's own time limit ends it, with what was there last. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>, patienceMs = 20_000): Promise<void> {
  const end = performance.now() + patienceMs;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`waited in vain until ${what}`);
    await Bun.sleep(5);
  }
}
