/**
 * The hub's configuration while it runs. It is read again when a file of it changes, on SIGHUP, and when somebody asks;
 * checked as a whole before anything of it counts; and what is wrong with it leaves the last good one in force.
 */
import { statSync } from "node:fs";
import { RoleBook } from "#access/decide.ts";
import type { Actor } from "#access/audit.ts";
import type { HubAccess } from "#access/hub-access.ts";
import type { OidcSettings } from "#access/oidc.ts";
import type { Bootstrap, BootstrapCounts } from "#config/bootstrap.ts";
import { type HubConfig, type ResolvedHubConfig, shownValue } from "#config/hub-config.ts";
import { HUB_KEY_NAMES, type HubKey, hubKey } from "#config/hub-keys.ts";
import { oidcSettingsOf } from "#config/oidc-settings.ts";
import { otlpSettingsOf } from "#config/otlp-settings.ts";
import type { ConfigurationState, KeyChange, KeyState, Reloaded } from "#gateway/api/routes-config.ts";
import type { ApiLog } from "#gateway/api/route.ts";
import { messageOf } from "#model/error.ts";
import type { OtlpSettings } from "#observe/exporter.ts";
import type { Clock } from "#platform/host.ts";
import { readSmallFile } from "#cli/local-files.ts";

/** How often the files are looked at. A file counts as changed when two looks in a row find the same new one. */
export const LOOK_MS = 1000;
/** How long what the hub's database refused waits until it is tried again. */
const RETRY_MS = 5000;

/** Everything that the hub is told from outside, as it is now. */
export type HubReading = { readonly resolved: ResolvedHubConfig; readonly bootstrap: Bootstrap | undefined };

export type HubReloadParts = {
  /** What the hub was started with. */
  readonly first: HubReading;
  /**
   * Reads and checks all of it again.
   * @param named is told which files the configuration names, before they are read
   * @throws {SynclineError} USAGE that names file, line and key
   */
  readonly read: (named: (config: HubConfig) => void) => HubReading;
  /** The configuration files, also those that are not there now. */
  readonly files: readonly string[];
  readonly clock: Clock;
  readonly log: ApiLog;
};

/** What must be there to take a new configuration into use; it comes after the configuration itself. */
export type HubReloadTarget = {
  readonly access: HubAccess;
  /** @throws {SynclineError} when something of the file cannot be; nothing was done then */
  readonly check: (bootstrap: Bootstrap) => void;
  readonly apply: (bootstrap: Bootstrap) => Promise<BootstrapCounts>;
  /** Brings what stands into line with what is in force now. Done again where it was refused. */
  readonly taken: (bootstrap: Bootstrap | undefined) => Promise<void>;
};

type AuditEvent = Parameters<HubAccess["audit"]["append"]>[1];

export class HubReload {
  readonly #parts: HubReloadParts;
  /** Where what is in force was said. */
  #chains: ResolvedHubConfig["chains"];
  #target: HubReloadTarget | undefined;
  #config: HubConfig;
  /** As it was read last, however wrong the files are that it names: they are looked at until they are right. */
  #named: HubConfig;
  #loadedMs: number;
  #fault: string | undefined;
  #restartNeeded: readonly HubKey[] = [];
  /** What is in force and not in the audit log yet: the next reading finds no difference any more. */
  readonly #untold: { readonly by: Actor; readonly event: AuditEvent }[] = [];
  /** Of what is in force not all is done: the database refused something of it. */
  #isOwing = false;
  #running: Promise<unknown> = Promise.resolve();
  #collector: OtlpSettings | undefined;
  /** Of the files as they were when they were read first. */
  readonly #firstStamp: string;

  constructor(parts: HubReloadParts) {
    this.#parts = parts;
    this.#named = parts.first.resolved.config;
    this.#config = parts.first.resolved.config;
    this.#chains = parts.first.resolved.chains;
    this.#loadedMs = parts.clock.nowMs();
    this.#firstStamp = this.#stamp();
  }

  /** What is in force. */
  get config(): HubConfig {
    return this.#config;
  }

  /** Where traces and metrics go; undefined: nowhere. */
  get collector(): OtlpSettings | undefined {
    return this.#collector;
  }

  /** Before the first reload. @throws {SynclineError} USAGE for what the configuration says of people */
  use(target: HubReloadTarget): void {
    this.#target = target;
    target.access.oidc.use(signInOf(this.#config));
    this.#collector = collectorOf(this.#config);
  }

  get state(): ConfigurationState {
    const keys = HUB_KEY_NAMES.map((key): KeyState => {
      const { source } = this.#chains[key][0]!;
      return { key, value: textOf(key, this.#config), source, reloadable: hubKey(key).isReloadable === true };
    });
    return {
      valid: this.#fault === undefined,
      ...(this.#fault === undefined ? {} : { fault: this.#fault }),
      loaded: new Date(this.#loadedMs).toISOString(),
      restartNeeded: [...this.#restartNeeded],
      keys,
    };
  }

  /**
   * Reads everything again and takes it into use, one after the other.
   * @throws {SynclineError} what is wrong with it; the last good one stays in force
   */
  reload(by: Actor, why: string): Promise<Reloaded> {
    const result = this.#running.then(() => this.#reload(by, why));
    this.#running = result.catch(() => undefined);
    return result;
  }

  async #reload(by: Actor, why: string): Promise<Reloaded> {
    const { log, read, clock } = this.#parts;
    const target = this.#target!;
    this.#isOwing = false;
    try {
      const { resolved, bootstrap } = read((config) => (this.#named = config));
      const book = new RoleBook(bootstrap?.roles ?? []);
      if (bootstrap !== undefined) target.check(bootstrap);
      const signIn = signInOf(resolved.config);
      const collector = collectorOf(resolved.config);
      // From here on nothing is wrong with it.
      const changes = this.#compare(resolved.config);
      // The secret of the provider is in a file of its own, so the keys alone do not tell whether it is another.
      if (!isSameSignIn(signIn, target.access.oidc.settings)) target.access.oidc.use(signIn);
      target.access.storedRoles.useFile(book);
      this.#collector = collector;
      this.#take(resolved, changes);
      this.#isOwing = true;
      if (changes.some(({ applied }) => applied) || (changes.length > 0 && this.#untold.length === 0)) {
        this.#untold.push({ by, event: auditOf(why, changes) });
      }
      for (const { key, from, to, applied } of changes) {
        log.info(applied ? "configuration changed" : "configuration changed: restart needed", { key, from, to });
      }
      await target.taken(bootstrap);
      const counts = bootstrap === undefined ? { made: 0, changed: 0, same: 0 } : await target.apply(bootstrap);
      for (let first = this.#untold[0]; first !== undefined; first = this.#untold[0]) {
        await target.access.audit.append(first.by, first.event);
        this.#untold.shift();
      }
      this.#isOwing = false;
      this.#fault = undefined;
      this.#loadedMs = clock.nowMs();
      log.info("configuration read", { why, keys: changes.length, made: counts.made, changed: counts.changed });
      return { changes, restartNeeded: [...this.#restartNeeded], bootstrap: counts };
    } catch (error) {
      this.#fault = messageOf(error);
      const message = this.#isOwing
        ? "configuration is in force, but not all that it declares: it is tried again"
        : "configuration is wrong: the last good one stays";
      log.error(message, { why, error: this.#fault });
      throw error;
    }
  }

  /** What differs from what is in force; each change is either taken, or waits for a restart. */
  #compare(next: HubConfig): KeyChange[] {
    return HUB_KEY_NAMES.flatMap((key) => {
      if (JSON.stringify(this.#config[key]) === JSON.stringify(next[key])) return [];
      const from = textOf(key, this.#config);
      return [{ key, from, to: textOf(key, next), applied: hubKey(key).isReloadable === true }];
    });
  }

  #take(resolved: ResolvedHubConfig, changes: readonly KeyChange[]): void {
    const config: Record<string, unknown> = { ...this.#config };
    for (const { key, applied } of changes) {
      if (!applied) continue;
      const value = resolved.config[key as HubKey];
      if (value === undefined) delete config[key];
      else config[key] = value;
    }
    this.#config = config as HubConfig;
    this.#restartNeeded = changes.filter(({ applied }) => !applied).map(({ key }) => key as HubKey);
    const waiting = Object.fromEntries(this.#restartNeeded.map((key) => [key, this.#chains[key]]));
    this.#chains = { ...resolved.chains, ...waiting };
  }

  /** Reads again whenever a file has changed, and while something of it is owing, until the signal. */
  async watch(signal: AbortSignal): Promise<void> {
    const { clock } = this.#parts;
    let inForce = this.#firstStamp;
    let seen = inForce;
    let readMono = clock.monotonicMs();
    while (!signal.aborted) {
      await clock.sleep(LOOK_MS, signal).catch(() => undefined);
      if (signal.aborted) return;
      const now = this.#stamp();
      const isChanged = now !== inForce;
      // One that is still being written changes again.
      if (now === seen && (isChanged || (this.#isOwing && clock.monotonicMs() >= readMono + RETRY_MS))) {
        inForce = now;
        const why = isChanged ? "a file has changed" : "something was refused";
        await this.reload({ id: "system:config" }, why).catch(() => undefined);
        readMono = clock.monotonicMs();
      }
      seen = now;
    }
  }

  /** Of all files that the configuration is made of. A file that is replaced, through symlinks too, is another. */
  #stamp(): string {
    const { bootstrap, oidcClientSecretFile, otlpHeadersFile } = this.#named;
    const files = [...this.#parts.files, bootstrap, oidcClientSecretFile, otlpHeadersFile].filter((file) => file !== undefined);
    return files.map(stampOf).join("\n");
  }
}

function stampOf(file: string): string {
  try {
    const stat = statSync(file, { bigint: true });
    return `${file} ${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`;
  } catch (error) {
    // It is not there, or its directory was closed to us: whoever reads it says so.
    return `${file} ${messageOf(error)}`;
  }
}

const signInOf = (config: HubConfig): ReturnType<typeof oidcSettingsOf> =>
  oidcSettingsOf(config, (file) => readSmallFile("oidc-client-secret-file", file));

const collectorOf = (config: HubConfig): OtlpSettings | undefined =>
  otlpSettingsOf(config, (file) => readSmallFile("otlp-headers-file", file));

function isSameSignIn(a: OidcSettings | undefined, b: OidcSettings | undefined): boolean {
  const text = (one: OidcSettings | undefined): string =>
    JSON.stringify(one, (_, value: unknown) => (value instanceof Map ? [...value] : value)) ?? "none";
  return text(a) === text(b);
}

const textOf = (key: HubKey, config: HubConfig): string => shownValue(key, config[key] ?? hubKey(key).fallback);

function auditOf(why: string, changes: readonly KeyChange[]): AuditEvent {
  return { action: "config.reload", resource: "config:hub", outcome: "done", details: { why, changes } };
}

/** Where the hub was started by something that keeps no files. */
export function sameAgain(config: HubConfig, bootstrap: Bootstrap | undefined): HubReading {
  const chains = Object.fromEntries(
    HUB_KEY_NAMES.map((key) => {
      const fallback = { source: "default", value: hubKey(key).fallback };
      return [key, config[key] === undefined ? [fallback] : [{ source: "given", value: config[key] }, fallback]];
    }),
  ) as unknown as ResolvedHubConfig["chains"];
  return { resolved: { config, chains }, bootstrap };
}
