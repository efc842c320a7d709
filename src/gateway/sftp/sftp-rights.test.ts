/** Who is connected, and is changed: looks that take long, and those that fail. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { once } from "node:events";
import ssh2 from "ssh2";
import type { Client } from "ssh2";
import { AccessWorld, BY, PASSWORD } from "#access/access-fixture.ts";
import { Metrics } from "#gateway/api/metrics.ts";
import type { Door, DoorParts } from "#gateway/door.ts";
import { TestSftp } from "#gateway/sftp/sftp-fixture.ts";
import { openSftp } from "#gateway/sftp/sftp.ts";
import { TestHub } from "#hub/hub-fixture.ts";
import { STATUS } from "#platform/net/sftp-wire.ts";

let world: AccessWorld;
let hub: TestHub;
let door: Door;
const clients: Client[] = [];

beforeEach(async () => {
  world = await AccessWorld.open();
  hub = await TestHub.open(world.access);
  await hub.spaces.createSpace(hub.who, "demo");
  await hub.put("demo", "f", "text");
  await world.user("ann", "admin");
  await world.user("bob", "admin");
  const { spaces, host } = hub;
  const log = { info: () => undefined, error: () => undefined };
  const listen = { host: "127.0.0.1", port: 0 };
  const parts = { host, spaces, access: world.access, metrics: new Metrics(), log, dataDir: hub.dir, listen, closing: new AbortController().signal };
  // Nobody writes.
  door = await openSftp(parts as unknown as DoorParts, {});
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  await door.close(0);
  await hub[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

async function connected(username: string): Promise<TestSftp> {
  const client = new ssh2.Client();
  clients.push(client);
  client.on("error", () => undefined);
  const ready = once(client, "ready");
  client.connect({ host: "127.0.0.1", port: Number(new URL(door.url).port), username, password: PASSWORD });
  await ready;
  const sftp = await TestSftp.over(client);
  await sftp.greet();
  return sftp;
}

type Look = AccessWorld["access"]["users"]["forSignIn"];

/** What becomes of the next look at somebody. */
function onLook(user: string, become: (look: () => ReturnType<Look>) => ReturnType<Look>): void {
  const { users } = world.access;
  const look = users.forSignIn.bind(users);
  users.forSignIn = (name) => {
    if (name !== user) return look(name);
    users.forSignIn = look;
    return become(() => look(name));
  };
}

test("[SFTP-61] the last change of somebody counts, however long the look behind an earlier one takes", async () => {
  const ann = await connected("ann");
  const [begun, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  onLook("ann", async (look) => {
    const found = await look();
    begun.resolve();
    await held.promise;
    return found;
  });
  await world.access.users.update(BY, "ann", { roles: ["admin", "admin"] });
  await begun.promise;
  await world.access.users.update(BY, "ann", { roles: [] });
  for (let looks = 0; (await ann.get("/demo/f")) === "text" && looks < 200; looks++) await Bun.sleep(5);
  held.resolve();
  await Bun.sleep(10);
  expect(await ann.get("/demo/f")).toBe(STATUS.permissionDenied);
});

test("[SFTP-62] whose rights cannot be looked at after a change is disconnected, and nobody else is", async () => {
  const [ann, bob] = [await connected("ann"), await connected("bob")];
  onLook("ann", () => Promise.reject(new Error("the database is away")));
  await world.access.users.update(BY, "ann", { isDisabled: true });
  expect(await Promise.race([ann.ended.then(() => "ended"), Bun.sleep(3000)])).toBe("ended");
  expect(await bob.get("/demo/f")).toBe("text");
});
