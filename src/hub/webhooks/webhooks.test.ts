/** Webhooks of a real hub, told over real HTTP to a receiver that tests make difficult. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { createHmac } from "node:crypto";
import { SealKey } from "#access/seal-key.ts";
import { EVERYTHING, TestHub } from "#hub/hub-fixture.ts";
import { Delivery } from "#hub/webhooks/delivery.ts";
import { CHANGES_PER_DELIVERY_MAX, FAILING_MS_MAX, type Webhook, pauseMs, secretBytes } from "#hub/webhooks/webhook.ts";
import { WEBHOOK_LEASE, WEBHOOK_MIGRATIONS, WebhookTable } from "#hub/webhooks/webhook-table.ts";
import { type NewWebhook, Webhooks } from "#hub/webhooks/webhooks.ts";
import type { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import { openHost } from "#platform/host-bun.ts";
import { guardedPost } from "#platform/net/guarded-post.ts";
import { LEASE_MIGRATIONS, Lease, type LeaseOptions, readLease, takeLease } from "#platform/sql/lease.ts";
import { StepClock } from "#platform/sql/lease-contract.ts";
import { migrate } from "#platform/sql/migrate.ts";
import { SimRandom } from "#testing/sim-random.ts";

const BY = { id: "user:root" };

type Told = { readonly id: string; readonly seconds: number; readonly signature: string; readonly body: string };
type Body = { type: string; sequence: number; changes: { path: string; sequence: number; action: string }[] };

/** Answers as it is told to, and remembers what it was told. */
class Receiver implements AsyncDisposable {
  readonly told: Told[] = [];
  /** The status of each answer; undefined: none comes. */
  answer: (told: Told) => number | undefined = () => 200;
  /** Whose answers come when the test says so. */
  hold: (() => Promise<number>) | undefined;
  readonly #server: Bun.Server<undefined>;
  readonly #open = new AbortController();

  constructor() {
    this.#server = Bun.serve({ hostname: "127.0.0.1", port: 0, idleTimeout: 0, fetch: (request) => this.#take(request) });
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.port}/hook`;
  }

  async #take(request: Request): Promise<Response> {
    const { headers } = request;
    const told = {
      id: headers.get("webhook-id")!,
      seconds: Number(headers.get("webhook-timestamp")),
      signature: headers.get("webhook-signature")!,
      body: await request.text(),
    };
    this.told.push(told);
    const status = this.hold === undefined ? this.answer(told) : await this.hold();
    if (status !== undefined) return new Response("so it is", { status });
    await new Promise((done) => this.#open.signal.addEventListener("abort", done));
    return new Response();
  }

  get changes(): Body["changes"] {
    return this.told.flatMap(({ body }) => (JSON.parse(body) as Body).changes ?? []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#open.abort();
    await this.#server.stop(true);
  }
}

/** A clock that does not wait: whoever sleeps is there at once, and so is the time. */
class Hasty {
  #passedMs = 0;
  readonly #aheadMs: number;
  constructor(aheadMs: number) {
    this.#aheadMs = aheadMs;
  }
  readonly nowMs = (): number => Date.now() + this.#aheadMs + this.#passedMs;
  readonly monotonicMs = (): number => performance.now() + this.#passedMs;
  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    await Bun.sleep(1);
    signal.throwIfAborted();
    this.#passedMs += ms;
  }
}

describe("webhooks", () => {
  let hub: TestHub;
  let receiver: Receiver;
  let running: { hooks: Webhooks; stop: () => Promise<void> };
  let seal: SealKey;
  const troubles: string[] = [];
  const tables: WebhookTable[] = [];
  let hasty: Hasty;
  /** The hub dies after a delivery and before it has written that it was made. */
  let isDead = false;

  /**
   * @param leaseClock of one hub of several on the database; undefined: it is alone
   * @param aheadMs how much later it is
   */
  function start(mayBePrivate = true, leaseClock?: Clock, aheadMs = 0): typeof running {
    const end = new AbortController();
    const table = new WebhookTable(hub.database, seal);
    tables.push(table);
    const note = table.note.bind(table);
    table.note = (hook, generation) =>
      isDead && hook.sendingUntil === undefined ? Promise.resolve(true) : note(hook, generation);
    const onTrouble: LeaseOptions["onTrouble"] = (message, fields) => void troubles.push(`${message} ${JSON.stringify(fields)}`);
    const { clock, random } = { ...openHost(), ...(leaseClock === undefined ? {} : { clock: leaseClock }) };
    const isAlone = leaseClock === undefined;
    const hooks = new Webhooks({
      table,
      lease: new Lease({ db: hub.database, clock, random, name: WEBHOOK_LEASE, isAlone, onTrouble }),
      spaces: hub.spaces,
      access: EVERYTHING,
      audit: hub.audit,
      clock: (hasty = new Hasty(aheadMs)),
      random: new SimRandom(1).asRandom(),
      post: guardedPost,
      mayBePrivate: () => mayBePrivate,
      describe: ({ path, sequence, action }) => ({ path, sequence, action }),
      isErased: () => Promise.resolve(false),
      onTrouble,
    });
    const over = hooks.run(end.signal);
    return { hooks, stop: () => (end.abort(), over) };
  }
  const create = (more: Partial<NewWebhook> = {}): ReturnType<Webhooks["create"]> =>
    running.hooks.create(hub.who, "demo", { url: receiver.url, prefix: "", actions: [], ...more }, BY);
  async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
    while (!(await isSo())) await Bun.sleep(2);
  }

  beforeEach(async () => {
    hub = await TestHub.open();
    seal = new SealKey(new Uint8Array(32), hub.host.random);
    await migrate(hub.database, "leases", LEASE_MIGRATIONS);
    await migrate(hub.database, "webhooks", WEBHOOK_MIGRATIONS);
    await hub.spaces.createSpace(hub.who, "demo");
    receiver = new Receiver();
    isDead = false;
    troubles.length = 0;
    tables.length = 0;
    running = start();
  });
  afterEach(async () => {
    await running.stop();
    await receiver[Symbol.asyncDispose]();
    await hub[Symbol.asyncDispose]();
  });

  test("[WEBHOOK-1] every change after its making is told, in order, signed, with an id and a time", async () => {
    await hub.put("demo", "before", "x");
    const { secret } = await create();
    for (let at = 0; at < 250; at++) await hub.put("demo", `f${at}`, "x");
    await until(() => receiver.changes.length >= 250);
    expect(receiver.changes.map(({ path }) => path)).toEqual(Array.from({ length: 250 }, (_, at) => `f${at}`));
    for (const { id, seconds, signature, body } of receiver.told) {
      // As standardwebhooks.com says it, a second time.
      const key = Buffer.from(secret.slice("whsec_".length), "base64");
      expect(signature).toBe(`v1,${createHmac("sha256", key).update(`${id}.${seconds}.${body}`).digest("base64")}`);
      expect(Math.abs(seconds - Date.now() / 1000)).toBeLessThan(60);
      expect((JSON.parse(body) as Body).changes.length).toBeLessThanOrEqual(CHANGES_PER_DELIVERY_MAX);
    }
    expect(new Set(receiver.told.map(({ id }) => id)).size).toBe(receiver.told.length);
  });

  test("[WEBHOOK-15] a webhook that was removed, or begins again, leaves nothing behind in those that go on", async () => {
    const table = new WebhookTable(hub.database, seal);
    const parts = {
      table, spaces: hub.spaces, clock: new Hasty(0), random: new SimRandom(1).asRandom(), post: guardedPost, generation: 1,
      mayBePrivate: () => true, describe: () => ({}), onOutcome: () => undefined, disable: () => Promise.resolve(),
      place: () => Promise.resolve({ [Symbol.dispose]: () => undefined }),
    };
    const { signal } = new AbortController();
    const ran: WeakRef<Delivery>[] = [];
    for (let at = 0; at < 200; at++) {
      const delivery = new Delivery(parts, "removed");
      ran.push(new WeakRef(delivery));
      await delivery.run(signal);
    }
    await Bun.sleep(0);
    Bun.gc(true);
    // The collector may take a word on the stack for one.
    expect(ran.filter((one) => one.deref() !== undefined).length).toBeLessThan(20);
    expect(signal.aborted).toBe(false);
  });

  test("[WEBHOOK-2] only what it asks for: below its prefix, of its kinds", async () => {
    await create({ prefix: "a", actions: ["replace"] });
    for (const path of ["a/x", "ab", "b/x", "a/x", "a/y", "b/x", "a/y"]) await hub.put("demo", path, String(Math.random()));
    await hub.put("demo", "a/x", "last");
    await until(() => receiver.changes.length >= 3);
    expect(receiver.changes.map(({ path, action }) => [path, action])).toEqual([["a/x", "replace"], ["a/y", "replace"], ["a/x", "replace"]]);
  });

  test("[WEBHOOK-3] whatever fails and how often: nothing is left out, the order stays, and a delivery keeps its id", async () => {
    const random = new SimRandom(7);
    const seen = new Map<string, string>();
    receiver.answer = ({ id, body }) => {
      expect(seen.get(id) ?? body).toBe(body);
      seen.set(id, body);
      return random.chance(0.5) ? 200 : random.pick([500, 429, 302, 404]);
    };
    await create();
    for (let at = 0; at < 60; at++) await hub.put("demo", `f${at}`, "x");
    const last = (): number => Math.max(0, ...receiver.changes.map(({ sequence }) => sequence));
    await until(async () => last() === 60 && (await running.hooks.list(hub.who, "demo"))[0]!.behind === 0);
    const firsts = [...new Set(receiver.changes.map(({ sequence }) => sequence))];
    expect(firsts).toEqual(Array.from({ length: 60 }, (_, at) => at + 1));
  });

  test("[WEBHOOK-4] after a crash the delivery that was under way is sent again as it was, then what comes after it", async () => {
    await create();
    isDead = true;
    await hub.put("demo", "one", "x");
    await until(() => receiver.told.length > 0);
    await running.stop();
    isDead = false;
    await hub.put("demo", "two", "x");
    const first = receiver.told.length;
    running = start();
    await until(() => receiver.changes.some(({ path }) => path === "two"));
    const [before] = receiver.told;
    const again = receiver.told[first]!;
    expect([again.id, again.body]).toEqual([before!.id, before!.body]);
    expect((JSON.parse(receiver.told.at(-1)!.body) as Body).changes.map(({ path }) => path)).toEqual(["two"]);
  });

  test("[WEBHOOK-5] after days of failing it is switched off, and says why; switched on it goes on where it was", async () => {
    receiver.answer = () => 503;
    const { view } = await create();
    await hub.put("demo", "one", "x");
    const state = async (): Promise<Webhook> => (await running.hooks.get(hub.who, "demo", view.hook.id)).hook;
    await until(async () => !(await state()).isEnabled);
    expect((await state()).disabledReason).toMatch(/^no delivery since .*: HTTP status 503: so it is$/);
    expect(receiver.told.length).toBeGreaterThan(FAILING_MS_MAX / 3_600_000 / 2);
    expect(troubles.join()).toContain("switched off");
    const [record] = await hub.audit.page({ action: "webhook.disable" }, undefined, 1);
    expect(record!.resource).toBe(`webhook:${view.hook.id}`);
    receiver.answer = () => 200;
    await hub.put("demo", "two", "x");
    await running.hooks.update(hub.who, "demo", view.hook.id, { isEnabled: true }, BY);
    await until(async () => (await state()).delivered === 2);
    expect((await state()).failingSinceMs).toBeUndefined();
    expect(receiver.changes.at(-1)!.path).toBe("two");
  });

  test("[WEBHOOK-17] days in which the hub did not run, or by which its clock was put forward, are none of failing", async () => {
    receiver.answer = () => 503;
    const { view } = await create();
    await hub.put("demo", "one", "x");
    const state = async (): Promise<Webhook> => (await running.hooks.get(hub.who, "demo", view.hook.id)).hook;
    await until(async () => (await state()).failingSinceMs !== undefined);
    await running.stop();
    // The receiver is begun after the hub.
    const before = receiver.told.length;
    receiver.answer = () => (receiver.told.length < before + 3 ? 503 : 200);
    running = start(true, undefined, 2 * FAILING_MS_MAX);
    await until(async () => (await state()).delivered === 1 || !(await state()).isEnabled);
    expect(await state()).toMatchObject({ isEnabled: true, delivered: 1 });
  });

  test("[WEBHOOK-5] one that says it is gone is switched off at once", async () => {
    receiver.answer = () => 410;
    const { view } = await create();
    await hub.put("demo", "one", "x");
    await until(async () => !(await running.hooks.get(hub.who, "demo", view.hook.id)).hook.isEnabled);
    expect(receiver.told.length).toBe(1);
  });

  test("[WEBHOOK-6] a private address is not reached unless it is allowed, and plain HTTP neither", async () => {
    await running.stop();
    running = start(false);
    const refusal = async (url: string): Promise<string> => {
      try {
        const { view } = await create({ url });
        return (await running.hooks.test(hub.who, "demo", view.hook.id, new AbortController().signal)).error ?? "";
      } catch (error) {
        return (error as SynclineError).message;
      }
    };
    expect(await refusal(receiver.url)).toContain("only https");
    const { port } = new URL(receiver.url);
    for (const host of ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "10.1.2.3", "169.254.169.254", "0x7f000001"]) {
      expect([host, await refusal(`https://${host}:${port}/`)]).toEqual([host, expect.stringContaining("no public address")]);
    }
    expect(receiver.told).toEqual([]);
    // Where the address itself says so, none is made.
    expect((await running.hooks.list(hub.who, "demo")).map(({ hook }) => new URL(hook.url).hostname)).toEqual(["localhost"]);
    expect(await refusal("https://user:password@example.com/")).toContain("password");
    expect(await refusal("file:///etc/passwd")).toContain("https://HOST/PATH");
  });

  test("[WEBHOOK-7] a test tells of nothing and moves nothing; a secret is given or made, and never shown again", async () => {
    const { view, secret } = await create();
    expect(await running.hooks.test(hub.who, "demo", view.hook.id, new AbortController().signal)).toMatchObject({ error: undefined });
    expect((JSON.parse(receiver.told[0]!.body) as Body).type).toBe("webhook.test");
    expect(secretBytes(secret)).toHaveLength(32);
    expect(JSON.stringify(await running.hooks.list(hub.who, "demo"))).not.toContain(secret.slice(6, 20));
    const own = `whsec_${Buffer.alloc(24, 7).toString("base64")}`;
    expect((await create({ secret: own })).secret).toBe(own);
    for (const wrong of ["whsec_", "whsec_c2hvcnQ=", own.slice(6), "whsec_###"]) {
      expect(await create({ secret: wrong }).then(() => "made", (error: SynclineError) => error.code)).toBe("USAGE");
    }
  });

  test("[WEBHOOK-8] one that was removed or switched off is told nothing more, and another address at once", async () => {
    receiver.answer = () => 500;
    const { view } = await create();
    await hub.put("demo", "one", "x");
    await until(() => receiver.told.length > 0);
    await using other = new Receiver();
    await running.hooks.update(hub.who, "demo", view.hook.id, { url: other.url }, BY);
    await until(() => other.changes.some(({ path }) => path === "one"));
    await running.hooks.remove(hub.who, "demo", view.hook.id, BY);
    const before = other.told.length;
    await hub.put("demo", "two", "x");
    await Bun.sleep(50);
    expect(other.told.length).toBe(before);
  });

  test("[WEBHOOK-14] of two who change one at once neither takes back what the other has changed", async () => {
    const { view } = await create();
    const change = (what: object): Promise<unknown> => running.hooks.update(hub.who, "demo", view.hook.id, what, BY);
    await Promise.all([change({ isEnabled: false }), change({ prefix: "a" })]);
    const { hook } = await running.hooks.get(hub.who, "demo", view.hook.id);
    expect([hook.isEnabled, hook.prefix]).toEqual([false, "a"]);
  });

  test("[WEBHOOK-18] what is told is of its space, also where another one gets its name in the middle", async () => {
    await create();
    const { spaces } = hub;
    const all = spaces.spaces.bind(spaces);
    const isOver = Promise.withResolvers<void>();
    let looks = 0;
    spaces.spaces = async (who) => {
      const found = await all(who);
      if (found[0]?.sequence !== 1 || ++looks > 1) return found;
      await spaces.updateSpace(hub.who, "demo", { name: "moved" });
      await spaces.createSpace(hub.who, "demo");
      await hub.put("demo", "secret", "of another space");
      isOver.resolve();
      return found;
    };
    await hub.put("demo", "own", "x");
    await isOver.promise;
    await until(() => receiver.told.length > 0);
    expect(receiver.changes.map(({ path }) => path)).toEqual(["own"]);
    expect(receiver.told.map(({ body }) => (JSON.parse(body) as { space: string }).space)).toEqual(["moved"]);
  });

  test("[WEBHOOK-19] one that is switched off and on while the database fails is told of everything once", async () => {
    const { view } = await create();
    const { id } = view.hook;
    await until(async () => (await running.hooks.states()).active === 1);
    const get = tables[0]!.get.bind(tables[0]);
    const sleep = hasty.sleep.bind(hasty);
    const isBack = Promise.withResolvers<void>();
    hasty.sleep = (ms, signal) => (ms === 10_000 ? isBack.promise : sleep(ms, signal));
    let looks = 0;
    // The second look after it was switched off is that of who has seen the delivery end.
    tables[0]!.get = async (...asked) => {
      const hook = await get(...asked);
      if (hook?.isEnabled !== false || asked[1] !== undefined || ++looks !== 2) return hook;
      throw new Error("the database is away");
    };
    await hub.database.run("UPDATE webhooks SET enabled = 0 WHERE id = ?", [id]);
    // It is looked at, and found switched off.
    await hub.put("demo", "before", "x");
    await until(() => looks >= 2);
    await Bun.sleep(10);
    await running.hooks.update(hub.who, "demo", id, { isEnabled: true }, BY);
    isBack.resolve();
    await Bun.sleep(50);
    for (let at = 0; at < 5; at++) {
      await hub.put("demo", `f${at}`, "x");
      await Bun.sleep(20);
    }
    await until(() => receiver.changes.length >= 6);
    await Bun.sleep(50);
    expect(receiver.changes.map(({ path }) => path)).toEqual(["before", "f0", "f1", "f2", "f3", "f4"]);
  });

  test("[WEBHOOK-12] of two hubs on one database one delivers, whoever takes the order; when it is gone the other goes on", async () => {
    await running.stop();
    const clocks = [new StepClock(), new StepClock()] as const;
    running = start(true, clocks[0]);
    await until(async () => (await readLease(hub.database, WEBHOOK_LEASE))?.generation === 2);
    const other = start(true, clocks[1]);
    const { view } = await other.hooks.create(hub.who, "demo", { url: receiver.url, prefix: "", actions: [] }, BY);
    await hub.put("demo", "one", "x");
    await until(async () => (await other.hooks.get(hub.who, "demo", view.hook.id)).behind === 0);
    await other.hooks.update(hub.who, "demo", view.hook.id, { prefix: "a" }, BY);
    await hub.put("demo", "not told", "x");
    await hub.put("demo", "a/two", "x");
    await until(() => receiver.changes.some(({ path }) => path === "a/two"));
    expect(receiver.changes.map(({ path }) => path)).toEqual(["one", "a", "a/two"]);
    expect(other.hooks.counts.delivered).toBe(0);
    // The first stands still for all that the second can see.
    await until(async () => {
      clocks[1].advance(1000);
      return (await readLease(hub.database, WEBHOOK_LEASE))!.generation === 3;
    });
    await until(async () => {
      clocks[0].advance(1000);
      return troubles.some((line) => line.includes("lease lost"));
    });
    await hub.put("demo", "a/three", "x");
    await until(() => other.hooks.counts.delivered === 1);
    expect(receiver.changes.map(({ path }) => path)).toEqual(["one", "a", "a/two", "a/three"]);
    await other.stop();
  });

  test("[WEBHOOK-13] a hub that was taken for dead writes nothing of its delivery, which is made again as it was", async () => {
    const answers: ((status: number) => void)[] = [];
    receiver.hold = () => new Promise((resolve) => answers.push(resolve));
    const { view } = await create();
    await hub.put("demo", "one", "x");
    await until(() => answers.length === 1);
    expect(await takeLease(hub.database, WEBHOOK_LEASE, "other", await readLease(hub.database, WEBHOOK_LEASE))).toBe(2);
    answers[0]!(410);
    await until(() => answers.length === 2);
    const { hook } = await running.hooks.get(hub.who, "demo", view.hook.id);
    expect([hook.isEnabled, hook.delivered, hook.lastError]).toEqual([true, 0, undefined]);
    expect([receiver.told[1]!.id, receiver.told[1]!.body]).toEqual([receiver.told[0]!.id, receiver.told[0]!.body]);
    for (const answer of answers) answer(200);
  });

  test("[WEBHOOK-9] pauses double up to an hour, and no two receivers are asked in step", () => {
    for (let failures = 1; failures < 100; failures++) {
      const whole = Math.min(3_600_000, 1000 * 2 ** Math.min(30, failures - 1));
      expect([pauseMs(failures, 0), pauseMs(failures, 1)]).toEqual([whole / 2, whole]);
    }
  });
});
