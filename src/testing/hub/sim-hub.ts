/**
 * The hub of a simulation: one host with packs and stages on its simulated disk and rows in a simulated database, that
 * outlives its processes. What it runs is the product: HubSpaces, SqlMetaStore, packs and space endpoints.
 */
import type { Access, Principal } from "#access/access.ts";
import { makeBackup } from "#hub/backup/make-backup.ts";
import { restoreBackup } from "#hub/backup/restore-backup.ts";
import { ComingFiles } from "#hub/endpoint/coming-files.ts";
import { SpaceEndpoint } from "#hub/endpoint/space-endpoint.ts";
import type { SpaceAudit } from "#hub/space-audit.ts";
import { HubSpaces, seedsOf } from "#hub/hub-spaces.ts";
import { SqlMetaStore } from "#hub/meta/sql-meta-store.ts";
import type { SpaceSettings } from "#hub/space.ts";
import { HubUploads } from "#hub/uploads/hub-uploads.ts";
import { UPLOAD_MIGRATIONS, UploadRows } from "#hub/uploads/upload-rows.ts";
import type { Entry } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import { migrate } from "#platform/sql/migrate.ts";
import type { ChunkStore } from "#store/chunk-store.ts";
import type { PackLimits } from "#store/packs/appender.ts";
import type { PackSource } from "#store/packs/pack-source.ts";
import { SMALL } from "#store/packs/packs-fixture.ts";
import { openPacks } from "#store/packs/packs.ts";
import type { SumSeeds } from "#sync/chunk/sum.ts";
import { SimDatabase, SimDatabaseDisk } from "#testing/hub/sim-database.ts";
import type { SimClock } from "#testing/sim-clock.ts";
import { type SimBoot, SimHost } from "#testing/sim-host.ts";
import { SimCrash } from "#testing/sim-process.ts";
import type { SimRandom } from "#testing/sim-random.ts";
import type { SimServer } from "#testing/sim-server.ts";
import { simHash } from "#testing/sim-world.ts";

export const SPACE = "demo";
/** On the hub's disk. */
const DATA = "/hub";
export const PACKS = `${DATA}/chunks`;
const STAGE = `${DATA}/stage`;
const BACKUP = "/backup";
/** As small as a file may be that is taken in pieces. */
const COMING_BYTES = 2 << 20;
/** How long the hub is down after a crash. */
const DOWN_MS = 3000;
/** Longest that the last calls of a process that ends are under way. */
const LAST_CALLS_MS = 1000;
/** How often it is started where its disk refuses. */
const STARTS_MAX = 200;

const never = new AbortController().signal;

/** Rights are judged elsewhere. */
export const EVERYTHING: Access = {
  authenticate: () => Promise.reject(new Error("nobody signs in here")),
  decide: () => ({ allowed: true, reason: "a simulation" }),
  reaches: () => true,
  require: () => undefined,
};

export function principal(kind: "user" | "agent", name: string): Principal {
  return { id: `${kind}:${name}`, kind, name, roles: [], scopes: undefined };
}

/** One start of the hub, as long as it lives. */
export type HubProcess = {
  readonly boot: SimBoot;
  readonly spaces: HubSpaces;
  readonly meta: SqlMetaStore;
  readonly chunks: ChunkStore;
  readonly packs: PackSource;
  readonly database: SimDatabase;
  readonly coming: ComingFiles;
  readonly uploads: HubUploads;
  /** Resolves when it has ended. */
  readonly ended: Promise<void>;
};

/** What a session took for being at a path when it changed it. */
export type Believed = { readonly runId: string; readonly path: RelPath; readonly old: Entry | undefined };

/** Which part of the space a link keeps, and who may change what there. */
export type Part = { readonly name: string; readonly prefix: string; readonly readOnly: boolean };

/** The audit log has tests of its own; nothing here depends on it. */
export const UNRECORDED: SpaceAudit = { append: async () => undefined, appendIn: async () => undefined };

export class SimHub {
  readonly host: SimHost;
  readonly clock: SimClock;
  /** Undefined while it is down. */
  process: HubProcess | undefined;
  /** Prepares each process when it starts. */
  onBoot: ((boot: SimBoot) => void) | undefined;
  /** Around each commit of the database; a crash() thrown here ends the hub there. */
  onCommit: ((when: "before" | "after") => void) | undefined;
  /** Others have their turn directly before a session's changes are committed. */
  beforeCommit: (() => Promise<void>) | undefined;
  crashes = 0;
  /** How often it came back as a backup of it was. */
  restores = 0;
  hasBackup = false;
  /**
   * Its disk failed. What could not be read at a start is not known to that process, and after some failures it takes no
   * more chunks: both end with a restart.
   */
  isDoubtful = false;
  /** Those who are told when a process ends and when one is there. */
  readonly servers = new Set<SimServer>();
  /** Of every change that a session asked for. */
  readonly believed: Believed[] = [];
  readonly #random: SimRandom;
  readonly #disk = new SimDatabaseDisk();
  readonly #limits: PackLimits;
  readonly #asyncDelayMs: number;
  readonly say: (line: string) => void;
  #boot: SimBoot | undefined;
  #end = Promise.withResolvers<void>();
  #up = Promise.withResolvers<void>();
  #starts = 0;

  /** Called for each process when it is there, before anybody else may use it. */
  onStarted: ((process: HubProcess) => Promise<void>) | undefined;

  constructor(clock: SimClock, random: SimRandom, say: (line: string) => void) {
    this.clock = clock;
    this.#random = random;
    this.say = say;
    this.#limits = random.pick([SMALL, { ...SMALL, packBytes: 300 << 10 }]);
    this.#asyncDelayMs = random.pick([0, 0, 5, 50]);
    const disk = { orderedNames: random.chance(0.5), syncCoversName: random.chance(0.5) };
    this.host = new SimHost(clock, random, { name: "hub", disk, watch: false });
    for (const dir of [PACKS, STAGE, `${DATA}/keys`]) this.host.user.mkdir(dir, 0o700);
    this.host.disk.settle();
  }

  /** The living process; waits until there is one. */
  async living(): Promise<HubProcess> {
    while (this.process === undefined) await this.#up.promise;
    return this.process;
  }

  start(): void {
    void this.#start();
  }

  async #start(): Promise<void> {
    if (++this.#starts > STARTS_MAX) throw new Error(`the hub did not start in ${STARTS_MAX} attempts`);
    const boot = this.host.boot({ asyncDelayMs: this.#asyncDelayMs });
    this.#boot = boot;
    this.onBoot?.(boot);
    try {
      const { store: chunks, source: packs } = await openPacks(boot, PACKS, this.#limits);
      const database = this.#database(boot);
      const meta = await SqlMetaStore.open(database, boot.random);
      await migrate(database, "uploads", UPLOAD_MIGRATIONS);
      const { clock, random } = boot;
      const spaces = await HubSpaces.open({ meta, chunks, access: EVERYTHING, audit: UNRECORDED, clock, random });
      if (boot.fs.isDead) return;
      const rows = new UploadRows(database);
      const uploads = new HubUploads({ rows, spaces, meta, access: EVERYTHING, clock, random });
      const coming = new ComingFiles(COMING_BYTES);
      this.process = { boot, spaces, meta, chunks, packs, database, coming, uploads, ended: this.#end.promise };
    } catch (error) {
      if (boot.fs.isDead) return;
      if (!(error instanceof SynclineError)) throw error;
      this.say(`hub: could not start: ${error.message}`);
      this.#gone(false);
      return;
    }
    await this.onStarted?.(this.process);
    if (boot.fs.isDead) return;
    this.say("hub: started");
    for (const server of this.servers) server.started(boot);
    this.#up.resolve();
    this.#up = Promise.withResolvers();
  }

  #database(boot: SimBoot, onCommit = (when: "before" | "after") => this.onCommit?.(when)): SimDatabase {
    return new SimDatabase({
      disk: this.#disk,
      clock: this.clock,
      random: this.#random.fork(`database ${this.#starts}`),
      isDead: () => boot.fs.isDead,
      onCommit,
      write: (file, text) => {
        this.host.user.write(file, text);
        this.host.disk.sync(this.host.disk.inodeAt(file));
      },
    });
  }

  /** Ends here and now, as kill -9 or a power loss ends it, and comes back later. Throw what is returned from within it. */
  crash(why: string, power: boolean): SimCrash {
    this.crashes++;
    this.say(`hub: ${power ? "lost power" : "died"} ${why}`);
    this.#gone(power);
    return new SimCrash(`the hub ${power ? "lost power" : "died"} ${why}`);
  }

  /** What it has is copied while it works; one backup takes the place of the one before. */
  async backUp(): Promise<void> {
    const { boot, meta, packs, database } = this.process!;
    // It lies in no file of the system.
    const faultIn = (): Promise<undefined> => Promise.resolve(undefined);
    const parts = { fs: boot.fs, clock: boot.clock, database, faultIn, packs, hubId: meta.hubId, dataDir: DATA, program: "simulation" };
    await makeBackup(parts, BACKUP, () => undefined, never);
    this.hasBackup = true;
  }

  /** A living one is lost with all that it has, and comes back as it was backed up. */
  lose(): void {
    this.say("hub: lost, and restored from its backup");
    this.#gone(false, () => void this.#restore());
  }

  async #restore(): Promise<void> {
    const boot = this.host.boot({ asyncDelayMs: this.#asyncDelayMs });
    this.host.user.remove(DATA);
    const finish = async (directory: string): Promise<void> => {
      this.#disk.goBack(Number(this.host.user.read(`${directory}/hub.db`)));
      const database = this.#database(boot, () => undefined);
      await (await SqlMetaStore.open(database, boot.random)).renewLineages(boot.random);
      await database.close();
    };
    const options = { fs: boot.fs, backup: BACKUP, target: DATA, token: "0", finish, onProgress: () => undefined };
    await restoreBackup(options, never);
    if (boot.fs.openFds() > 0) throw new Error(`a restore left open ${boot.fs.openPaths().join(", ")}`);
    this.host.kill(boot);
    this.host.user.mkdir(STAGE, 0o700);
    this.host.disk.settle();
    this.isDoubtful = false;
    this.restores++;
    this.start();
  }

  #gone(power: boolean, comeBack: () => void = () => this.start()): void {
    this.process = undefined;
    if (this.#boot !== undefined) this.host.kill(this.#boot);
    this.#boot = undefined;
    if (power) this.host.crash();
    this.#disk.crash();
    this.#end.resolve();
    this.#end = Promise.withResolvers();
    for (const server of this.servers) server.died(!power);
    this.clock.after(this.#random.real() * DOWN_MS, comeBack);
  }

  /** Ends as a service does that is told to stop, and starts again. Nothing may be left open. */
  async restart(): Promise<void> {
    const { boot, spaces, meta, chunks, uploads } = await this.living();
    this.say("hub: restarted");
    this.process = undefined;
    for (const server of this.servers) server.died(true);
    this.isDoubtful = false;
    await uploads.close();
    await spaces.close();
    await chunks.close().catch((error: unknown) => {
      if (!(error instanceof SynclineError)) throw error;
      this.say(`hub: at its end: ${error.message}`);
    });
    await meta.close();
    // Reads that were under way.
    await this.clock.turn(LAST_CALLS_MS);
    if (boot.fs.openFds() > 0) throw new Error(`the hub left open ${boot.fs.openPaths().join(", ")}`);
    this.#gone(false);
  }

  calm(): void {
    this.onBoot = undefined;
    this.beforeCommit = undefined;
    this.onCommit = undefined;
    if (this.#boot === undefined) return;
    this.#boot.fs.faults = undefined;
    this.#boot.fs.onEffect = undefined;
  }

  async createSpace(settings: Partial<SpaceSettings>): Promise<SumSeeds> {
    const { spaces } = await this.living();
    return seedsOf(await spaces.createSpace(principal("user", "admin"), SPACE, settings));
  }

  /** The space, or a part of it, as an agent's session sees it. */
  endpoint({ name, prefix, readOnly }: Part): SpaceEndpoint {
    const { boot, spaces, meta, coming } = this.process!;
    const endpoint = new SpaceEndpoint({
      spaces,
      who: principal("agent", name),
      space: SPACE,
      prefix,
      readOnly,
      label: `hub/${SPACE}/${prefix}`,
      host: boot,
      stageFolder: STAGE,
      hubId: meta.hubId,
      hash: simHash,
      coming,
    });
    const apply = endpoint.apply.bind(endpoint);
    endpoint.apply = (runId, signal) => {
      const application = apply(runId, signal);
      const push = application.push.bind(application);
      application.push = (ops) => {
        for (const op of ops) {
          if (op.type === "change") this.#note(runId, prefix, op.change);
        }
        return push(ops);
      };
      const commit = application.commit.bind(application);
      application.commit = async (onResults) => {
        await this.beforeCommit?.();
        return commit(onResults);
      };
      return application;
    };
    return endpoint;
  }

  #note(runId: string, prefix: RelPath, { path, old }: { path: RelPath; old: Entry | undefined }): void {
    this.believed.push({ runId, path: prefix === "" ? path : `${prefix}/${path}`, old });
  }

  close(): void {
    this.#disk.close();
  }
}
