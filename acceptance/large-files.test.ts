/** The real hub killed with SIGKILL while a large file goes through it from one host to another. */
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Fleet } from "./fleet.ts";

const TEST_MS_MAX = 120_000;
const MIB = 1 << 20;
const SIZE = 100 * MIB + 12_345;
/** Of what was written down, so much may have been in the buffers of the store alone. */
const AGAIN_BYTES_MAX = 25 * MIB;
/** A row of a chunk record: 32 bytes of an id and four of a length. */
const ROW_BYTES = 36;
/** Bytes that the hub has written down when it is killed, at least: early, in the middle, near the end. */
const MOMENTS = [1, 35 * MIB, 65 * MIB];
const LOOK_MS = 2;

/** Bytes of the file that the hub has written down as being in its store. */
function recordedBytes(fleet: Fleet): number {
  const stage = join(fleet.dataDir, "stage");
  const records = existsSync(stage) ? readdirSync(stage, { recursive: true, encoding: "utf8" }) : [];
  let bytes = 0;
  for (const name of records.filter((one) => one.includes("chunks-"))) {
    const rows = readFileSync(join(stage, name));
    for (let at = 32; at + 4 <= rows.length; at += ROW_BYTES) bytes += rows.readUInt32LE(at);
  }
  return bytes;
}

/** Bytes that wait in the stage of a host. */
function stagedBytes(root: string): number {
  const stage = join(root, ".syncline/stage");
  const items = existsSync(stage) ? readdirSync(stage, { recursive: true, encoding: "utf8" }) : [];
  const stats = items.map((name) => statSync(join(stage, name), { throwIfNoEntry: false }));
  return stats.reduce((sum, stat) => sum + (stat?.isFile() === true ? stat.size : 0), 0);
}

/** Of all changes that an agent tells to have carried over: bytes that travelled for them. */
function sentBytes(said: string): number[] {
  const lines = said.split("\n").filter((line) => line.includes('"changes carried over"'));
  return lines.map((line) => (JSON.parse(line) as { bytes: number }).bytes);
}

const holds = (path: string, bytes: Uint8Array): boolean =>
  statSync(path, { throwIfNoEntry: false })?.size === bytes.length && readFileSync(path).equals(bytes);

describe("a large file through a hub that is killed", () => {
  test("[AGENT-93] at any moment: it arrives whole, what was acknowledged is there, and what had come is not sent again", async () => {
    await using fleet = await Fleet.start();
    const [a, b] = [fleet.root("web1"), fleet.root("web2")];
    mkdirSync(a, { recursive: true });
    // Slow enough to be met in the middle, also on a busy machine.
    fleet.startAgentWith("web1", ["--link", `${a}=site,settle=immediate,bwlimit=50MiB`]);
    fleet.startAgent("web2");
    await fleet.healthy("web1", "web2");
    for (const [at, moment] of MOMENTS.entries()) {
      const [name, small] = [`large-${at}`, `acknowledged-${at}`];
      const put = await fleet.fetch(`/v1/spaces/site/content/${small}`, { method: "PUT", body: small });
      expect(put.status).toBe(201);
      const bytes = randomBytes(SIZE);
      writeFileSync(fleet.world.path("aside"), bytes);
      const before = sentBytes(fleet.said("web1")).length;
      renameSync(fleet.world.path("aside"), join(a, name));
      const isThen = (): boolean => recordedBytes(fleet) >= moment && stagedBytes(b) > 0;
      while (!isThen() && !existsSync(join(b, name))) await Bun.sleep(LOOK_MS);
      await fleet.kill("hub");
      const recorded = recordedBytes(fleet);
      // It was in the middle: the other host had begun to get it, and was not told that it is there.
      expect([existsSync(join(b, name)), recorded >= moment, recorded < SIZE]).toEqual([false, true, true]);
      await fleet.startHub();
      await fleet.until(`${name} is whole on web2`, () => holds(join(b, name), bytes));
      const sent = sentBytes(fleet.said("web1")).slice(before).reduce((sum, one) => sum + one, 0);
      // The small one came, too.
      expect(sent - small.length).toBeLessThanOrEqual(SIZE - Math.max(0, recorded - AGAIN_BYTES_MAX));
      expect(await (await fleet.fetch(`/v1/spaces/site/content/${small}`)).text()).toBe(small);
      // The next one has nothing here that it may be like.
      if (at < MOMENTS.length - 1) rmSync(join(a, name));
      await fleet.until("both agree", () => existsSync(join(a, name)) === existsSync(join(b, name)));
      await fleet.healthy("web1", "web2");
    }
    await fleet.expectSame("site", "web1", "web2");
    // Nothing is left of what was under way.
    expect([recordedBytes(fleet), stagedBytes(b)]).toEqual([0, 0]);
  }, TEST_MS_MAX);
});
