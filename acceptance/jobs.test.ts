/** Jobs of the real hub: killed in the middle, by command, and with a host that is away. */
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { Fleet } from "./fleet.ts";

const TEST_MS_MAX = 240_000;
/** Files of the restore; more than two of its parts. */
const FILES = 12_000;
const WRITERS = 16;

type Job = {
  id: number;
  kind: string;
  state: string;
  tries: number;
  progress?: { done: number; total?: number };
  checkpoint?: unknown;
  result?: Record<string, unknown>;
  error?: { code: string; message: string };
};

const submit = (fleet: Fleet, kind: string, args: object): Promise<Job> => fleet.json("/v1/jobs", "POST", { kind, args });
const jobOf = (fleet: Fleet, id: number): Promise<Job> => fleet.json(`/v1/jobs/${id}`);

async function over(fleet: Fleet, id: number): Promise<Job> {
  await fleet.until(`job ${id} is over`, async () => ["done", "failed", "cancelled"].includes((await jobOf(fleet, id)).state));
  return jobOf(fleet, id);
}

/** Kills the hub as soon as the job has saved how far it is, and gives what it had saved then. */
async function killInTheMiddle(fleet: Fleet, id: number, isFarEnough: (job: Job) => boolean): Promise<Job> {
  for (;;) {
    const job = await jobOf(fleet, id);
    expect([job.id, job.state, job.error]).not.toEqual([job.id, "done", undefined]);
    if (job.state === "running" && isFarEnough(job)) {
      await fleet.kill("hub");
      return job;
    }
    await Bun.sleep(2);
  }
}

async function put(fleet: Fleet, path: string, body: Buffer | string): Promise<void> {
  const response = await fleet.fetch(`/v1/spaces/site/content/${path}`, { method: "PUT", body: body as string });
  if (!response.ok) throw new Error(await response.text());
}

async function putAll(fleet: Fleet, body: string): Promise<void> {
  let next = 0;
  const writer = async (): Promise<void> => {
    while (next < FILES) await put(fleet, `f/${next++}`, body);
  };
  await Promise.all(Array.from({ length: WRITERS }, writer));
}

describe("jobs of a hub", () => {
  test("[JOB-46] a hub that is killed in the middle of a scrub goes on from there", async () => {
    await using fleet = await Fleet.start();
    for (let at = 0; at < 6; at++) await put(fleet, `large-${at}`, randomBytes(80 << 20));
    const { id } = await submit(fleet, "scrub", { fromStart: true });
    const bytesOf = ({ checkpoint }: Job): number => (checkpoint as { checkedBytes: number } | undefined)?.checkedBytes ?? 0;
    const before = await killInTheMiddle(fleet, id, (job) => bytesOf(job) >= 150 << 20);
    await fleet.startHub();
    expect(bytesOf(await jobOf(fleet, id))).toBeGreaterThanOrEqual(bytesOf(before));
    const job = await over(fleet, id);
    expect(job).toMatchObject({ state: "done", tries: 0, result: { damagedChunks: 0 } });
    // All of it, and nothing but the slice that was under way a second time.
    const total = job.result!["checkedBytes"] as number;
    expect(total).toBeGreaterThanOrEqual(6 * (80 << 20));
    expect(total).toBeLessThan(7 * (80 << 20));
  }, TEST_MS_MAX);

  test("[JOB-46] a hub that is killed in the middle of a restore goes on from there, and it is one run", async () => {
    await using fleet = await Fleet.start();
    await putAll(fleet, "old");
    const { sequence } = await fleet.json<{ sequence: number }>("/v1/spaces/site");
    await putAll(fleet, "new");
    const { id } = await submit(fleet, "restore", { space: "site", path: "f", to: String(sequence) });
    const doneOf = ({ checkpoint }: Job): number => (checkpoint as { done: number } | undefined)?.done ?? 0;
    const before = await killInTheMiddle(fleet, id, (job) => doneOf(job) > 0);
    const saved = before.checkpoint as { done: number; runId: string };
    expect([saved.done > 0, saved.done < FILES]).toEqual([true, true]);
    await fleet.startHub();
    const job = await over(fleet, id);
    expect(job).toMatchObject({ state: "done", tries: 0, result: { leftAlone: 0, runId: saved.runId } });
    const wrong: string[] = [];
    for (let at = 0; at < FILES; at += 97) {
      const text = await (await fleet.fetch(`/v1/spaces/site/content/f/${at}`)).text();
      if (text !== "old") wrong.push(`${at} ${text}`);
    }
    expect(wrong).toEqual([]);
    const { counts } = await fleet.json<{ counts: { put: number } }>("/v1/spaces/site/undo", "POST", { runId: saved.runId });
    expect(counts.put).toBe(FILES);
    const check = await over(fleet, (await submit(fleet, "check", { deep: true })).id);
    expect(check).toMatchObject({ state: "done", result: { findings: 0 } });
  }, TEST_MS_MAX);

  test("[JOB-47] a host that is away opens its breaker; a job waits for it and is done when it is back", async () => {
    await using fleet = await Fleet.start();
    fleet.startAgent("web1");
    await fleet.healthy("web1");
    const { link } = (await fleet.agents())[0]!.links[0]!;
    const env = { SYNCLINE_HUB: fleet.url, SYNCLINE_TOKEN_FILE: fleet.world.path("token") };
    const run = (...args: string[]) => fleet.world.run(args, env);
    const here = await run("jobs", "run", "rescan", "host=web1", `link=${link.id.slice(0, 8)}`, "--wait");
    expect([here.code, here.out]).toEqual([0, expect.stringMatching(/#1 rescan\n +state +done/)]);
    await fleet.kill("web1");
    const { id } = await submit(fleet, "rescan", { host: "web1", link: link.id });
    const metric = async (): Promise<string | undefined> =>
      /syncline_job_breaker\{dependency="host:web1"\} (\d)/.exec(await (await fleet.fetch("/metrics")).text())?.[1];
    await fleet.until("its breaker is open", async () => (await metric()) === "2");
    const second = await submit(fleet, "rescan", { host: "web1", link: link.id });
    const explained = await run("jobs", "explain", String(second.id));
    expect(explained.out).toMatch(/host:web1 failed \d+ times in a row; it is tried again in \d+ s/);
    fleet.startAgain("web1");
    for (const one of [id, second.id]) expect(await over(fleet, one)).toMatchObject({ state: "done" });
    expect(await metric()).toBeUndefined();
  }, TEST_MS_MAX);
});
