/** Operations on one bucket that come at the same time; what each of them asks for first takes its turn in the database. */
import { expect, test } from "bun:test";
import { AccessWorld } from "#access/access-fixture.ts";
import { BucketSettings } from "#gateway/s3/bucket-settings.ts";
import { deleteBucket } from "#gateway/s3/ops-bucket.ts";
import { putBucketLock } from "#gateway/s3/ops-locks.ts";
import { bucketVersioning, putBucketVersioning } from "#gateway/s3/ops-versions.ts";
import type { S3Call } from "#gateway/s3/s3-call.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { TestHub } from "#hub/hub-fixture.ts";
import type { Http1Answer } from "#platform/net/http1/connection.ts";

class Lab implements AsyncDisposable {
  readonly hub: TestHub;
  readonly #world: AccessWorld;
  readonly #settings: BucketSettings;

  private constructor(world: AccessWorld, hub: TestHub) {
    this.#world = world;
    this.hub = hub;
    this.#settings = new BucketSettings(hub.spaces, hub.host.clock);
  }

  static async open(): Promise<Lab> {
    const world = await AccessWorld.open();
    return new Lab(world, await TestHub.open(world.access));
  }

  call(bucket: string, body = ""): S3Call {
    const { spaces, who, host } = this.hub;
    const pieces: Uint8Array[] = [Buffer.from(body)];
    const request = { bucket, headers: new Map(), query: new Map(), body: { length: body.length, read: () => pieces.pop() } };
    const services = { spaces, access: this.#world.access, settings: this.#settings, random: host.random, traffic: { count: () => undefined } };
    return { services, who, renew: () => Promise.resolve(who), request, payload: { kind: "unsigned" } } as unknown as S3Call;
  }

  /** What `work` begins has got as far as it comes while the database is somebody else's. */
  async heldBack(work: () => Promise<unknown>[]): Promise<unknown[]> {
    const held = Promise.withResolvers<void>();
    const holding = this.hub.database.transaction(() => held.promise);
    const working: Promise<unknown>[] = [];
    for (const one of work()) {
      working.push(one.catch((error: unknown) => error));
      await new Promise((resolve) => setImmediate(resolve));
    }
    held.resolve();
    await holding;
    return Promise.all(working);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hub[Symbol.asyncDispose]();
    await this.#world[Symbol.asyncDispose]();
  }
}

const codeOf = (outcome: unknown): unknown => (outcome instanceof S3Error ? outcome.code : outcome instanceof Error ? outcome : 200);

test("[BUCKET-20] a bucket into which something is being put is not removed with it", async () => {
  await using lab = await Lab.open();
  const { hub } = lab;
  await hub.spaces.createSpace(hub.who, "brief");
  // Nobody sees the key yet.
  const [, removed] = await lab.heldBack(() => [hub.put("brief", "key", "text"), soon().then(() => deleteBucket(lab.call("brief")))]);
  expect(codeOf(removed)).toBe("BucketNotEmpty");
  expect(await hub.files("brief")).toEqual({ key: "text" });
});

test("[S3-LOCK-8] versioning and locks that are set at the same time fit each other", async () => {
  await using lab = await Lab.open();
  await lab.hub.spaces.createSpace(lab.hub.who, "kept");
  const set = (status: string): Promise<Http1Answer> =>
    putBucketVersioning(lab.call("kept", `<VersioningConfiguration><Status>${status}</Status></VersioningConfiguration>`));
  await set("Enabled");
  const lock = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
  const outcomes = await lab.heldBack(() => [set("Suspended"), putBucketLock(lab.call("kept", lock))]);
  expect(outcomes.map(codeOf)).toEqual([200, "InvalidBucketState"]);
  expect(String((await bucketVersioning(lab.call("kept"))).body)).toContain("Suspended");
  expect((await lab.hub.spaces.space(lab.hub.who, "kept")).settings.lock).toBeUndefined();
});

/** Behind what was begun in the same turn. */
const soon = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
