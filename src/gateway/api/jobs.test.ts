/** Jobs and schedules through the door: who may what, what comes back, and what is recorded. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ApiLab, TOKENS } from "#gateway/api/api-fixture.ts";
import type { ExplanationJson, JobJson, ScheduleJson } from "#gateway/api/job-shapes.ts";

type Person = keyof typeof TOKENS;
type Fault = { code: string; detail: string };

describe("jobs by the API", () => {
  let lab: ApiLab;

  beforeAll(async () => {
    lab = await ApiLab.open();
    for (const path of ["in/a", "out/a"]) await lab.put(path, "first");
    for (const path of ["in/a", "out/a"]) await lab.put(path, "second");
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  async function ask<T>(who: Person, method: string, path: string, json?: unknown): Promise<{ status: number; body: T & Fault }> {
    const response = await lab.ask(path, { method, token: TOKENS[who], ...(json === undefined ? {} : { json }) });
    const text = await response.text();
    return { status: response.status, body: (text === "" ? {} : JSON.parse(text)) as T & Fault };
  }

  const submit = (who: Person, kind: string, args: object, more: object = {}) =>
    ask<JobJson>(who, "POST", "/v1/jobs", { kind, args, ...more });

  async function over(who: Person, id: number): Promise<JobJson> {
    for (;;) {
      const { body } = await ask<JobJson>(who, "GET", `/v1/jobs/${id}`);
      if (["done", "failed", "cancelled"].includes(body.state)) return body;
      await Bun.sleep(5);
    }
  }

  test("[JOB-50] arguments are checked by kind; what is wrong is named", async () => {
    const wrong = async (body: unknown) => (await ask("admin", "POST", "/v1/jobs", body)).status;
    expect(await wrong({ kind: "none", args: {} })).toBe(400);
    expect(await wrong({ kind: "scrub", args: { bytes: -1 } })).toBe(400);
    expect(await wrong({ kind: "scrub", args: { directory: "/" } })).toBe(400);
    expect(await wrong({ kind: "backup", args: { directory: "not/absolute" } })).toBe(400);
    expect(await wrong({ kind: "restore", args: { space: "demo", path: "../x", to: "1" } })).toBe(400);
    expect(await wrong({ kind: "scrub", args: {}, deadline: "2020-01-01T00:00:00Z" })).toBe(400);
    const { status, body } = await ask<JobJson>("admin", "POST", "/v1/jobs", { kind: "scrub" });
    expect([status, body.kind, body.args, body.priority]).toEqual([201, "scrub", { fromStart: false }, "bulk"]);
    expect(await over("admin", body.id)).toMatchObject({ state: "done", submittedBy: "user:admin", result: { damagedChunks: 0 } });
  });

  test("[JOB-51] a kind is for those who have its rights; a job is seen and changed by its own and by who may of its kind", async () => {
    expect((await submit("writer", "scrub", {})).status).toBe(403);
    expect((await submit("writer", "backup", { directory: "/tmp/x" })).status).toBe(403);
    expect((await submit("writer", "prune", { share: 1 })).status).toBe(403);
    // Which rights a rescan asks for hangs on the labels of its host.
    for (const who of ["stranger", "reader", "writer"] as const) {
      expect([who, (await submit(who, "rescan", { host: "web1", link: "00" })).status]).toEqual([who, 403]);
    }
    expect((await submit("reader", "restore", { space: "demo", path: "in", to: "1" })).status).toBe(403);
    expect((await submit("writer", "restore", { space: "demo", path: "", to: "1" })).status).toBe(403);
    expect((await submit("writer", "restore", { space: "demo", path: "out", to: "1" })).status).toBe(403);
    const { status, body } = await submit("writer", "restore", { space: "demo", path: "in", to: "2" });
    expect(status).toBe(201);
    expect(await over("writer", body.id)).toMatchObject({ state: "done", result: { changed: 1, leftAlone: 0 } });
    expect([await lab.text("in/a"), await lab.text("out/a")]).toEqual(["first", "second"]);
    // It is the writer's own, and the administrator's.
    for (const [who, seen] of [["writer", 200], ["admin", 200], ["reader", 404], ["stranger", 404]] as const) {
      const paths = [`/v1/jobs/${body.id}`, `/v1/jobs/${body.id}/explain`];
      for (const path of paths) expect([who, (await ask(who, "GET", path)).status]).toEqual([who, seen]);
      const { jobs } = (await ask<{ jobs: JobJson[] }>(who, "GET", "/v1/jobs?kind=restore")).body;
      expect([who, jobs.length]).toEqual([who, seen === 200 ? 1 : 0]);
      for (const change of ["cancel", "retry"]) {
        const changed = await ask(who, "POST", `/v1/jobs/${body.id}/${change}`);
        expect([who, changed.status]).toEqual([who, seen === 200 ? 409 : 404]);
      }
    }
    // Nor does a narrow token of the same person reach what it could not have asked for.
    const scopes = [{ effect: "allow", resource: "space", actions: ["read"], names: ["other"] }];
    const { value } = (await ask<{ value: string }>("admin", "POST", "/v1/tokens", { user: "writer", name: "narrow", scopes })).body;
    const narrow = async (method: string, path: string) => (await lab.ask(path, { method, token: value })).status;
    expect(await narrow("GET", `/v1/jobs/${body.id}`)).toBe(404);
    expect(await narrow("POST", `/v1/jobs/${body.id}/retry`)).toBe(404);
    expect(await narrow("POST", `/v1/jobs/${body.id}/cancel`)).toBe(404);
    type Records = { records: { actor: string; resource: string; details: unknown }[] };
    const { records } = (await ask<Records>("admin", "GET", "/v1/audit?action=job.submit&actor=user:writer")).body;
    expect(records).toMatchObject([{ actor: "user:writer", resource: `job:${body.id}` }]);
  });

  test("[JOB-52] a page is no longer than asked for and says where the next begins", async () => {
    for (let count = 0; count < 3; count++) await over("admin", (await submit("admin", "expire", {})).body.id);
    const page = async (query: string) =>
      (await ask<{ jobs: JobJson[]; nextBefore?: number }>("admin", "GET", `/v1/jobs?kind=expire${query}`)).body;
    const first = await page("&limit=2");
    expect([first.jobs.length, first.nextBefore]).toEqual([2, first.jobs[1]!.id]);
    const rest = await page(`&limit=2&before=${first.nextBefore}`);
    expect([rest.jobs.length, rest.nextBefore]).toEqual([1, undefined]);
    expect((await page("&state=failed")).jobs).toEqual([]);
  });

  test("[JOB-53] schedules are for who manages their kind; each change is recorded", async () => {
    const nightly = { kind: "expire", cron: "30 2 * * *", zone: "Europe/Berlin", overlap: "queue", spreadSeconds: 60 };
    const put = (who: Person, body: object) => ask<ScheduleJson>(who, "PUT", "/v1/schedules/nightly", body);
    for (const who of ["stranger", "reader", "writer"] as const) expect([who, (await put(who, nightly)).status]).toEqual([who, 403]);
    expect((await put("admin", { ...nightly, cron: "61 * * * *" })).body.code).toBe("USAGE");
    expect((await put("admin", { ...nightly, zone: "Moon/Base" })).body.code).toBe("USAGE");
    const { body } = await put("admin", nightly);
    expect(body).toMatchObject({ ...nightly, name: "nightly", origin: "user", submittedBy: "user:admin", misfire: "run-once", args: {} });
    const run = await ask<JobJson>("admin", "POST", "/v1/schedules/nightly/run");
    expect([run.status, run.body.schedule]).toEqual([201, "nightly"]);
    expect(await over("admin", run.body.id)).toMatchObject({ state: "done" });
    for (const who of ["stranger", "writer"] as const) {
      expect((await ask<{ schedules: ScheduleJson[] }>(who, "GET", "/v1/schedules")).body.schedules).toEqual([]);
      expect((await ask(who, "POST", "/v1/schedules/nightly/run")).status).toBe(404);
      expect((await ask(who, "DELETE", "/v1/schedules/nightly")).status).toBe(404);
    }
    expect((await ask("admin", "DELETE", "/v1/schedules/scrub")).body.code).toBe("USAGE");
    expect((await ask("admin", "DELETE", "/v1/schedules/nightly")).status).toBe(204);
    const { schedules } = (await ask<{ schedules: ScheduleJson[] }>("admin", "GET", "/v1/schedules")).body;
    expect(schedules.map(({ name }) => name)).toEqual(["expire", "lifecycle", "prune", "scrub"]);
  });

  test("[JOB-55] state changes of jobs come as events to who may see them", async () => {
    const stop = new AbortController();
    const listen = async (who: Person) => {
      const response = await lab.ask("/v1/job-events", { token: TOKENS[who], signal: stop.signal });
      const heard: string[] = [];
      const reading = (async () => {
        for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) heard.push(piece);
      })().catch(() => undefined);
      while (!heard.join("").includes("event: hello")) await Bun.sleep(2);
      return { heard, reading };
    };
    const [admin, writer] = [await listen("admin"), await listen("writer")];
    const { body } = await submit("admin", "expire", {});
    const own = await submit("writer", "restore", { space: "demo", path: "in", to: "2" });
    await over("writer", own.body.id);
    const states = (heard: string[], id: number): string[] =>
      [...heard.join("").matchAll(/^data: (\{.*"id".*\})$/gm)]
        .map(([, text]) => JSON.parse(text!) as JobJson)
        .filter((job) => job.id === id)
        .map(({ state }) => state);
    while (!states(admin.heard, body.id).includes("done")) await Bun.sleep(2);
    while (!states(writer.heard, own.body.id).includes("done")) await Bun.sleep(2);
    expect(states(writer.heard, body.id)).toEqual([]);
    stop.abort();
    await Promise.all([admin.reading, writer.reading]);
  });

  test("[JOB-54] explain says why, and for how long at most; metrics count what became of jobs", async () => {
    const { body } = await submit("admin", "rescan", { host: "nowhere", link: "00" });
    expect(await over("admin", body.id)).toMatchObject({ state: "failed", host: "nowhere", error: { code: "NOT_FOUND" } });
    const { body: explained } = await ask<ExplanationJson>("admin", "GET", `/v1/jobs/${body.id}/explain`);
    expect(explained).toMatchObject({ base: 10, ahead: 0, agingStepSeconds: 60, starvationBoundSeconds: 1200 });
    const metrics = await (await lab.ask("/metrics")).text();
    expect(metrics).toContain('syncline_job_runs_total{kind="rescan",outcome="failed"} 1');
    expect(metrics).toMatch(/syncline_jobs\{state="queued"\} 0/);
  });
});
