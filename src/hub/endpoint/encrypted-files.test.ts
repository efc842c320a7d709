import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TRACE, TestHub, TestLink } from "#hub/hub-fixture.ts";
import { SimRandom } from "#testing/sim-random.ts";
import { isEncrypted } from "#hub/encrypted-content.ts";

/** What no host can hold: it must never look as if somebody had removed it. */
describe("encrypted files and hosts", () => {
  let hub: TestHub;
  let host: TestLink;

  beforeEach(async () => {
    hub = await TestHub.open();
    await hub.spaces.createSpace(hub.who, "demo");
    host = new TestLink(hub, "web1", "demo");
  });
  afterEach(() => hub[Symbol.asyncDispose]());

  const at = (path: string): string => join(host.root, path);
  const kept = async (): Promise<string[]> => {
    const request = { below: "", after: undefined, shallow: false, limit: 100, at: undefined };
    const all = await hub.spaces.list(hub.who, "demo", request);
    return all.filter((version) => version.entry?.kind === "file" && isEncrypted(version)).map(({ path }) => path);
  };
  const plain = async (): Promise<string[]> => {
    const request = { below: "", after: undefined, shallow: false, limit: 100, at: undefined };
    const all = await hub.spaces.list(hub.who, "demo", request);
    return all.filter((version) => version.entry?.kind === "file" && !isEncrypted(version)).map(({ path }) => path);
  };
  type Options = Parameters<TestLink["run"]>[0];
  /** Until nothing changes any more. */
  const settle = async (options: Options = {}) => {
    await host.run(options);
    const { events } = await host.run(options);
    const told: { path: string; code: string; message: string }[] = [];
    for (const event of events) {
      if (event.type === "problem") told.push(event.problem);
      if (event.type === "conflict") told.push({ path: event.conflict.path, code: event.conflict.reason, message: "" });
    }
    return told;
  };

  test("[SSEC-24] they are not brought, and told; whatever a host does around them takes none away", async () => {
    await hub.putEncrypted("demo", "d/secret", 100);
    await hub.put("demo", "d/open", "open");
    const told = await settle();
    expect([existsSync(at("d/secret")), readFileSync(at("d/open"), "utf8")]).toEqual([false, "open"]);
    expect(told).toMatchObject([{ path: "d/secret", side: "beta", code: "UNSUPPORTED" }]);
    expect(told[0]!.message).toContain("SSE-C");
    // The directory is renamed, and removed.
    renameSync(at("d"), at("e"));
    await settle();
    expect([await kept(), await plain()]).toEqual([["d/secret"], ["e/open"]]);
    rmSync(at("e"), { recursive: true });
    mkdirSync(at("d"), { recursive: true });
    writeFileSync(at("d/new"), "new");
    await settle();
    expect([await kept(), await plain()]).toEqual([["d/secret"], ["d/new"]]);
    rmSync(at("d"), { recursive: true });
    await settle();
    expect([await kept(), await plain()]).toEqual([["d/secret"], []]);
    // A file where their directory is.
    rmSync(at("d"), { recursive: true, force: true });
    writeFileSync(at("d"), "a file");
    await settle();
    expect(await kept()).toEqual(["d/secret"]);
    expect(readFileSync(at("d"), "utf8")).toBe("a file");
  });

  test("[SSEC-25] a file of the host at their path stays where it is, in every mode, and so does what is in the space", async () => {
    await hub.putEncrypted("demo", "f", 100);
    writeFileSync(at("f"), "of the host");
    for (const mode of ["two-way-safe", "two-way-resolved", "one-way-safe", "one-way-replica"] as const) {
      const told = await settle({ mode });
      expect([mode, readFileSync(at("f"), "utf8"), await kept()]).toEqual([mode, "of the host", ["f"]]);
      expect([mode, told.map(({ path, code }) => [path, code])]).toEqual([mode, [["f", "untracked"], ["f", "UNSUPPORTED"]]]);
    }
    rmSync(at("f"));
    for (const mode of ["one-way-replica", "two-way-safe"] as const) {
      await settle({ mode });
      expect(await kept()).toEqual(["f"]);
    }
  });

  test("[SSEC-26] what becomes encrypted leaves the host what it had; what is no longer so arrives", async () => {
    await hub.put("demo", "f", "was open");
    await hub.put("demo", "g", "was open");
    await settle();
    await hub.putEncrypted("demo", "f", 8);
    await hub.putEncrypted("demo", "g", 8);
    await settle();
    expect([readFileSync(at("f"), "utf8"), await kept()]).toEqual(["was open", ["f", "g"]]);
    writeFileSync(at("f"), "edited on the host");
    rmSync(at("g"));
    await settle();
    expect([readFileSync(at("f"), "utf8"), existsSync(at("g")), await kept()]).toEqual(["edited on the host", false, ["f", "g"]]);
    await hub.put("demo", "g", "open again");
    await settle();
    expect([readFileSync(at("g"), "utf8"), await kept()]).toEqual(["open again", ["f"]]);
    // Moved in the space, with the directory that it lies in.
    await hub.putEncrypted("demo", "dir/x", 8);
    await hub.put("demo", "dir/y", "y");
    await settle();
    const move = { type: "move", from: "dir", to: "moved", expect: { kind: "any" } } as const;
    await hub.spaces.commit(hub.who, "demo", { changes: [move], intake: undefined, atomic: true, cause: "edit", traceId: TRACE });
    await settle();
    expect([existsSync(at("dir")), readdirSync(at("moved")), await kept()]).toEqual([false, ["y"], ["f", "moved/x"]]);
    const remove = { type: "remove", path: "moved", expect: { kind: "any" }, recursive: true } as const;
    await hub.spaces.commit(hub.who, "demo", { changes: [remove], intake: undefined, atomic: true, cause: "edit", traceId: TRACE });
    await settle();
    expect(existsSync(at("moved"))).toBe(false);
  });

  test("[SSEC-27] a host that has forgotten everything, or is new, takes none for removed either", async () => {
    await hub.put("demo", "d/open", "open");
    await hub.putEncrypted("demo", "d/secret", 70_000);
    await settle();
    rmSync(join(hub.dir, "state-web1"), { recursive: true });
    rmSync(at("d"), { recursive: true });
    await settle();
    expect([await kept(), readFileSync(at("d/open"), "utf8")]).toEqual([["d/secret"], "open"]);
    const other = new TestLink(hub, "web2", "demo");
    await other.run({ mode: "one-way-replica" });
    expect(await kept()).toEqual(["d/secret"]);
  });

  /** Seeds that are looked at with every test run. */
  const SEEDS = [1, 2];

  test.each(SEEDS)("[SSEC-40] whatever two hosts do, an encrypted file stays as it is where it is, life %d", async (seed) => {
    const random = new SimRandom(seed);
    const hosts = [host, new TestLink(hub, "web2", "demo")];
    let seen = 0;
    const names = ["a", "b", "a/x", "a/y", "b/x", "b/c", "b/c/x"];
    const pick = <T>(all: readonly T[]): T => all[random.int(all.length)]!;
    const state = async (): Promise<string[]> => {
      const request = { below: "", after: undefined, shallow: false, limit: 100, at: undefined };
      const all = await hub.spaces.list(hub.who, "demo", request);
      return all.filter((one) => one.entry?.kind === "file" && isEncrypted(one)).map(({ path, content }) => `${path} ${content!.id}`);
    };
    const onHost = (root: string): void => {
      const at = join(root, pick(names));
      try {
        switch (random.int(4)) {
          case 0:
            mkdirSync(at, { recursive: true });
            break;
          case 1:
            mkdirSync(join(at, ".."), { recursive: true });
            writeFileSync(at, `words ${random.int(9)}`);
            break;
          case 2:
            rmSync(at, { recursive: true });
            break;
          default:
            renameSync(at, join(root, pick(names)));
        }
      } catch (error) {
        // Some of it is not possible.
        if (!(error instanceof Error && "code" in error)) throw error;
      }
    };
    for (const path of ["a/x", "b/x", "b/c/x"]) await hub.put("demo", path, path);
    for (const one of hosts) await one.run();
    for (let step = 0; step < 25; step++) {
      if (random.int(2) === 0) await hub.putEncrypted("demo", pick(["a/secret", "b/c/secret", "b/x"]), random.int(99)).catch(() => undefined);
      if (random.int(4) === 0) await hub.put("demo", pick(names), `in the space ${step}`);
      for (let times = random.int(4); times > 0; times--) onHost(pick(hosts).root);
      const before = await state();
      const mode = pick(["two-way-safe", "two-way-safe", "two-way-resolved", "one-way-safe", "one-way-replica"] as const);
      await pick(hosts).run({ mode });
      seen += before.length;
      expect([seed, step, mode, await state()]).toEqual([seed, step, mode, before]);
    }
    expect(seen).toBeGreaterThan(25);
  });
});
