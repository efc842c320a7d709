/** Imports and exports of whole hubs, of which one has the bucket that the other is made like. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { appendFileSync, chmodSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readBootstrap } from "#config/bootstrap.ts";
import type { HubConfig } from "#config/hub-config.ts";
import { HubProcess } from "#cli/hub-process.ts";
import { openHost } from "#platform/host-bun.ts";

const SECRET = "admin-secret-0123456789abcdef0123456789";
const PASSWORD = "correct horse battery";
const tokenOf = (name: string): string => `${name}-0123456789abcdef0123456789abcdef`;
const grant = (resource: string, actions: string, more = ""): string => `{effect: allow, resource: ${resource}, actions: [${actions}]${more}}`;
const jobs = grant("job", "manage, read", ", names: [import, export]");
const BOOT = `
spaces: [{name: site}, {name: bucket}, {name: target}, {name: long}, {name: cut}]
users: [{name: admin, roles: [admin], password: "${PASSWORD}"}, {name: writer, roles: [importer]}, {name: reader, roles: [reads]}, {name: nobody, roles: [content]}]
tokens: [${["admin", "writer", "reader", "nobody"].map((user) => `{user: ${user}, value: ${tokenOf(user)}}`).join(", ")}]
s3Keys: [{user: admin, accessKey: ADMINKEY, secretKey: ${SECRET}}]
roles:
  - {name: importer, rules: [${jobs}, ${grant("space", "read, write", ", names: [site], prefixes: [in]")}]}
  - {name: reads, rules: [${jobs}, ${grant("space", "read", ", names: [site]")}]}
  - {name: content, rules: [${grant("space", "read, write", ", names: [site]")}]}
`;

type Job = {
  id: number;
  state: string;
  tries: number;
  progress?: { done: number; phase?: string };
  result?: { changed: number; conflicts: number; problems: number; left: { path: string }[] };
  error?: { code: string; message: string; hint?: string };
};

const isOver = ({ state }: Job): boolean => ["done", "failed", "cancelled"].includes(state);

class Running {
  readonly #hub: HubProcess;
  constructor(hub: HubProcess) {
    this.#hub = hub;
  }

  static async start(dataDir: string, more: HubConfig): Promise<Running> {
    const config = { listen: "127.0.0.1:0", syncListen: "127.0.0.1:0", ...more };
    const log = { info: () => undefined, error: () => undefined };
    return new Running(await HubProcess.start({ host: openHost(), dataDir, config, bootstrap: readBootstrap(BOOT, "boot.yaml"), log }));
  }

  get url(): string {
    return this.#hub.url;
  }

  door(scheme: string): string {
    return this.#hub.doors.find((url) => url.startsWith(`${scheme}:`))!;
  }

  close(): Promise<void> {
    return this.#hub.close();
  }

  ask(path: string, method = "GET", body?: string | Uint8Array<ArrayBuffer>, who = "admin"): Promise<Response> {
    const headers = { authorization: `Bearer ${tokenOf(who)}`, ...(typeof body === "string" ? { "content-type": "application/json" } : {}) };
    return fetch(`${this.#hub.url}${path}`, { method, headers, body });
  }

  async put(space: string, path: string, text: string | number): Promise<void> {
    const body = typeof text === "string" ? Buffer.from(text) : Buffer.alloc(text, path);
    expect((await this.ask(`/v1/spaces/${space}/content/${path}`, "PUT", new Uint8Array(body))).ok).toBe(true);
  }

  async remove(space: string, path: string): Promise<void> {
    expect((await this.ask(`/v1/spaces/${space}/content/${path}`, "DELETE")).ok).toBe(true);
  }

  async text(space: string, path: string): Promise<string | undefined> {
    const answer = await this.ask(`/v1/spaces/${space}/content/${path}`);
    return answer.ok ? answer.text() : undefined;
  }

  async submit(kind: string, args: object, who = "admin"): Promise<{ status: number; job: Job; text: string }> {
    const answer = await this.ask("/v1/jobs", "POST", JSON.stringify({ kind, args }), who);
    const text = await answer.text();
    return { status: answer.status, job: JSON.parse(text) as Job, text };
  }

  async job(id: number): Promise<Job> {
    return (await (await this.ask(`/v1/jobs/${id}`)).json()) as Job;
  }

  /** Bytes have begun to move, and there are more. */
  async isMoving({ id }: Job): Promise<void> {
    for (;;) {
      const now = await this.job(id);
      expect(isOver(now)).toBe(false);
      if (now.progress?.phase === "transferring" && now.progress.done > 0) return;
      await Bun.sleep(2);
    }
  }

  async done(kind: string, args: object): Promise<Job> {
    let { job } = await this.submit(kind, args);
    while (!isOver(job)) {
      await Bun.sleep(10);
      job = await this.job(job.id);
    }
    return job;
  }
}

describe("imports and exports", () => {
  const dir = mkdtempSync(join(tmpdir(), "syncline-transfers-"));
  const keys = join(dir, "keys");
  const config: HubConfig = { foreignHosts: "any", foreignCredentials: keys };
  let source: Running;
  let hub: Running;
  let urlOf: (prefix: string, more?: string) => string;

  beforeAll(async () => {
    const key = (name: string, secret: string): string =>
      `[${name}]\naws_access_key_id = ADMINKEY\naws_secret_access_key = ${secret}\n`;
    const login = (machine: string, password: string): string => `machine ${machine} login admin password "${password}"\n`;
    const logins = `${login("localhost", PASSWORD)}${login("127.0.0.1", "wrong")}`;
    writeFileSync(keys, `${key("default", SECRET)}${key("wrong", `${SECRET}x`)}${logins}`, { mode: 0o600 });
    source = await Running.start(join(dir, "source"), { s3Listen: "127.0.0.1:0", ftpsListen: "127.0.0.1:0" });
    hub = await Running.start(join(dir, "hub"), config);
    urlOf = (prefix, more = "") => `s3://bucket/${prefix}?endpoint=${source.door("http")}${more}`;
  });
  afterAll(async () => {
    await hub.close();
    await source.close();
    rmSync(dir, { recursive: true, force: true });
  });

  test("[JOB-60] an import needs the kind and to write below the prefix, an export to read it, an approval more than that", async () => {
    const url = urlOf("rights");
    const status = async (who: string, kind: string, prefix: string, more = {}): Promise<number> =>
      (await hub.submit(kind, { space: "site", prefix, url, ...more }, who)).status;
    expect([await status("writer", "import", "in"), await status("writer", "export", "in/deep")]).toEqual([201, 201]);
    expect([await status("writer", "import", ""), await status("writer", "export", "out")]).toEqual([403, 403]);
    expect([await status("reader", "import", "in"), await status("reader", "export", "in")]).toEqual([403, 201]);
    expect([await status("nobody", "import", "in"), await status("nobody", "export", "in")]).toEqual([403, 403]);
    expect(await status("writer", "import", "in", { approve: "0123456789ab" })).toBe(403);
  });

  test("[JOB-61] add-only deletes nothing and leaves what the target has changed; a mirror makes it the same", async () => {
    for (const name of ["a", "b", "sub/c"]) await source.put("bucket", `add/${name}`, name);
    const args = { space: "target", prefix: "add", url: urlOf("add") };
    expect(await hub.done("import", args)).toMatchObject({ state: "done", result: { changed: 4, conflicts: 0, problems: 0 } });
    await source.remove("bucket", "add/a");
    await source.put("bucket", "add/b", "b, edited at the source");
    await source.put("bucket", "add/d", "d");
    await hub.put("target", "add/b", "b, edited here");
    const second = await hub.done("import", args);
    expect(second).toMatchObject({ state: "done", result: { changed: 1, conflicts: 1, left: [{ path: "b" }] } });
    const texts = (): Promise<(string | undefined)[]> => Promise.all(["a", "b", "d"].map((name) => hub.text("target", `add/${name}`)));
    expect(await texts()).toEqual(["a", "b, edited here", "d"]);
    expect(await hub.done("import", { ...args, mode: "mirror" })).toMatchObject({ state: "done", result: { changed: 2, conflicts: 0 } });
    expect(await texts()).toEqual([undefined, "b, edited at the source", "d"]);
    const audit = (await (await hub.ask("/v1/audit?action=space.import")).json()) as { items: { details: unknown }[] };
    expect(JSON.stringify(audit)).toContain("space:target/add");
  });

  test("[JOB-77] what comes from where there are no permissions leaves a file those that it has, and goes on when they were changed", async () => {
    for (const name of ["edited", "touched", "removed", "d/f"]) await source.put("bucket", `bits/${name}`, name);
    const args = { space: "target", prefix: "bits", url: urlOf("bits") };
    expect(await hub.done("import", args)).toMatchObject({ state: "done" });
    const at = "/v1/spaces/target/entries?below=bits";
    const all = async () => ((await (await hub.ask(at)).json()) as { entries: { path: string; mode: string; mtime?: string }[] }).entries;
    for (const { path, mtime } of await all()) {
      if (mtime === undefined) continue;
      const headers = { authorization: `Bearer ${tokenOf("admin")}`, "x-syncline-mode": "0600", "x-syncline-mtime": mtime };
      const url = `${new URL(hub.url)}v1/spaces/target/content/${path}`;
      expect((await fetch(url, { method: "PUT", headers, body: (await hub.text("target", path))! })).ok).toBe(true);
    }
    await source.put("bucket", "bits/edited", "edited at the source");
    await source.put("bucket", "bits/touched", "touched");
    await source.remove("bucket", "bits/removed");
    expect(await hub.done("import", { ...args, mode: "mirror" })).toMatchObject({ state: "done", result: { conflicts: 0, problems: 0 } });
    expect(await hub.text("target", "bits/edited")).toBe("edited at the source");
    const modes = (await all()).map(({ path, mode }) => [path, mode]);
    expect(modes).toEqual([["bits/d", "0755"], ["bits/d/f", "0600"], ["bits/edited", "0600"], ["bits/touched", "0600"]]);
  });

  test("[JOB-78] what somebody changes in the space all the time is not brought, and the import says so", async () => {
    await source.put("bucket", "busy/calm", "calm");
    await source.put("bucket", "busy/large", 24 << 20);
    await hub.put("target", "busy/large", "0");
    const { job } = await hub.submit("import", { space: "target", prefix: "busy", url: urlOf("busy"), mode: "mirror" });
    let now = await hub.job(job.id);
    for (let at = 1; !isOver(now); at++) {
      await hub.put("target", "busy/large", `${at}`);
      now = await hub.job(job.id);
    }
    expect([await hub.text("target", "busy/calm"), (await hub.text("target", "busy/large"))!.length < 10]).toEqual(["calm", true]);
    expect(now).toMatchObject({ state: "failed", error: { code: "STATE" } });
    expect(now.error!.message).toContain("large");
  }, 60_000);

  test("[JOB-61] an export brings a space out, and the same again is nothing", async () => {
    await hub.put("target", "out/x", "x");
    await hub.put("target", "out/y/z", "z");
    const args = { space: "target", prefix: "out", url: urlOf("exported") };
    expect(await hub.done("export", args)).toMatchObject({ state: "done", result: { conflicts: 0, problems: 0 } });
    expect([await source.text("bucket", "exported/x"), await source.text("bucket", "exported/y/z")]).toEqual(["x", "z"]);
    await hub.remove("target", "out/x");
    expect((await hub.done("export", args)).result).toMatchObject({ changed: 0 });
    expect((await hub.done("export", { ...args, mode: "mirror" })).result).toMatchObject({ changed: 1 });
    expect([await source.text("bucket", "exported/x"), await source.text("bucket", "exported/y/z")]).toEqual([undefined, "z"]);
  });

  test("[JOB-62] a mirror that would remove much fails, changes nothing, and says how that very plan is approved", async () => {
    for (let at = 0; at < 30; at++) await source.put("bucket", `brake/f${at}`, `f${at}`);
    const args = { space: "target", prefix: "brake", url: urlOf("brake"), mode: "mirror" };
    expect(await hub.done("import", args)).toMatchObject({ state: "done" });
    for (let at = 1; at < 30; at++) await source.remove("bucket", `brake/f${at}`);
    const held = await hub.done("import", args);
    expect(held).toMatchObject({ state: "failed", tries: 1, error: { code: "HALT" } });
    expect(held.error!.message).toContain("of the space target would be removed");
    expect(await hub.text("target", "brake/f29")).toBe("f29");
    const approve = /syncline jobs run import .*mode=mirror approve=([0-9a-f]{12})$/.exec(held.error!.hint!)?.[1];
    expect(await hub.done("import", { ...args, approve: "0123456789ab" })).toMatchObject({ state: "failed", error: { code: "HALT" } });
    expect(await hub.done("import", { ...args, approve })).toMatchObject({ state: "done" });
    expect([await hub.text("target", "brake/f0"), await hub.text("target", "brake/f29")]).toEqual(["f0", undefined]);
  });

  test("[JOB-70] a source that is suddenly empty fails the job; begun anew it is taken as it is, and nothing is deleted", async () => {
    await source.put("bucket", "anew/old", "old");
    const args = { space: "target", prefix: "anew", url: urlOf("anew") };
    expect(await hub.done("import", args)).toMatchObject({ state: "done" });
    await source.remove("bucket", "anew/old");
    for (const mode of ["add-only", "mirror", "mirror"]) {
      const empty = await hub.done("import", { ...args, mode });
      expect(empty).toMatchObject({ state: "failed", tries: 1, error: { code: "ROOT_IDENTITY" } });
      expect(empty.error!.hint).toContain("anew=true");
    }
    expect(await hub.done("import", { ...args, anew: true })).toMatchObject({ state: "done", result: { changed: 0 } });
    expect(await hub.text("target", "anew/old")).toBe("old");
  });

  test("[JOB-63] an import whose hub ends goes on when that is back, and brings nothing twice", async () => {
    const files = 24;
    for (let at = 0; at < files; at++) await source.put("bucket", `long/f${at}`, (3 << 20) + at);
    const { job } = await hub.submit("import", { space: "long", prefix: "long", url: urlOf("long") });
    await hub.isMoving(job);
    await hub.close();
    hub = await Running.start(join(dir, "hub"), config);
    let now = await hub.job(job.id);
    expect(isOver(now)).toBe(false);
    for (; !isOver(now); now = await hub.job(job.id)) await Bun.sleep(10);
    expect(now).toMatchObject({ state: "done", tries: 0, result: { conflicts: 0, problems: 0 } });
    const space = (await (await hub.ask("/v1/spaces/long")).json()) as { sequence: number };
    // The directory, and each file once.
    expect(space.sequence).toBe(1 + files);
    expect((await hub.text("long", "long/f7"))!.length).toBe((3 << 20) + 7);
  }, 60_000);

  test("[JOB-68] a cancelled import ends where it is; a retry brings the rest", async () => {
    const files = 24;
    for (let at = 0; at < files; at++) await source.put("bucket", `cut/f${at}`, (3 << 20) + at);
    const { job } = await hub.submit("import", { space: "cut", prefix: "cut", url: urlOf("cut") });
    await hub.isMoving(job);
    await hub.ask(`/v1/jobs/${job.id}/cancel`, "POST");
    let now = await hub.job(job.id);
    for (; !isOver(now); now = await hub.job(job.id)) await Bun.sleep(10);
    expect(now).toMatchObject({ state: "cancelled" });
    const there = async (): Promise<number> => (await Promise.all(Array.from({ length: files }, (_, at) => hub.text("cut", `cut/f${at}`)))).filter(Boolean).length;
    expect(await there()).toBeLessThan(files);
    await hub.ask(`/v1/jobs/${job.id}/retry`, "POST");
    for (now = await hub.job(job.id); !isOver(now); now = await hub.job(job.id)) await Bun.sleep(10);
    expect(now).toMatchObject({ state: "done", result: { conflicts: 0, problems: 0 } });
    expect(await there()).toBe(files);
  }, 60_000);

  test("[JOB-64] a key that is not taken, and a file of keys that is open to others, fail at once and say what to mend", async () => {
    const args = { space: "target", prefix: "keys" };
    const wrong = await hub.done("import", { ...args, url: urlOf("keys", "&profile=wrong") });
    expect(wrong).toMatchObject({ state: "failed", tries: 1, error: { code: "AUTH" } });
    expect(wrong.error!.hint).toContain("foreignCredentials");
    const none = await hub.done("import", { ...args, url: urlOf("keys", "&profile=none") });
    expect(none).toMatchObject({ state: "failed", tries: 1, error: { code: "USAGE" } });
    expect(none.error!.hint).toContain("[PROFILE]");
    chmodSync(keys, 0o644);
    const open = await hub.done("import", { ...args, url: urlOf("keys") });
    chmodSync(keys, 0o600);
    expect(open).toMatchObject({ state: "failed", tries: 1, error: { code: "USAGE", hint: `chmod 600 ${keys}` } });
    const password = await hub.submit("import", { ...args, url: "ftp://me:hunter2@h/x" });
    expect([password.status, password.text.includes("hunter2")]).toEqual([400, false]);
  });

  test("[JOB-71] what is wrong in an address is said when the job or its schedule is made, and not when it runs", async () => {
    const wrong: [string, string][] = [
      ["s3://b", "names no bucket"],
      ["s3://bucket?endpoint=https://h/path", "is no endpoint"],
      ["s3://bucket?endpoint=h:9000", "is no endpoint"],
      ["s3://bucket/a/../b", "is no path"],
      ["s3://bucket?region=us east", "is no endpoint"],
      ["s3://bucket?style=both", "no such style"],
      ["s3://bucket?acces=x", "means nothing there"],
      ["ftp://h", "names no directory"],
      ["ftp://h/x?tls=maybe", "no such tls"],
      ["ftp://h/x?passive=no", "means nothing there"],
      ["ftp://h:99999/x", "there is no port"],
      ["sftp://h", "names no directory"],
      ["sftp://-oProxyCommand=x/y", "is no address"],
      ["sftp://h;id/x", "have characters"],
    ];
    const before = (await (await hub.ask("/v1/jobs")).json()) as { jobs: unknown[] };
    for (const [url, says] of wrong) {
      for (const kind of ["import", "export"]) {
        const { status, text } = await hub.submit(kind, { space: "site", url });
        expect([url, status, text]).toEqual([url, 400, expect.stringContaining(says)]);
      }
      const settings = { cron: "0 3 * * *", kind: "import", args: { space: "site", url } };
      const schedule = await hub.ask("/v1/schedules/nightly", "PUT", JSON.stringify(settings));
      expect([url, schedule.status, await schedule.text()]).toEqual([url, 400, expect.stringContaining(says)]);
      // Rights come first.
      expect((await hub.submit("import", { space: "site", url }, "nobody")).status).toBe(403);
    }
    expect(await (await hub.ask("/v1/jobs")).json()).toEqual(before);
  });

  test("[JOB-69] FTP in TLS: signed in as the file says for that machine; an authority or password that is not right fails at once", async () => {
    await using closing = new AsyncDisposableStack();
    await source.put("bucket", "ftps/file", "over FTP");
    const args = { space: "target", prefix: "ftps" };
    const url = (host: string): string => `ftps://admin@${host}:${new URL(source.door("ftps")).port}/bucket/ftps`;
    const unknown = await hub.done("import", { ...args, url: url("localhost") });
    expect(unknown).toMatchObject({ state: "failed", tries: 1, error: { code: "TRUST" } });
    expect(unknown.error!.hint).toContain("foreignCa");
    const foreignCa = join(dir, "ca.pem");
    const kept = readFileSync(join(dir, "source/keys", "authority.pem"), "utf8");
    writeFileSync(foreignCa, /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/.exec(kept)![0]);
    const trusting = await Running.start(join(dir, "trusting"), { ...config, foreignCa });
    closing.defer(() => trusting.close());
    expect(await trusting.done("import", { ...args, url: url("localhost") })).toMatchObject({ state: "done", result: { changed: 1 } });
    expect(await trusting.text("target", "ftps/file")).toBe("over FTP");
    const wrong = await trusting.done("import", { ...args, url: url("127.0.0.1") });
    expect(wrong).toMatchObject({ state: "failed", tries: 1, error: { code: "AUTH" } });
    expect(wrong.error!.hint).toContain("foreignCredentials");
    // A password for whoever asks would go to whatever host an address names.
    appendFileSync(keys, `default login admin password ${PASSWORD}\n`);
    const forAll = await trusting.done("import", { ...args, url: url("localhost") });
    expect(forAll).toMatchObject({ state: "failed", tries: 1, error: { code: "USAGE" } });
  });

  test("[JOB-65] unless the configuration says any, nothing private is reached, and no password goes in clear", async () => {
    await using closing = new AsyncDisposableStack();
    const narrow = await Running.start(join(dir, "narrow"), { foreignCredentials: keys });
    closing.defer(() => narrow.close());
    const refused = ["ftp://127.0.0.1/x", "ftps://localhost/x", "sftp://[::1]/x", "sftp://10.0.0.1/x", "ftp://me@93.184.216.34/x"];
    for (const url of [...refused, urlOf("x"), "s3://bbb?endpoint=https://192.168.0.1"]) {
      const job = await narrow.done("import", { space: "site", url });
      expect([url, job.state, job.tries, job.error?.code]).toEqual([url, "failed", 1, "DENIED"]);
      expect(job.error!.hint).toContain("foreignHosts: any");
    }
  });

  test("[JOB-66] what is remembered of a pair lies where only the hub reads, and goes with its space", async () => {
    const folder = join(dir, "hub/transfers");
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    const before = readdirSync(folder);
    expect(before.length).toBeGreaterThan(1);
    mkdirSync(join(folder, "999999/of-a-space-that-was-erased"), { recursive: true });
    expect(await hub.done("expire", {})).toMatchObject({ state: "done" });
    expect(readdirSync(folder)).toEqual(before);
  });
});
