/**
 * The webhooks of a hub: who may have them, and all of their deliveries while the hub runs. Of several hubs on one
 * database one makes the deliveries, the holder of a lease; all of them take orders.
 */
import { isIP } from "node:net";
import { type Access, type Principal, systemPrincipal } from "#access/access.ts";
import type { Actor, Audit } from "#access/audit.ts";
import { SynclineError, messageOf } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import { isPublicAddress } from "#platform/net/public-address.ts";
import type { Lease, Term } from "#platform/sql/lease.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { JournalAction, Space, SpaceId } from "#hub/space.ts";
import { Delivery, type DeliveryParts, type Tried, send } from "#hub/webhooks/delivery.ts";
import {
  DELIVERIES_MAX,
  SECRET_BYTES_DRAWN,
  URL_CHARS_MAX,
  WEBHOOKS_MAX,
  WEBHOOKS_PER_SPACE_MAX,
  type Webhook,
  newSecret,
  secretBytes,
} from "#hub/webhooks/webhook.ts";

/** After trouble of our own (the database) a delivery begins again. */
const TROUBLE_MS = 10_000;
/** How often what other hubs commit and change is looked for. */
const LOOK_MS = 2_000;
const BY: Actor = { id: "system:webhooks" };
const WHO = systemPrincipal("webhooks");

export type WebhooksOptions = Pick<DeliveryParts, "table" | "clock" | "random" | "post" | "mayBePrivate" | "describe"> & {
  readonly spaces: SpaceService;
  readonly access: Access;
  readonly audit: Audit;
  /** Of WEBHOOK_LEASE. */
  readonly lease: Lease;
  /** Whether nothing of a space is left. */
  readonly isErased: (space: SpaceId) => Promise<boolean>;
  readonly onTrouble: (message: string, fields: Readonly<Record<string, unknown>>) => void;
};

export type NewWebhook = {
  readonly url: string;
  readonly prefix: RelPath;
  readonly actions: readonly JournalAction[];
  /** "whsec_" and base64; undefined: one is drawn. */
  readonly secret?: string | undefined;
};

export type WebhookChange = {
  readonly [K in Exclude<keyof NewWebhook, "secret">]?: NewWebhook[K] | undefined;
} & { readonly isEnabled?: boolean | undefined };

/** How a webhook is, beside what it is. `behind`: changes of its space that it has not seen. */
export type WebhookView = { readonly hook: Webhook; readonly behind: number };

export class Webhooks {
  readonly #options: WebhooksOptions;
  readonly #running = new Map<string, Delivery>();
  readonly #ended = new Set<Promise<void>>();
  /** To be begun; one for each that was made or switched on. */
  readonly #wanted: string[] = [];
  #isWanted = Promise.withResolvers<void>();
  readonly #waiting: (() => void)[] = [];
  #sending = 0;
  /** Undefined while another process makes the deliveries. */
  #term: Term | undefined;
  readonly counts = { delivered: 0, failed: 0, changes: 0 };

  constructor(options: WebhooksOptions) {
    this.#options = options;
  }

  /** Delivers, whenever it is this process that does, until the signal; resolves when nothing is on its way any more. */
  run(signal: AbortSignal): Promise<void> {
    return this.#options.lease.hold((term) => this.#deliver(term), signal);
  }

  async #deliver(term: Term): Promise<void> {
    const { spaces, table, lease, isErased } = this.#options;
    const { signal } = term;
    this.#term = term;
    let looking: Promise<void> | undefined;
    try {
      spaces.watch("*", () => this.#wakeAll(), signal);
      signal.addEventListener("abort", () => this.#isWanted.resolve(), { once: true });
      for (const hook of await table.all()) {
        if (await isErased(hook.spaceId)) await this.#forget(hook);
        else if (hook.isEnabled) this.#begin(hook.id);
      }
      if (!lease.isAlone) looking = this.#look(signal);
      // They run from here and not from the request that asks for them, whose trace they would carry on.
      while (!signal.aborted) {
        await this.#isWanted.promise;
        this.#isWanted = Promise.withResolvers<void>();
        for (const id of this.#wanted.splice(0)) this.#start(id, term);
      }
    } finally {
      this.#term = undefined;
      await Promise.allSettled([...this.#ended, looking]);
      this.#running.clear();
      this.#wanted.length = 0;
    }
  }

  /** Nobody tells of what was committed, made or changed through another hub. */
  async #look(signal: AbortSignal): Promise<void> {
    const { table, spaces, clock, onTrouble } = this.#options;
    let told = "";
    for (;;) {
      await clock.sleep(LOOK_MS, signal).catch(() => undefined);
      if (signal.aborted) return;
      try {
        const sequences = new Map((await spaces.spaces(WHO)).map(({ id, sequence }) => [id, sequence]));
        for (const { id, spaceId, revision, isEnabled, delivered } of await table.all()) {
          const running = this.#running.get(id);
          const isChanged = running !== undefined && revision > running.revision;
          if (running === undefined && isEnabled) this.#begin(id);
          else if (isChanged || delivered < (sequences.get(spaceId) ?? 0)) running?.wake(isChanged);
        }
        told = "";
      } catch (error) {
        if (String(error) !== told) onTrouble("webhooks not looked at", { error: String(error) });
        told = String(error);
      }
    }
  }

  /** @throws {SynclineError} DENIED, SPACE_UNKNOWN */
  async list(who: Principal, space: string): Promise<WebhookView[]> {
    const { id, sequence } = await this.#space(who, space);
    const hooks = await this.#options.table.ofSpace(id);
    return hooks.map((hook) => viewOf(hook, sequence));
  }

  /** @throws {SynclineError} DENIED, SPACE_UNKNOWN, NOT_FOUND */
  async get(who: Principal, space: string, id: string): Promise<WebhookView> {
    const { id: spaceId, sequence } = await this.#space(who, space);
    const hook = await this.#options.table.get(id);
    if (hook?.spaceId !== spaceId) throw unknown(id, space);
    return viewOf(hook, sequence);
  }

  /**
   * Told is what comes after this. The secret is told this once.
   * @throws {SynclineError} DENIED, SPACE_UNKNOWN, USAGE (address, secret), LIMIT
   */
  async create(who: Principal, space: string, wanted: NewWebhook, by: Actor): Promise<{ view: WebhookView; secret: string }> {
    const { table, audit, random, clock, mayBePrivate } = this.#options;
    const { id: spaceId, lineage, sequence, name } = await this.#space(who, space);
    this.#requireReading(who, name, wanted.prefix);
    checkUrl(wanted.url, mayBePrivate());
    const secret = wanted.secret ?? newSecret(random.bytes(SECRET_BYTES_DRAWN));
    if (secretBytes(secret) === undefined) throw unusable("a secret is whsec_ and the base64 of 24 to 64 bytes");
    const hook: Webhook = {
      id: Buffer.from(random.bytes(8)).toString("hex"),
      spaceId,
      url: wanted.url,
      prefix: wanted.prefix,
      actions: wanted.actions,
      isEnabled: true,
      disabledReason: undefined,
      createdMs: clock.nowMs(),
      createdBy: by.id,
      lineage,
      delivered: sequence,
      sendingUntil: undefined,
      failingSinceMs: undefined,
      lastError: undefined,
      lastMs: undefined,
      revision: 0,
    };
    await audit.change(by, async (sql) => {
      const total = (await sql.get<{ n: number }>("SELECT COUNT(*) AS n FROM webhooks"))!.n;
      const own = (await sql.get<{ n: number }>("SELECT COUNT(*) AS n FROM webhooks WHERE space = ?", [spaceId]))!.n;
      if (total >= WEBHOOKS_MAX || own >= WEBHOOKS_PER_SPACE_MAX) {
        throw limit(`a hub has up to ${WEBHOOKS_MAX} webhooks, a space up to ${WEBHOOKS_PER_SPACE_MAX}`);
      }
      await table.insert(sql, hook, secret);
      return { value: undefined, event: eventOf("create", name, hook) };
    });
    this.#begin(hook.id);
    return { view: viewOf(hook, sequence), secret };
  }

  /** Switched on again it goes on where it was. @throws {SynclineError} as create, NOT_FOUND */
  async update(who: Principal, space: string, id: string, change: WebhookChange, by: Actor): Promise<WebhookView> {
    const { table, audit, mayBePrivate } = this.#options;
    await this.get(who, space, id);
    if (change.url !== undefined) checkUrl(change.url, mayBePrivate());
    const { isEnabled } = await audit.change(by, async (sql) => {
      // As it is now: what somebody else changes at the same time stays.
      const hook = await table.get(id, sql);
      if (hook === undefined) throw unknown(id, space);
      const changed = changedBy(hook, change);
      this.#requireReading(who, space, changed.prefix);
      const anew = {
        // Another choice of changes makes another delivery of the same end.
        bundle: change.prefix !== undefined || change.actions !== undefined,
        failures: (changed.isEnabled && !hook.isEnabled) || change.url !== undefined,
      };
      await table.update(sql, changed, anew);
      return { value: changed, event: eventOf("change", space, changed) };
    });
    this.#running.get(id)?.wake(true);
    if (isEnabled) this.#begin(id);
    return this.get(who, space, id);
  }

  /** @throws {SynclineError} DENIED, SPACE_UNKNOWN, NOT_FOUND */
  async remove(who: Principal, space: string, id: string, by: Actor): Promise<void> {
    const { table, audit } = this.#options;
    const { hook } = await this.get(who, space, id);
    await audit.change(by, async (sql) => {
      await table.remove(sql, id);
      return { value: undefined, event: eventOf("remove", space, hook) };
    });
    this.#running.get(id)?.wake(true);
  }

  /** One delivery that tells of nothing, now, whether it is switched on or not. @throws as get */
  async test(who: Principal, space: string, id: string, signal: AbortSignal): Promise<Tried> {
    const { clock, random } = this.#options;
    const { hook } = await this.get(who, space, id);
    const timestamp = new Date(clock.nowMs()).toISOString();
    const body = JSON.stringify({ type: "webhook.test", webhook: id, space, timestamp });
    using _place = await this.#place(signal);
    return send(this.#options, hook, `${id}.test.${Buffer.from(random.bytes(8)).toString("hex")}`, body, signal);
  }

  /** How many there are of each state, for metrics. */
  async states(): Promise<{ active: number; failing: number; disabled: number }> {
    const states = { active: 0, failing: 0, disabled: 0 };
    for (const { isEnabled, failingSinceMs } of await this.#options.table.all()) {
      if (!isEnabled) states.disabled++;
      else if (failingSinceMs === undefined) states.active++;
      else states.failing++;
    }
    return states;
  }

  #begin(id: string): void {
    // Whoever makes the deliveries finds it.
    if (this.#term === undefined) return;
    this.#wanted.push(id);
    this.#isWanted.resolve();
  }

  #start(id: string, { signal, generation }: Term): void {
    if (signal.aborted || this.#running.has(id)) return;
    const delivery = new Delivery(
      {
        ...this.#options,
        place: (until) => this.#place(until),
        generation,
        disable: (hook, reason) => this.#disable(hook, reason, generation),
        onOutcome: (_, outcome, changes) => {
          this.counts[outcome]++;
          if (outcome === "delivered") this.counts.changes += changes;
        },
      },
      id,
    );
    this.#running.set(id, delivery);
    const ended = this.#keep(delivery, signal).finally(() => this.#ended.delete(ended));
    this.#ended.add(ended);
  }

  async #keep(delivery: Delivery, signal: AbortSignal): Promise<void> {
    const { clock, onTrouble } = this.#options;
    while (!signal.aborted) {
      try {
        await delivery.run(signal);
        this.#running.delete(delivery.id);
        // It may have been switched on again between its last look and now.
        // Where that cannot be told another one finds it out: this one would be a second beside the one that a person begins.
        const isOn = await this.#options.table.get(delivery.id).then((hook) => hook?.isEnabled === true, () => true);
        if (isOn) this.#begin(delivery.id);
        return;
      } catch (error) {
        onTrouble("webhook interrupted", { webhook: delivery.id, error: messageOf(error) });
        await clock.sleep(TROUBLE_MS, signal).catch(() => undefined);
      }
    }
  }

  #wakeAll(): void {
    for (const delivery of this.#running.values()) delivery.wake(false);
  }

  async #place(signal: AbortSignal): Promise<Disposable> {
    const release = (): void => {
      // Whoever ends hands its place on.
      const next = this.#waiting.shift();
      if (next === undefined) this.#sending--;
      else next();
    };
    if (this.#sending < DELIVERIES_MAX) this.#sending++;
    else {
      const turn = Promise.withResolvers<boolean>();
      const go = (): void => turn.resolve(true);
      this.#waiting.push(go);
      const end = (): void => turn.resolve(false);
      signal.addEventListener("abort", end, { once: true });
      const isMine = await turn.promise;
      signal.removeEventListener("abort", end);
      if (!isMine) {
        const at = this.#waiting.indexOf(go);
        if (at >= 0) this.#waiting.splice(at, 1);
        // It was handed on in the same moment.
        else release();
        return { [Symbol.dispose]: () => undefined };
      }
    }
    return { [Symbol.dispose]: release };
  }

  async #disable(hook: Webhook, reason: string, generation: number): Promise<void> {
    const { table, audit, onTrouble } = this.#options;
    const off: Webhook = { ...hook, isEnabled: false, disabledReason: reason };
    const isOff = await audit.change(BY, async (sql) => {
      if (!(await table.switchOff(sql, off, generation))) return { value: false, event: undefined };
      const event = { action: "webhook.disable", resource: `webhook:${hook.id}`, details: { url: originOf(hook.url), reason } };
      return { value: true, event };
    });
    if (isOff) onTrouble("webhook switched off", { webhook: hook.id, url: originOf(hook.url), reason });
  }

  async #forget(hook: Webhook): Promise<void> {
    const { table, audit } = this.#options;
    await audit.change(BY, async (sql) => {
      await table.remove(sql, hook.id);
      const details = { reason: "its space is erased" };
      return { value: undefined, event: { action: "webhook.remove", resource: `webhook:${hook.id}`, details } };
    });
  }

  async #space(who: Principal, name: string): Promise<Space> {
    const space = await this.#options.spaces.space(who, name);
    this.#options.access.require(who, "manage", { type: "space", space: name, path: "" });
    return space;
  }

  /** Nobody sends elsewhere what they may not read. */
  #requireReading(who: Principal, space: string, path: RelPath): void {
    this.#options.access.require(who, "read", { type: "space", space, path, isTree: true });
  }
}

function changedBy(hook: Webhook, { url, prefix, actions, isEnabled = hook.isEnabled }: WebhookChange): Webhook {
  return {
    ...hook,
    url: url ?? hook.url,
    prefix: prefix ?? hook.prefix,
    actions: actions ?? hook.actions,
    isEnabled,
    disabledReason: isEnabled ? undefined : hook.disabledReason,
  };
}

const viewOf = (hook: Webhook, sequence: number): WebhookView => ({ hook, behind: Math.max(0, sequence - hook.delivered) });

/** Without what may be a secret in the path or the query. */
function originOf(url: string): string {
  return new URL(url).origin;
}

function eventOf(what: "create" | "change" | "remove", space: string, hook: Webhook) {
  const { url, prefix, actions, isEnabled } = hook;
  const details = { space, url: originOf(url), prefix, actions, enabled: isEnabled };
  return { action: `webhook.${what}`, resource: `webhook:${hook.id}`, details };
}

function checkUrl(text: string, mayBePrivate: boolean): void {
  const url = URL.canParse(text) && text.length <= URL_CHARS_MAX ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) throw unusable("the address of a webhook is https://HOST/PATH");
  if (url.protocol === "http:" && !mayBePrivate) throw unusable("only https: what goes there is content of the hub");
  if (url.username !== "" || url.password !== "") throw unusable("an address with a password in it is not sent anywhere");
  const name = url.hostname.replace(/^\[|\]$/g, "");
  if (!mayBePrivate && isIP(name) !== 0 && !isPublicAddress(name)) throw unusable(`${name} is no public address`);
  if (url.hash !== "") throw unusable("an address ends before its #");
}

function unusable(message: string): SynclineError {
  const hint = "correct it; webhookTargets in the hub's configuration says what may be reached";
  return new SynclineError({ code: "USAGE", op: "set webhook", message, hint });
}

function limit(message: string): SynclineError {
  return new SynclineError({ code: "LIMIT", op: "set webhook", message, hint: "remove one that is not needed" });
}

function unknown(id: string, space: string): SynclineError {
  const message = `there is no webhook "${id}" of this space`;
  return new SynclineError({ code: "NOT_FOUND", op: "find webhook", message, hint: `syncline webhook list ${space}` });
}
