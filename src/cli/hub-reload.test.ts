/** A hub whose configuration and bootstrap file change while it runs. */
import { Database, SQLiteError } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readBootstrap } from "#config/bootstrap.ts";
import { resolveHubConfig } from "#config/hub-config.ts";
import { runHostAgent } from "#cli/engine.ts";
import { HubProcess } from "#cli/hub-process.ts";
import { type HubReloadParts, LOOK_MS } from "#cli/hub-reload.ts";
import { readSmallFile } from "#cli/local-files.ts";
import { LINK_SETTINGS } from "#hub/agents/link.ts";
import { openHost } from "#platform/host-bun.ts";

const TOKEN = "admin-0123456789abcdef0123456789abcdef";
const ROLE = "{name: watcher, rules: [{effect: allow, resource: audit, actions: [read]}]}";
const boot = (roles: string, more = ""): string => `
users: [{name: admin, roles: [admin]}, {name: ann, roles: [watcher]}]
tokens: [{user: admin, value: ${TOKEN}}, {user: ann, value: ann-${TOKEN}}]
roles: [${roles}]
${more}`;

type State = { valid: boolean; fault?: string; restartNeeded: string[]; keys: { key: string; value: string; source: string }[] };

const refusing = (table: string): string =>
  `CREATE TRIGGER refusing BEFORE INSERT ON ${table} BEGIN SELECT RAISE(ABORT, 'refused'); END`;

async function runIn(db: Database, text: string): Promise<void> {
  for (;;) {
    try {
      return void db.run(text);
    } catch (error) {
      // The hub is writing.
      if (!(error instanceof SQLiteError) || error.code !== "SQLITE_BUSY") throw error;
      await Bun.sleep(5);
    }
  }
}

describe("a configuration that changes", () => {
  const dir = mkdtempSync(join(tmpdir(), "syncline-reload-"));
  const at = (name: string): string => join(dir, name);
  const log: string[] = [];
  let hub: HubProcess;
  /** How far its clock was put. */
  let shiftMs = 0;

  const write = (name: string, text: string): void => {
    writeFileSync(at(`${name}.new`), text);
    renameSync(at(`${name}.new`), at(name));
  };
  const config = (...lines: string[]): void =>
    write("hub.yaml", ["listen: 127.0.0.1:0", `bootstrap: ${at("boot.yaml")}`, ...lines].join("\n"));
  const read: HubReloadParts["read"] = (named) => {
    const files = ["hub.prod.yaml", "hub.yaml"].filter((name) => existsSync(at(name)));
    const texts = files.map((name) => ({ name, text: readSmallFile("config", at(name)) }));
    const resolved = resolveHubConfig({ line: {}, environment: {}, files: texts });
    named(resolved.config);
    const { bootstrap } = resolved.config;
    return { resolved, bootstrap: readBootstrap(readSmallFile("bootstrap", bootstrap!), "boot.yaml") };
  };
  const ask = (path: string, token = TOKEN, method = "GET"): Promise<Response> =>
    fetch(`${hub.url}${path}`, { method, headers: { authorization: `Bearer ${token}` } });
  const state = async (): Promise<State> => (await (await ask("/v1/config")).json()) as State;
  const reload = async (): Promise<{ status: number; body: Record<string, unknown> }> => {
    const response = await ask("/v1/config/reload", TOKEN, "POST");
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };

  beforeAll(async () => {
    write("boot.yaml", boot(""));
    config();
    const first = read(() => undefined);
    const tell = (message: string, fields: object): void => void log.push(`${message} ${JSON.stringify(fields)}`);
    const host = openHost();
    const { clock } = host;
    const shifted = { nowMs: () => clock.nowMs() + shiftMs, monotonicMs: () => clock.monotonicMs(), sleep: clock.sleep };
    hub = await HubProcess.start({
      host: { ...host, clock: shifted },
      dataDir: at("hub"),
      config: first.resolved.config,
      bootstrap: first.bootstrap,
      source: { first, read, files: [at("hub.prod.yaml"), at("hub.yaml")] },
      log: { info: tell, error: tell },
    });
  });
  afterAll(async () => {
    await hub.close();
    rmSync(dir, { recursive: true, force: true });
  });

  test("[RELOAD-1] counts when its file has changed, without anybody asking: roles, and what the file declares", async () => {
    expect((await ask("/v1/audit", `ann-${TOKEN}`)).status).toBe(403);
    write("boot.yaml", boot(ROLE, "spaces: [{name: late}]"));
    while ((await ask("/v1/audit", `ann-${TOKEN}`)).status === 403) await Bun.sleep(20);
    while ((await ask("/v1/spaces/late")).status === 404) await Bun.sleep(20);
    write("boot.yaml", boot(""));
    await reload();
    expect((await ask("/v1/audit", `ann-${TOKEN}`)).status).toBe(403);
  });

  test("[RELOAD-2] takes what it can, names what needs a restart, and says both", async () => {
    config("hostLinks: [none]", "tls: always", "requestsMax: 5");
    const { body } = await reload();
    expect(body["changes"]).toEqual([
      { key: "hostLinks", from: "all", to: "none", applied: true },
      { key: "tls", from: "auto", to: "always", applied: false },
      { key: "requestsMax", from: "1024", to: "5", applied: true },
    ]);
    const { keys, restartNeeded } = await state();
    expect(restartNeeded).toEqual(["tls"]);
    const valueOf = (name: string): string => keys.find(({ key }) => key === name)!.value;
    expect([valueOf("tls"), valueOf("hostLinks")]).toEqual(["auto", "none"]);
    expect(await (await ask("/metrics")).text()).toContain("syncline_config_restart_needed 1");
    expect(await (await ask("/health/ready")).json()).toMatchObject({ ready: true, configuration: { valid: true, restartNeeded: true } });
    config();
    await reload();
    expect((await state()).restartNeeded).toEqual([]);
  });

  test("[RELOAD-8] leave that hosts no longer have to link directories ends the links that they declared, and comes back", async () => {
    const joining = "joinTokens: [{value: join-0123456789abcdef0123456789abcdef}]";
    write("boot.yaml", boot("", `spaces: [{name: late}, {name: free}]\n${joining}`));
    expect((await reload()).status).toBe(200);
    writeFileSync(at("join"), "join-0123456789abcdef0123456789abcdef\n");
    for (const name of ["root", "other", "agent"]) mkdirSync(at(name), { recursive: true });
    const end = new AbortController();
    const linkOf = (root: string, space: string) => ({ root: at(root), space, prefix: "", settings: LINK_SETTINGS.parse({}) });
    const agent = runHostAgent({
      hub: hub.url, name: "web1", dataDir: at("agent"), joinTokenFile: at("join"), fingerprint: undefined, acceptNew: true,
      links: [linkOf("root", "late"), linkOf("other", "free")], ignore: [], mayInstall: false, otlp: undefined,
      hooks: { before: undefined, after: undefined, timeoutMs: 1000, onAfterFailure: "report" },
      onReload: () => undefined, log: () => undefined,
    }, end.signal);
    const spaces = async (): Promise<string> => {
      const { links } = (await (await ask("/v1/links/defined")).json()) as { links: { space: string }[] };
      return links.map(({ space }) => space).toSorted().join();
    };
    const until = async (wanted: string): Promise<void> => {
      while ((await spaces()) !== wanted) await Bun.sleep(20);
    };
    await until("free,late");
    config("hostLinks: [free]");
    expect((await reload()).status).toBe(200);
    expect(await spaces()).toBe("free");
    config();
    expect((await reload()).status).toBe(200);
    expect(await spaces()).toBe("free,late");
    end.abort();
    await agent;
    // One that is away has none either.
    config("hostLinks: [late]");
    expect((await reload()).status).toBe(200);
    expect(await spaces()).toBe("late");
    write("boot.yaml", boot(""));
    config();
    await reload();
  }, 30_000);

  test("[RELOAD-10] a file that a wrong configuration names counts as soon as it is right", async () => {
    write("other.yaml", "users: [{name: admin, roles: [admin]}]\nroles: [{name: x, includes: [nobody]}]\n");
    write("hub.yaml", `listen: 127.0.0.1:0\nbootstrap: ${at("other.yaml")}\n`);
    while ((await state()).valid) await Bun.sleep(20);
    write("other.yaml", boot("", "spaces: [{name: righted}]"));
    while (!(await state()).valid) await Bun.sleep(20);
    expect((await ask("/v1/spaces/righted")).status).toBe(200);
    config();
    await reload();
  }, 30_000);

  test("[RELOAD-9] what the bootstrap file says of following begins when it is read again, once", async () => {
    const follow = `follow: [{space: theirs, from: "http://127.0.0.1:1", token: ${TOKEN}}]`;
    const begun = (): number => log.filter((line) => line.startsWith("bootstrap: space cannot follow") && line.includes("theirs")).length;
    write("boot.yaml", boot("", follow));
    expect((await reload()).status).toBe(200);
    while (begun() === 0) await Bun.sleep(20);
    await reload();
    write("boot.yaml", boot("", `${follow}\nspaces: [{name: late}]`));
    await reload();
    await Bun.sleep(50);
    expect(begun()).toBe(1);
    write("boot.yaml", boot(""));
    await reload();
  }, 30_000);

  test("[RELOAD-5] a file that cannot be looked at ends nothing: what changes later counts as before", async () => {
    symlinkSync("hub.prod.yaml", at("hub.prod.yaml"));
    await Bun.sleep(2 * LOOK_MS);
    config("requestsMax: 6");
    while ((await state()).keys.find(({ key }) => key === "requestsMax")!.value !== "6") await Bun.sleep(20);
    rmSync(at("hub.prod.yaml"));
    config();
    await reload();
  });

  test("[RELOAD-3] a bad one changes nothing, is told with its line, and goes when it is put right", async () => {
    config("hostLinks: [none]");
    write("boot.yaml", boot(`${ROLE}, {name: x, includes: [nobody]}`));
    const { status, body } = await reload();
    expect([status, body["detail"]]).toEqual([400, expect.stringMatching(/^boot.yaml: role "x" includes "nobody"/)]);
    const held = await state();
    expect([held.valid, held.keys.find(({ key }) => key === "hostLinks")!.value]).toEqual([false, "all"]);
    expect((await ask("/v1/audit", `ann-${TOKEN}`)).status).toBe(403);
    expect(await (await ask("/metrics")).text()).toContain("syncline_config_valid 0");
    expect(await (await ask("/health/ready")).json()).toMatchObject({ ready: true, configuration: { valid: false } });
    config("listen-on: x");
    expect((await reload()).body["detail"]).toStartWith("hub.yaml:3:1: listen-on: there is no such key");
    write("boot.yaml", boot(""));
    config("oidcRoles: [a=admin]");
    expect((await reload()).body["detail"]).toContain("oidcIssuer");
    expect((await state()).fault).toContain("oidcIssuer");
    config();
    expect((await reload()).status).toBe(200);
    expect((await state()).valid).toBe(true);
  });

  test("[OBSERVE-17] every line that a request brings about has its trace id", async () => {
    const traceId = "0af7651916cd43dd8448eb211c80319c";
    config("requestsMax: 77");
    const before = log.length;
    await fetch(`${hub.url}/v1/config/reload`, {
      method: "POST",
      headers: { authorization: `Bearer ${TOKEN}`, traceparent: `00-${traceId}-b7ad6b7169203331-00` },
    });
    const lines = log.slice(before).filter((line) => line.includes("asked for") || line.includes("requestsMax"));
    expect(lines.length).toBeGreaterThan(1);
    for (const line of lines) expect(line).toContain(traceId);
    config();
    await reload();
  });

  test("[CONF-31] keys and tokens get the rules that the file says, and those of who may not sign in are left alone", async () => {
    const key = "accessKey: ANNKEY, secretKey: annsecretannsecretannsecretannsecret";
    const scopes = "scopes: [{effect: allow, resource: space, actions: [read], names: [late]}]";
    const plain = `{user: ann, value: ann-${TOKEN}}`;
    const counts = async (rules: string): Promise<unknown> => {
      const text = boot("", `s3Keys: [{user: ann, ${key}${rules}}]\nspaces: [{name: late}]`);
      write("boot.yaml", text.replace(plain, plain.replace("}", `${rules}}`)));
      return (await reload()).body["bootstrap"];
    };
    const setDisabled = async (disabled: boolean): Promise<number> => {
      const headers = { authorization: `Bearer ${TOKEN}` };
      return (await fetch(`${hub.url}/v1/users/ann`, { method: "PATCH", headers, body: JSON.stringify({ disabled }) })).status;
    };
    expect(await counts("")).toMatchObject({ changed: 0 });
    expect(await counts(`, ${scopes}`)).toMatchObject({ made: 0, changed: 2 });
    const own = (await (await ask("/v1/whoami", `ann-${TOKEN}`)).json()) as { scoped: boolean };
    expect(own.scoped).toBe(true);
    expect(await setDisabled(true)).toBe(200);
    expect(await counts(`, ${scopes}`)).toMatchObject({ made: 0, changed: 0 });
    expect(await setDisabled(false)).toBe(200);
    expect(await counts("")).toMatchObject({ made: 0, changed: 2 });
    write("boot.yaml", boot(""));
    await reload();
  });

  test("[CONF-34] a link whose root is written with a slash at its end is the same when the file is read again", async () => {
    write("boot.yaml", boot("", "spaces: [{name: late}]\nlinks: [{host: web1, root: /srv/site/, space: late}]"));
    expect((await reload()).body["bootstrap"]).toMatchObject({ made: 1 });
    const again = await reload();
    expect([again.status, again.body["bootstrap"]]).toEqual([200, expect.objectContaining({ made: 0, changed: 0 })]);
    write("boot.yaml", boot(""));
    await reload();
  });

  test("[CONF-30] the file for this kind of host counts when it comes, and no longer when it goes", async () => {
    const valueOf = async () => (await state()).keys.find(({ key }) => key === "requestsMax")!;
    config("requestsMax: 77");
    write("hub.prod.yaml", "requestsMax: 78\n");
    while ((await valueOf()).value !== "78") await Bun.sleep(20);
    expect((await valueOf()).source).toBe("hub.prod.yaml");
    rmSync(at("hub.prod.yaml"));
    while ((await valueOf()).value !== "77") await Bun.sleep(20);
    config();
    await reload();
  });

  test("[RELOAD-7] what the database refuses of it does not wait for a clock that is put back", async () => {
    const db = new Database(at("hub/hub.db"));
    await runIn(db, refusing("spaces"));
    write("boot.yaml", boot("", "spaces: [{name: behind}]"));
    while ((await state()).valid) await Bun.sleep(20);
    shiftMs = -86_400_000;
    await runIn(db, "DROP TRIGGER refusing");
    while (!(await state()).valid) await Bun.sleep(50);
    expect((await ask("/v1/spaces/behind")).status).toBe(200);
    shiftMs = 0;
    db.close();
    write("boot.yaml", boot(""));
    await reload();
  }, 30_000);

  test("[RELOAD-6] what the database refuses of it is done and recorded later, however often it was refused", async () => {
    const db = new Database(at("hub/hub.db"));
    const recorded = async (): Promise<string> => (await ask("/v1/audit?action=config.reload&limit=5")).text();
    const run = (text: string): Promise<void> => runIn(db, text);
    const refuse = (table: string): Promise<void> => run(refusing(table));
    await refuse("spaces");
    config("requestsMax: 91");
    write("boot.yaml", boot("", "spaces: [{name: refused}]"));
    expect((await reload()).status).not.toBe(200);
    await run("DROP TRIGGER refusing");
    await refuse("access_audit");
    config("requestsMax: 92");
    expect((await reload()).status).not.toBe(200);
    expect((await reload()).status).not.toBe(200);
    // It was looked at meanwhile because the file has changed.
    await Bun.sleep(3 * LOOK_MS);
    expect((await state()).valid).toBe(false);
    await run("DROP TRIGGER refusing");
    // Nobody asks, and no file changes.
    while (!(await state()).valid) await Bun.sleep(50);
    expect((await ask("/v1/spaces/refused")).status).toBe(200);
    for (const value of ["91", "92"]) expect((await recorded()).split(`"to":"${value}"`).length).toBe(2);
    expect(log.filter((line) => line.includes('"to":"91"')).length).toBe(1);
    db.close();
    write("boot.yaml", boot(""));
    config();
    await reload();
  }, 30_000);

  test("[RELOAD-4] every change is in the log and the audit log, secrets are in neither", async () => {
    config("database: postgres://hub:secret@db/hub", "logLevel: error");
    await reload();
    config("database: postgres://hub:secret@db/hub");
    await reload();
    const audit = await (await ask("/v1/audit?action=config.reload&limit=2")).text();
    for (const text of [audit, log.join("\n")]) {
      expect(text).toContain("logLevel");
      expect(text).not.toContain("secret");
    }
    config();
    await reload();
  });
});
