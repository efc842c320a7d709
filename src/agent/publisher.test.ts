import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openHost } from "#platform/host-bun.ts";
import { sumOf } from "#sync/chunk/sum.ts";
import { MemoryDisk, MemoryStore } from "#sync/index/memory-store.ts";
import type { HookContext } from "#agent/hooks.ts";
import { Publisher } from "#agent/publisher.ts";
import { Releases } from "#agent/releases.ts";

const SEEDS = { a: 1n, b: 2n };
const CUT_OFF_MAX = 3;

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "syncline-publisher-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A root with releases, whose commands refuse what says "refused", end with a fault after "bad", and never after "slow". */
class Site {
  readonly root: string;
  readonly releases: Releases;
  readonly #store = new MemoryStore(new MemoryDisk());
  readonly #host = openHost();
  #sequence = 0;

  constructor(name: string) {
    this.root = join(dir, name);
    this.releases = new Releases(this.#host.fs, this.root);
    mkdirSync(this.releases.work, { recursive: true });
  }

  get shown(): string {
    return readFileSync(join(this.root, "f"), "utf8");
  }

  /** The link's own copy is this now, and the agent shows it. */
  async publish(content: string): Promise<void> {
    this.#write(content);
    await this.#publish(new AbortController().signal);
  }

  /** The same, and the agent ends while the command after the flip runs. */
  async publishAndEnd(content: string): Promise<void> {
    const begun = join(dir, "begun");
    const slow = join(dir, "slow");
    const end = new AbortController();
    this.#write(content);
    writeFileSync(slow, "");
    const publishing = this.#publish(end.signal).catch(String);
    while (!existsSync(begun)) await Bun.sleep(1);
    end.abort("the agent ends");
    expect(await publishing).toBe("the agent ends");
    rmSync(begun);
    rmSync(slow);
  }

  #write(content: string): void {
    const file = join(this.releases.work, "f");
    if (!existsSync(file) || readFileSync(file, "utf8") !== content) writeFileSync(file, content);
  }

  async #publish(signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#host;
    const hooks: HookContext = {
      hooks: {
        before: `! grep -q refused ${this.releases.work}/f`,
        after: `if test -e ${dir}/slow; then touch ${dir}/begun; sleep 60; fi; ! grep -q bad ${this.root}/f`,
        timeoutMs: 60_000,
        onAfterFailure: "rollback",
      },
      link: "l", root: this.root, space: "s", random, log: () => undefined,
    };
    const publisher = new Publisher({ releases: this.releases, store: this.#store, seeds: SEEDS, keep: 5, hooks, clock });
    const sums = async (paths: readonly string[]) =>
      paths.map((path) => sumOf(readFileSync(join(this.releases.work, path)), SEEDS));
    await publisher.publish({ sequence: ++this.#sequence, sums }, signal);
  }
}

test("[RELEASE-22] a release whose command fails gives way to the last one that passed, however often the agent ended before it could tell", async () => {
  for (let cuts = 0; cuts <= CUT_OFF_MAX; cuts++) {
    for (const isNewEach of [false, true]) {
      for (const isRefusedBefore of [false, true]) {
        const site = new Site(`site ${cuts} ${isNewEach} ${isRefusedBefore}`.replaceAll(" ", "-"));
        await site.publish("passed");
        if (isRefusedBefore) await expect(site.publish("refused")).rejects.toMatchObject({ code: "HALT" });
        for (let cut = 0; cut < cuts; cut++) await site.publishAndEnd(isNewEach ? `bad ${cut}` : "bad");
        await expect(site.publish("bad")).rejects.toMatchObject({ code: "HALT" });
        expect([cuts, isNewEach, isRefusedBefore, site.shown]).toEqual([cuts, isNewEach, isRefusedBefore, "passed"]);
        expect(site.releases.pauses.read()?.release).toBe(site.releases.shown()!);
      }
    }
  }
});

test("[RELEASE-22] it gives way to the one that a person has gone back to, also where no agent ran then", async () => {
  const site = new Site("site");
  await site.publish("passed");
  const first = site.releases.shown()!;
  await site.publish("passed, too");
  await site.releases.flip(first);
  await expect(site.publish("bad")).rejects.toMatchObject({ code: "HALT" });
  expect([site.shown, site.releases.shown()]).toEqual(["passed", first]);
});
