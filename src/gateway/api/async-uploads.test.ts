/** Uploads whose completion is asked for to be done later (RFC 7240). */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { numbersIn, rangesOf } from "#hub/uploads/number-ranges.ts";
import { ApiLab, TOKENS } from "#gateway/api/api-fixture.ts";
import type { JobJson } from "#gateway/api/job-shapes.ts";
import type { UploadAcceptedJson, UploadJson } from "#gateway/api/routes-uploads.ts";

const LATER = { prefer: "handling=lenient, respond-async" };
const LOOK_MS = 20;

let lab: ApiLab;
beforeAll(async () => {
  lab = await ApiLab.open();
});
afterAll(() => lab[Symbol.asyncDispose]());

async function uploaded(path: string, parts: readonly string[]): Promise<string> {
  const { id } = (await (await lab.ask("/v1/spaces/demo/uploads", { method: "POST", json: { path } })).json()) as UploadJson;
  for (const [at, body] of parts.entries()) {
    expect((await lab.ask(`/v1/spaces/demo/uploads/${id}/parts/${at + 1}`, { method: "PUT", body })).status).toBe(200);
  }
  return `/v1/spaces/demo/uploads/${id}`;
}

const accept = (url: string, json: object, token: string = TOKENS.admin): Promise<Response> =>
  lab.ask(`${url}/complete`, { method: "POST", json, headers: LATER, token });

async function over(id: number): Promise<JobJson> {
  for (;;) {
    const job = (await (await lab.ask(`/v1/jobs/${id}`)).json()) as JobJson;
    if (["done", "failed", "cancelled"].includes(job.state)) return job;
    await Bun.sleep(LOOK_MS);
  }
}

const stateOf = async (url: string): Promise<UploadJson> => ((await (await lab.ask(url)).json()) as { upload: UploadJson }).upload;

describe("an upload that is completed later", () => {
  test("[ASYNC-1] is answered with the job that does it, which makes the file once, and is told at the upload", async () => {
    const url = await uploaded("later/a", ["one ", "two ", "three"]);
    const answer = await accept(url, { parts: [1, 3] });
    const { job, upload } = (await answer.json()) as UploadAcceptedJson;
    expect([answer.status, answer.headers.get("location"), answer.headers.get("preference-applied")]).toEqual([
      202, `/v1/jobs/${job.id}`, "respond-async",
    ]);
    expect(upload).toMatchObject({ path: "later/a", job: job.id });
    expect(upload.sequence).toBeUndefined();
    const done = await over(job.id);
    expect(done).toMatchObject({ kind: "upload", state: "done", space: "demo", submittedBy: "user:admin" });
    const after = await stateOf(url);
    expect(after).toMatchObject({ job: job.id, sequence: (done.result as { sequence: number }).sequence });
    expect(await lab.text("later/a")).toBe("one three");
    // Asked again it is done: there is nothing to do later.
    const again = await accept(url, { parts: [1, 3] });
    expect([again.status, ((await again.json()) as { sequence: number }).sequence]).toEqual([200, after.sequence!]);
  });

  test("[ASYNC-2] what the space refuses then is the failure of the job, and the upload stays open", async () => {
    const { sequence } = await lab.put("later/b", "there");
    const url = await uploaded("later/b", ["new"]);
    const { job } = (await (await accept(url, { sequence: sequence - 1 })).json()) as UploadAcceptedJson;
    expect(await over(job.id)).toMatchObject({ state: "failed", error: { code: "STALE" } });
    expect(await lab.text("later/b")).toBe("there");
    expect((await stateOf(url)).sequence).toBeUndefined();
    expect((await lab.ask(`${url}/complete`, { method: "POST", json: { sequence } })).status).toBe(200);
    expect(await lab.text("later/b")).toBe("new");
    const lacking = await uploaded("later/c", ["x"]);
    const { job: second } = (await (await accept(lacking, { parts: [1, 2] })).json()) as UploadAcceptedJson;
    expect(await over(second.id)).toMatchObject({ state: "failed", error: { code: "STALE" } });
  });

  test("[ASYNC-3] nobody else can ask for it, or see its job", async () => {
    const url = await uploaded("in/d", ["x"]);
    expect((await accept(url, {}, TOKENS.writer)).status).toBe(404);
    const { job } = (await (await accept(url, {})).json()) as UploadAcceptedJson;
    expect((await lab.ask(`/v1/jobs/${job.id}`, { token: TOKENS.writer })).status).toBe(404);
    expect(await over(job.id)).toMatchObject({ state: "done" });
  });

  test("[ASYNC-1] numbers of parts are kept in a short text", () => {
    fc.assert(fc.property(fc.uniqueArray(fc.integer({ min: 1, max: 60 })), (numbers) => {
      const ascending = numbers.toSorted((a, b) => a - b);
      expect(numbersIn(rangesOf(ascending))).toEqual(ascending);
    }));
    expect(rangesOf(Array.from({ length: 10_000 }, (_, at) => at + 1))).toBe("1-10000");
  });
});
