/** The real program as people use it who administer a hub, and those whom they let in. */
import { describe, expect, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { Fleet } from "./fleet.ts";
import type { Done } from "./harness.ts";

const TEST_MS_MAX = 120_000;
const ROLES = `roles:
  - name: site-writer
    rules:
      - {effect: allow, resource: space, actions: [read, write], names: [site], prefixes: [docs]}
`;

describe("people", () => {
  test("[CLI-60] are made, let in, given roles and keys, watched, and shut out, by commands", async () => {
    await using fleet = await Fleet.start();
    const { world } = fleet;
    const as = (who: string) => (...args: string[]): Promise<Done> =>
      world.run(args, { SYNCLINE_HUB: fleet.url, SYNCLINE_STATE_DIR: world.path(`state-${who}`) });
    const admin = (...args: string[]): Promise<Done> => as("admin")(...args, "--token-file", "token");
    const bob = as("bob");
    const done = async (running: Promise<Done>): Promise<string> => {
      const { code, out, err } = await running;
      expect([err, code]).toEqual(["", 0]);
      return out;
    };
    const refused = async (running: Promise<Done>): Promise<string> => {
      const { code, err } = await running;
      expect(code).toBe(3);
      return err;
    };
    world.write("first", "a first password\n");
    world.write("second", "a second password\n");
    world.write("roles.yaml", ROLES);
    world.write("page", "hello");

    expect(await done(admin("role", "put", "roles.yaml"))).toContain("allow read write of space");
    expect(await done(admin("user", "create", "bob", "--role", "site-writer", "--password-file", "first"))).toContain("may sign in");
    expect(await refused(bob("ls", "site"))).toContain("syncline login");
    expect(await refused(bob("login", "bob", "--password-file", "second"))).toContain("not valid");
    await done(bob("login", "bob", "--password-file", "first"));
    const { mode } = statSync(world.path("state-bob", "logins"));
    expect(mode & 0o077).toBe(0);

    // Inside what the role allows, and outside of it.
    await done(bob("put", "page", "site:docs/page"));
    expect(await refused(bob("put", "page", "site:page"))).toContain("may not");
    expect(await refused(bob("user", "list"))).toContain("may not");
    expect(await refused(bob("role", "put", "roles.yaml"))).toContain("may not");

    // One's own keys, which nobody else's are.
    const keys = await done(bob("s3-key", "create", "--json"));
    const { accessKey } = JSON.parse(keys) as { accessKey: string };
    expect(await done(bob("s3-key", "list"))).toContain(accessKey);
    expect(await refused(bob("s3-key", "create", "ann"))).toContain("may not");

    // A mistake in a file is told with its place, and nothing of the file is done.
    world.write("wrong.yaml", ROLES.replace("effect: allow", "effect: allways"));
    expect(await refused(admin("role", "put", "wrong.yaml"))).toContain("wrong.yaml:4:10: roles[0].rules[0].effect");

    await done(bob("user", "password", "--old-password-file", "first", "--password-file", "second"));
    expect(await refused(bob("ls", "site"))).toContain("not valid");
    await done(bob("login", "bob", "--password-file", "second"));
    expect(await done(admin("session", "list", "bob"))).toContain("syncline/");
    await done(admin("user", "disable", "bob"));
    expect(await refused(bob("ls", "site"))).toContain("not valid");
    expect(await refused(bob("login", "bob", "--password-file", "second"))).toContain("not valid");

    const audit = await done(admin("audit", "list", "--actor", "user:bob", "--action", "s3-key.create"));
    expect(audit).toContain(accessKey);
    await done(admin("audit", "export", "audit.ndjson"));
    const records = readFileSync(world.path("audit.ndjson"), "utf8").trim().split("\n");
    const last = JSON.parse(records.at(-1)!) as { seq: number; hash: string };
    expect(records.length).toBe(last.seq);
    expect(await done(admin("audit", "verify", "--noted", `${last.seq}:${last.hash}`))).toContain("sound");
    expect(records.join("\n")).not.toMatch(/a (first|second) password/);
  }, TEST_MS_MAX);

  test("[WEBHOOK-10] webhooks are made, tested, changed and removed by commands, and tell a real receiver of real changes", async () => {
    await using fleet = await Fleet.start();
    const { world } = fleet;
    const told: { id: string; signature: string; seconds: string; body: string }[] = [];
    const listen = (port: number): Bun.Server<undefined> =>
      Bun.serve({
        hostname: "127.0.0.1",
        port,
        async fetch(request) {
          const [id, signature, seconds] = ["id", "signature", "timestamp"].map((name) => request.headers.get(`webhook-${name}`)!);
          told.push({ id: id!, signature: signature!, seconds: seconds!, body: await request.text() });
          return new Response();
        },
      });
    const receiver = listen(0);
    const url = `http://127.0.0.1:${receiver.port}/hook`;
    const run = (...args: string[]): Promise<Done> => world.run([...args, "--token-file", "token"], { SYNCLINE_HUB: fleet.url });
    expect((await run("webhook", "create", "site", url)).err).toContain("only https");
    world.write("hub-more.yaml", "webhookTargets: any\n");
    await fleet.kill("hub");
    await fleet.startHub("--config", "hub-more.yaml");
    const made = await run("webhook", "create", "site", url, "--below", "docs", "--json");
    const { id, secret } = JSON.parse(made.out.split("\n")[0]!) as { id: string; secret: string };
    expect((await run("webhook", "test", "site", id)).out).toContain("delivered");
    world.write("page", "hello");
    for (const path of ["docs/one", "other", "docs/two"]) await run("put", "page", `site:${path}`);
    await fleet.until("the changes are told", () => told.some(({ body }) => body.includes("docs/two")));
    const all = told.flatMap(({ body }) => (JSON.parse(body) as { changes?: { path: string }[] }).changes ?? []);
    expect([...new Set(all.map(({ path }) => path))]).toEqual(["docs", "docs/one", "docs/two"]);
    for (const one of told) {
      const key = Buffer.from(secret.slice("whsec_".length), "base64");
      const mac = new Bun.CryptoHasher("sha256", key).update(`${one.id}.${one.seconds}.${one.body}`).digest("base64");
      expect(one.signature).toBe(`v1,${mac}`);
    }
    // What is committed while the hub dies, and while nobody listens, is told when both are back.
    await fleet.kill("hub");
    await fleet.startHub("--config", "hub-more.yaml");
    await receiver.stop(true);
    await run("put", "page", "site:docs/three");
    const again = listen(Number(new URL(url).port));
    await fleet.until("the rest is told", () => told.some(({ body }) => body.includes("docs/three")));
    expect((await run("webhook", "list", "site")).out).toContain(url);
    expect((await run("webhook", "delete", "site", id, "--yes")).code).toBe(0);
    expect((await run("webhook", "show", "site", id)).err).toContain("no webhook");
    await again.stop(true);
  }, TEST_MS_MAX);
});
