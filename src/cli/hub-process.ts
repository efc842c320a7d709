/**
 * A whole hub in this process: opens database, chunks, access and spaces in the order in which they need each other,
 * serves the API, and closes them in reverse. The only place that knows how a hub is put together.
 */
import { mkdirSync, renameSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RoleBook } from "#access/decide.ts";
import { HubAccess } from "#access/hub-access.ts";
import { type Bootstrap, type BootstrapCounts, applyBootstrap } from "#config/bootstrap.ts";
import type { HubConfig } from "#config/hub-config.ts";
import { LISTEN_FALLBACK, REQUESTS_MAX_FALLBACK } from "#config/hub-keys.ts";
import { policyTextOf } from "#gateway/s3/policy-text.ts";
import { Api } from "#gateway/api/api.ts";
import { IDEMPOTENCY_MIGRATIONS, IdempotencyKeys } from "#gateway/api/idempotency.ts";
import { Metrics } from "#gateway/api/metrics.ts";
import type { Door } from "#gateway/door.ts";
import type { ApiLog, ApiServices, Dependency } from "#gateway/api/route.ts";
import { journalJson } from "#gateway/api/shapes.ts";
import { apiRoutes } from "#gateway/api/routes.ts";
import { Traffic } from "#gateway/api/traffic.ts";
import { frontOf } from "#gateway/front.ts";
import { HttpWork } from "#gateway/http-work.ts";
import { HUB_TLS_NAME } from "#hub/agents/hello.ts";
import { AgentRegistry } from "#hub/agents/registry.ts";
import type { SpaceTraces } from "#hub/endpoint/space-endpoint.ts";
import { HubUploads } from "#hub/uploads/hub-uploads.ts";
import { SpaceVersions } from "#hub/versions/versions.ts";
import { UPLOAD_MIGRATIONS, UploadRows } from "#hub/uploads/upload-rows.ts";
import { CutsThread } from "#hub/cuts/cuts-thread.ts";
import { type CommitDone, HubSpaces } from "#hub/hub-spaces.ts";
import type { ClockNotice } from "#hub/commit-times.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { ScrubParts } from "#hub/upkeep.ts";
import { SqlMetaStore } from "#hub/meta/sql-meta-store.ts";
import { ShareTable } from "#hub/shares/share-table.ts";
import { Shares } from "#hub/shares/shares.ts";
import { WEBHOOK_LEASE, WEBHOOK_MIGRATIONS, WebhookTable } from "#hub/webhooks/webhook-table.ts";
import { Webhooks } from "#hub/webhooks/webhooks.ts";
import { SynclineError, messageOf } from "#model/error.ts";
import type { OtlpSettings } from "#observe/exporter.ts";
import { traceIdNow } from "#observe/trace-context.ts";
import { Profiler } from "#observe/profiler.ts";
import type { Host } from "#platform/host.ts";
import { REACHES, type Reach } from "#platform/net/guarded-address.ts";
import { guardedPost } from "#platform/net/guarded-post.ts";
import { type HttpServer, serveHttp } from "#platform/net/http-server.ts";
import { listenFault } from "#platform/net/listen-fault.ts";
import type { Identity } from "#platform/net/tls-socket.ts";
import { LEASE_MIGRATIONS, Lease } from "#platform/sql/lease.ts";
import { migrate } from "#platform/sql/migrate.ts";
import type { ChunkStore } from "#store/chunk-store.ts";
import type { PackSource } from "#store/packs/pack-source.ts";
import { openPacks } from "#store/packs/packs.ts";
import { limitConnections } from "#cli/hub-connections.ts";
import { type HubDatabase, bindDirectory, openHubDatabase } from "#cli/hub-database.ts";
import { type RunningAgents, startAgents } from "#cli/hub-agents.ts";
import { bootstrapTarget, checkLinks } from "#cli/hub-bootstrap.ts";
import { FollowedFile, type RunningFollowers, followMetrics, openFollowers } from "#cli/hub-followers.ts";
import { RunningHubCare } from "#cli/hub-care.ts";
import { openDoors, servesTls } from "#cli/hub-doors.ts";
import { FRONT_MIGRATIONS, frontRows } from "#cli/hub-front.ts";
import { watchCertificate } from "#cli/hub-certificate.ts";
import { HubTracing } from "#cli/hub-tracing.ts";
import { HubSetup } from "#cli/hub-setup.ts";
import { openJobs } from "#cli/hub-jobs.ts";
import { HubTransfers } from "#cli/hub-transfers.ts";
import { fleetMetrics } from "#cli/fleet-metrics.ts";
import { hubMetrics } from "#cli/hub-metrics.ts";
import { HubReload, type HubReloadParts, sameAgain } from "#cli/hub-reload.ts";
import { parseListen } from "#cli/commands/serve.ts";
import { VERSION } from "#cli/version.ts";
import { addressText } from "#platform/net/address-text.ts";

/** Requests that are at work when the hub ends get this long. */
const GRACE_MS = 10_000;

/** The authority's certificate, for clients. */
const CA_FILE = "ca.pem";

export type HubOptions = {
  readonly host: Host;
  /** Absolute; made with mode 0700. */
  readonly dataDir: string;
  readonly config: HubConfig;
  readonly bootstrap: Bootstrap | undefined;
  /** Reads both again; undefined: they stay as they are. */
  readonly source?: Pick<HubReloadParts, "read" | "files" | "first"> | undefined;
  readonly log: ApiLog;
  /** Ends the wait for a database whose last hub has not said that it ended; nothing else. */
  readonly signal?: AbortSignal | undefined;
};

/** Things in the order in which they were opened. */
class Opened {
  readonly #closers: (() => Promise<void> | void)[] = [];

  add(close: () => Promise<void> | void): void {
    this.#closers.push(close);
  }

  /** What goes on until the hub ends, which waits for it. Where it fails it has ended early, and the log says so. */
  goesOn(what: string, work: Promise<void>, log: ApiLog): void {
    const met = work.catch((error: unknown) => log.error(`${what} ended early`, { error: messageOf(error) }));
    this.add(() => met);
  }

  /** Closes all in reverse, also where one fails; then throws the first failure. */
  async close(): Promise<void> {
    const failures: unknown[] = [];
    for (const close of this.#closers.splice(0).reverse()) {
      try {
        await close();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}

type Stores = HubDatabase & {
  readonly meta: SqlMetaStore;
  readonly chunks: ChunkStore;
  readonly packs: PackSource;
  readonly access: HubAccess;
  readonly spaces: HubSpaces;
  readonly uploads: HubUploads;
  readonly versions: SpaceVersions;
  readonly registry: AgentRegistry;
};

export class HubProcess {
  /** Where it is reached: "http://127.0.0.1:7830". */
  readonly url: string;
  readonly port: number;
  /** Where agents connect. */
  readonly syncPort: number;
  /** Where each door that is open is reached: "ftp://127.0.0.1:2121". */
  readonly doors: readonly string[];
  readonly spaces: SpaceService;
  /** PEM and fingerprint of the hub's authority, where it serves TLS. */
  readonly authority: { readonly certificate: string; readonly fingerprint: string } | undefined;
  /** The file with the set-up token while nobody exists. */
  readonly setupFile: string | undefined;
  /** Resolves when another hub has taken over the database: this one can change nothing any more, and has to be closed. */
  readonly lost: Promise<SynclineError> | undefined;
  readonly #opened: Opened;
  readonly #closing: AbortController;
  readonly #reload: HubReload;

  private constructor(
    at: { url: string; port: number; syncPort: number; doors: readonly string[] },
    { spaces, lost }: Pick<Stores, "spaces" | "lost">,
    authority: HubProcess["authority"],
    setupFile: string | undefined,
    opened: Opened,
    closing: AbortController,
    reload: HubReload,
  ) {
    this.url = at.url;
    this.port = at.port;
    this.syncPort = at.syncPort;
    this.doors = at.doors;
    this.spaces = spaces;
    this.lost = lost;
    this.authority = authority;
    this.setupFile = setupFile;
    this.#opened = opened;
    this.#closing = closing;
    this.#reload = reload;
  }

  /** @throws {SynclineError} ROOT_BUSY when another hub holds the data directory or the database, USAGE, STATE, VERSION, DISK */
  static async start(given: HubOptions): Promise<HubProcess> {
    const opened = new Opened();
    const closing = new AbortController();
    // What is said of a new configuration is said at its level.
    const log = leveled(given.log, () => reload.config);
    const options = { ...given, log };
    const reload: HubReload = reloadOf(options);
    try {
      // It needs what the stores know.
      const late: { tracing?: HubTracing } = {};
      const stores = await openStores(options, (commit) => late.tracing?.committed(commit), opened);
      const metrics = new Metrics();
      const tracing = (late.tracing = tracingOf(options, stores, reload, metrics));
      const setup = await HubSetup.open(stores.access, options.dataDir, options.host.random);
      const running = await listenForAgents(options, stores, reload, tracing, opened);
      const followed = new FollowedFile();
      await startConfiguration(options, stores, running, reload, followed);
      await setup.refresh();
      const between = await startFollowers(options, stores, running, reload, opened, followed, closing.signal);
      const onDamaged = between.repair.lost.bind(between.repair);
      const care = runningCare(options, stores, onDamaged);
      const jobs = await openJobs({ ...options, ...stores, ...running, care, onDamaged, transfers: transfersOf(options, stores, reload) });
      let url = "";
      opened.goesOn("export of traces", tracing.run(running.agents, closing.signal), options.log);
      const own = {
        metrics,
        traffic: new Traffic(metrics),
        tracer: tracing.tracer,
        config: () => reload.config,
        closing: closing.signal,
        configuration: reload,
        publicUrl: () => reload.config.publicUrl ?? url,
      };
      const services = apiServices(options, stores, running, between, { setup, care, jobs: jobs.jobs, ...own });
      opened.goesOn("webhooks", services.webhooks.run(closing.signal), options.log);
      hubMetrics(services.metrics, { ...services, ...stores, configuration: reload });
      followMetrics(services.metrics, between, options.host.clock);
      jobs.count(services.metrics);
      opened.goesOn("jobs", jobs.jobs.run(closing.signal), options.log);
      const { server, secure, host } = listen(options, stores, services, reload, opened, closing.signal);
      const current = (): Identity => stores.access.authority.serverIdentity(certificateNames(options.config, options.host)).identity;
      const used = current();
      let served = used.certificate;
      fleetMetrics(services.metrics, {
        agents: running.agents,
        dataDir: options.dataDir,
        certificates: () => ({ server: served, authority: stores.access.authority.certificate }),
      });
      const doors = await doorsOf(options, stores, reload, metrics, opened, { closing: closing.signal, agentsPort: running.listener.port });
      const noted = { useIdentity: ({ certificate }: Identity): void => void (served = certificate) };
      const listeners = [noted, running.listener, ...doors, ...(secure ? [server] : [])];
      const watched = { clock: options.host.clock, log: options.log, current, used, listeners };
      opened.goesOn("watch over the configuration", reload.watch(closing.signal), options.log);
      opened.goesOn("watch over the certificate", watchCertificate(watched, closing.signal), options.log);
      url = `${secure ? "https" : "http"}://${addressText(host, server.port)}`;
      const { certificate, fingerprint } = stores.access.authority;
      const authority = secure ? { certificate, fingerprint } : undefined;
      const at = { url, port: server.port, syncPort: running.listener.port, doors: doors.map((door) => door.url) };
      return new HubProcess(at, stores, authority, setup.file, opened, closing, reload);
    } catch (error) {
      closing.abort();
      await opened.close().catch(() => undefined);
      throw error;
    }
  }

  /** Reads the configuration again. @throws {SynclineError} what is wrong with it; the last good one stays in force */
  async reload(why: string): Promise<void> {
    await this.#reload.reload({ id: "system:config" }, why);
  }

  /** Takes no more, lets what is at work end, closes the stores. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#opened.close();
  }
}

function tracingOf({ host, log }: HubOptions, { meta }: Stores, reload: HubReload, metrics: Metrics): HubTracing {
  const settings = (): OtlpSettings | undefined => reload.collector;
  return new HubTracing({ host, config: () => reload.config, settings, hubId: meta.hubId, log }, metrics);
}

async function openStores(
  { host, dataDir, config, bootstrap, log, signal }: HubOptions,
  committed: (commit: CommitDone) => void,
  opened: Opened,
): Promise<Stores> {
  const { clock, random } = host;
  const cuts = CutsThread.make();
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const directory = join(dataDir, "chunks");
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const { store: chunks, source: packs, recovery } = await openPacks(host, directory);
  opened.add(() => chunks.close());
  log.info("chunks opened", { ...recovery, unreadable: recovery.unreadable.length });
  const url = config.database ?? "sqlite";
  const at = { url, dataDir, host, isAlone: recovery.isLocked, log, signal };
  const { database, server, lost } = await openHubDatabase(at, (close) => opened.add(close));
  await migrate(database, "gateway", IDEMPOTENCY_MIGRATIONS);
  await migrate(database, "leases", LEASE_MIGRATIONS);
  await migrate(database, "webhooks", WEBHOOK_MIGRATIONS);
  await migrate(database, "uploads", UPLOAD_MIGRATIONS);
  for (const [room, steps] of FRONT_MIGRATIONS) await migrate(database, room, steps);
  const meta = await SqlMetaStore.open(database, random);
  await bindDirectory(dataDir, database, meta.hubId);
  const registry = await AgentRegistry.open({ db: database, clock, random });
  const access = await HubAccess.open({
    database,
    clock,
    random,
    directory: join(dataDir, "keys"),
    roles: new RoleBook(bootstrap?.roles ?? []),
    rulesOfHost: (name) => registry.rulesOfHost(name),
    policyOf: (name) => policyTextOf(spaces.doorsOf(name), name, config),
  });
  const onCommit = (commit: CommitDone): void => committed(commit);
  const onClockNotice = (notice: ClockNotice): void => tellClock(log, notice);
  const onFault = (what: string, error: unknown): void =>
    log.error(what, { error: messageOf(error) });
  const parts = { meta, chunks, access, audit: access.audit, clock, random, cuts };
  const spaces: HubSpaces = await HubSpaces.open({ ...parts, onCommit, onClockNotice, onFault });
  opened.add(() => spaces.close());
  const uploads = new HubUploads({ rows: new UploadRows(database), spaces, meta, access, clock, random });
  opened.add(() => uploads.close());
  const versions = new SpaceVersions({ spaces, meta, access, audit: access.audit, clock });
  return { database, server, lost, meta, chunks, packs, access, spaces, uploads, versions, registry };
}

function tellClock(log: ApiLog, { space, what, behindMs }: ClockNotice): void {
  const fields = { space, behindSeconds: Math.round(behindMs / 1000) };
  if (what === "caught-up") return log.info("the clock is no longer behind the last commit", fields);
  if (what === "believed") {
    return log.error("the clock is believed: earlier commits of a space had times that were ahead, and count as made now", fields);
  }
  const hint = "see that the clock of this host is right: for an hour commits have the time of the last one, then the clock is believed";
  log.error("the clock is behind the last commit of a space", { ...fields, hint });
}

function reloadOf({ config, bootstrap, source, host, log }: HubOptions): HubReload {
  const same = sameAgain(config, bootstrap);
  return new HubReload({ ...(source ?? { first: same, read: () => same, files: [] }), clock: host.clock, log });
}

/** Lines of the level that is configured now, with the trace that has brought them about. */
function leveled(log: ApiLog, config: () => HubConfig): ApiLog {
  const traced = (fields: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> => {
    const traceId = traceIdNow();
    return traceId === undefined ? fields : { traceId, ...fields };
  };
  return {
    info: (message, fields) => (config().logLevel === "error" ? undefined : log.info(message, traced(fields))),
    error: (message, fields) => log.error(message, traced(fields)),
  };
}

/** Takes the configuration into use, and makes what the bootstrap file declares. */
async function startConfiguration(
  { bootstrap, log }: HubOptions,
  { access, spaces }: Stores,
  { agents, listener }: RunningAgents,
  reload: HubReload,
  followed: FollowedFile,
): Promise<void> {
  const apply = (file: Bootstrap): Promise<BootstrapCounts> => {
    // It may be made later, by command; until then whoever has it finds out by what is denied.
    for (const { name, roles = [] } of [...file.users, ...file.groups]) {
      for (const role of roles.filter((one) => !access.roles.has(one))) {
        log.error("the bootstrap file gives a role that does not exist", { name, role });
      }
    }
    return applyBootstrap(file, bootstrapTarget(access, spaces, agents), (done, kind, label) =>
      log.info("bootstrap", { done, kind, label }),
    );
  };
  const taken = async (file: Bootstrap | undefined): Promise<void> => {
    if (file !== undefined) followed.wants(file);
    await listener.declareAnew();
  };
  // All of the file is right, or nothing of it is done.
  reload.use({ access, check: checkLinks, apply, taken });
  if (bootstrap === undefined) return;
  checkLinks(bootstrap);
  followed.wants(bootstrap);
  log.info("bootstrap applied", await apply(bootstrap));
}

function runningCare(
  { host, dataDir }: HubOptions,
  { database, server, chunks, packs, access, meta }: Stores,
  onDamaged: ScrubParts["onDamaged"],
): RunningHubCare {
  return new RunningHubCare({ host, database, server, chunks, packs, access, hubId: meta.hubId, dataDir, onDamaged });
}

function transfersOf({ host, dataDir }: HubOptions, { spaces, meta }: Stores, reload: HubReload): HubTransfers {
  return new HubTransfers({ host, dataDir, spaces, hubId: meta.hubId, config: () => reload.config });
}

/** What the services of the API have of the process that runs them. */
type OwnServices = Pick<
  ApiServices,
  "care" | "jobs" | "closing" | "configuration" | "metrics" | "publicUrl" | "tracer" | "traffic"
>;

function apiServices(
  { host, dataDir, log }: HubOptions,
  { database, meta, chunks, access, spaces, uploads }: Stores,
  { agents, listener }: RunningAgents,
  { followers, following }: RunningFollowers,
  { setup, config, ...own }: OwnServices & { readonly setup: HubSetup; readonly config: () => HubConfig },
): ApiServices {
  const onTrouble: ApiLog["error"] = (message, fields) => log.error(message, fields);
  const webhooks = new Webhooks({
    // One process at a time holds the file of SQLite, and one hub a database on a server.
    lease: new Lease({ db: database, clock: host.clock, random: host.random, name: WEBHOOK_LEASE, isAlone: true, onTrouble }),
    table: new WebhookTable(database, access.seal),
    spaces,
    access,
    audit: access.audit,
    clock: host.clock,
    random: host.random,
    post: guardedPost,
    mayBePrivate: () => config().webhookTargets === "any",
    describe: journalJson,
    isErased: async (id) => (await meta.space(id)) === undefined,
    onTrouble,
  });
  const dependencies = async (): Promise<Dependency[]> => [
    { name: "database", fault: await faultOf(() => database.get("SELECT 1 AS one")) },
    { name: "chunks", fault: await faultOf(() => chunks.stats()) },
  ];
  return {
    spaces,
    uploads,
    access,
    agents,
    followers,
    following,
    hubId: meta.hubId,
    webhooks,
    shares: new Shares({ table: new ShareTable(database), spaces, access, clock: host.clock, random: host.random }),
    profiler: new Profiler(host.clock),
    hello: () => listener.hello(),
    clock: host.clock,
    random: host.random,
    work: new HttpWork({ ...host, ...own, requestsMax: () => Number(config().requestsMax ?? REQUESTS_MAX_FALLBACK) }),
    idempotency: new IdempotencyKeys(database, host.clock),
    log,
    version: VERSION,
    setup: (first, by) => setup.claim(first, by),
    disk: () => {
      const { bavail, blocks, bsize } = statfsSync(dataDir);
      return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
    },
    dependencies: async (limit) => {
      const late = Promise.withResolvers<Dependency[]>();
      limit.addEventListener("abort", () => late.resolve([{ name: "all", fault: "no answer in time" }]));
      return Promise.race([dependencies(), late.promise]);
    },
    ...own,
  };
}

async function faultOf(ask: () => unknown): Promise<string | undefined> {
  try {
    await ask();
    return undefined;
  } catch (error) {
    return error instanceof SynclineError ? error.message : "it does not answer";
  }
}

async function startFollowers(
  { host, dataDir, log }: HubOptions,
  stores: Stores,
  { listener }: RunningAgents,
  reload: HubReload,
  opened: Opened,
  followed: FollowedFile,
  closing: AbortSignal,
): Promise<RunningFollowers> {
  const { clock, random } = host;
  const reach = (): Reach => REACHES.find((one) => one === reload.config.followSources) ?? "public";
  const running = await openFollowers({ ...stores, clock, random, dataDir, log, reach }, listener);
  opened.add(() => running.followers.close());
  opened.goesOn("following of what the bootstrap file names", followed.run(running, { clock, log }, closing), log);
  opened.goesOn("repair", running.repair.run(closing), log);
  return running;
}

type Listening = { readonly server: HttpServer; readonly secure: boolean; readonly host: string };

function listen(
  { config, dataDir, host: outside, log }: HubOptions,
  { access, database }: Stores,
  services: ApiServices,
  reload: HubReload,
  opened: Opened,
  closing: AbortSignal,
): Listening {
  const api = new Api(apiRoutes(VERSION), services);
  const { host, port } = parseListen(config.listen ?? LISTEN_FALLBACK);
  const secure = servesTls(host, config);
  const names = certificateNames(config, outside);
  const tls = secure ? access.authority.serverIdentity(names) : undefined;
  // What clients are told to trust; it is no secret.
  if (secure) writePublicFile(join(dataDir, CA_FILE), access.authority.certificate);
  const connections = limitConnections({ clock: outside.clock, log }, () => reload.config, services.metrics);
  const server = serveHttp({
    host,
    port,
    tls: tls?.identity,
    connections,
    handle: frontOf(frontRows(services, database, outside), (request, from) => api.handle(request, from)),
  });
  opened.add(() => server.stop(GRACE_MS));
  if (connections !== undefined) opened.goesOn("limit of connections", connections.run(server.port, closing), log);
  return { server, secure, host };
}

function doorsOf(
  { host, dataDir, log }: HubOptions,
  { access, spaces, uploads, versions }: Stores,
  reload: HubReload,
  metrics: Metrics,
  opened: Opened,
  more: { readonly closing: AbortSignal; readonly agentsPort: number },
): Promise<readonly Door[]> {
  const { config } = reload;
  const identity = (): Identity => access.authority.serverIdentity(certificateNames(config, host)).identity;
  return openDoors({ host, spaces, uploads, versions, access, metrics, log, dataDir, config, identity, ...more }, (close) =>
    opened.add(close),
  );
}

/** One certificate for all listeners: what people call the hub, and the name by which agents know it. */
function certificateNames({ listen, tlsNames }: HubConfig, { hostName }: Host): string[] {
  const { host } = parseListen(listen ?? LISTEN_FALLBACK);
  const address = /^(0\.0\.0\.0|::)$/.test(host) ? [] : [host];
  return [...new Set([...(tlsNames ?? ["localhost", "127.0.0.1", "::1", hostName, ...address]), HUB_TLS_NAME])];
}

async function listenForAgents(
  options: HubOptions,
  stores: Stores,
  reload: HubReload,
  traces: SpaceTraces,
  opened: Opened,
): Promise<RunningAgents> {
  const { host, dataDir, config, log } = options;
  const { access, spaces, registry, meta, database } = stores;
  const { identity } = access.authority.serverIdentity(certificateNames(config, host));
  const parts = {
    host, dataDir, config: () => reload.config, hubId: meta.hubId, access, spaces, registry, database, identity, log, traces,
  };
  const beside = parseListen(config.listen ?? LISTEN_FALLBACK);
  const given = config.syncListen === undefined ? undefined : parseListen(config.syncListen);
  const nearby = { host: beside.host, port: beside.port === 0 ? 0 : Math.min(beside.port + 1, 65_535) };
  let running: RunningAgents;
  try {
    running = await startAgents({ ...parts, listen: given ?? nearby });
  } catch (error) {
    if (given !== undefined) throw error instanceof SynclineError ? error : listenFault(error, given, "--sync-listen");
    running = await startAgents({ ...parts, listen: { ...nearby, port: 0 } }).catch((again: unknown) => {
      throw again instanceof SynclineError ? again : listenFault(again, nearby, "--listen");
    });
    const choose = "the one above that of --listen is taken; --sync-listen HOST:PORT names one that stays the same";
    log.info("agents connect on another port", { wanted: nearby.port, port: running.listener.port, why: choose });
  }
  opened.add(() => running.listener.close());
  return running;
}

function writePublicFile(path: string, text: string): void {
  const aside = `${path}.new`;
  writeFileSync(aside, text, { mode: 0o644, flush: true });
  renameSync(aside, path);
}
