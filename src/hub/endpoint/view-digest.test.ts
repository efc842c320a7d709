import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LinkDigestKeeper } from "#agent/link-digest.ts";
import { ViewDigests } from "#hub/endpoint/view-digest.ts";
import { SpaceEndpoint } from "#hub/endpoint/space-endpoint.ts";
import { TRACE, TestHub, TestLink } from "#hub/hub-fixture.ts";
import { seedsOf } from "#hub/hub-spaces.ts";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { openSqliteStore } from "#sync/index/sqlite-store.ts";
import { savedMark } from "#sync/session/side-mark.ts";

const hash = (text: string): string => new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 12);
const never = new AbortController().signal;

class Lab implements AsyncDisposable {
  readonly digests = new ViewDigests();
  readonly hub: TestHub;

  constructor(hub: TestHub) {
    this.hub = hub;
  }

  static async open(): Promise<Lab> {
    const hub = await TestHub.open();
    await hub.spaces.createSpace(hub.who, "demo");
    return new Lab(hub);
  }

  /** As an agent computes it from the state of its session. */
  async ofHost(name: string): Promise<{ sequence: number; digest: string | null }> {
    const store = openSqliteStore(join(this.hub.dir, `state-${name}`, "session.db"));
    const { sequence } = { sequence: savedMark(store, "beta")!.seq };
    const done = Promise.withResolvers<void>();
    const keeper = new LinkDigestKeeper(this.hub.host.clock, done.resolve);
    keeper.rest({ store, sequence, signal: never });
    await Promise.race([done.promise, new Promise((resolve) => setTimeout(resolve, 500))]);
    store.close();
    return { sequence, digest: keeper.at(sequence) };
  }

  /** As the hub does, for a link with these rules. */
  async ofSpace(sequence: number, prefix = "", ignore: readonly string[] = []): Promise<string | undefined> {
    const { hub } = this;
    const endpoint = new SpaceEndpoint({
      spaces: hub.spaces, who: hub.who, space: "demo", prefix, readOnly: true, label: "demo", host: hub.host,
      stageFolder: join(hub.dir, "stage"), hubId: hub.meta.hubId, hash, digests: this.digests, coming: hub.coming,
    });
    await endpoint.open({
      sessionId: "0".repeat(32), writable: false, createRoot: false, expectRootId: undefined, ignore, include: [],
      preserve: PRESERVE_DEFAULT, seeds: seedsOf(await hub.spaces.space(hub.who, "demo")), compress: "none",
    } as never, never);
    const digest = await endpoint.digestSince(sequence);
    await endpoint.close();
    return digest;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hub[Symbol.asyncDispose]();
  }
}

describe("digests of links", () => {
  test("[DIGEST-1] a link at rest and its space have the same digest, whole or below a prefix, with what is ignored left out", async () => {
    await using lab = await Lab.open();
    const { hub } = lab;
    const a = new TestLink(hub, "a", "demo");
    const b = new TestLink(hub, "b", "demo", "part");
    const rules = { ignore: ["*.tmp"] };
    mkdirSync(join(a.root, "part"));
    for (const name of ["x", "part/y", "part/z.tmp", "w.tmp"]) writeFileSync(join(a.root, name), name);
    await a.run(rules);
    await b.run(rules);
    // The space has something that both links ignore.
    await hub.put("demo", "part/seen.tmp", "by nobody");
    await hub.put("demo", "part/more", "m");
    await a.run(rules);
    await b.run(rules);
    for (const [name, prefix] of [["a", ""], ["b", "part"]] as const) {
      const { sequence, digest } = await lab.ofHost(name);
      expect(digest).not.toBeNull();
      expect(await lab.ofSpace(sequence, prefix, rules.ignore)).toBe(digest!);
    }
    expect(await lab.ofSpace((await lab.ofHost("a")).sequence)).not.toBe((await lab.ofHost("a")).digest!);
  });

  test("[DIGEST-2] it follows the journal: edits, moves, removals, ignore files; what changed since says nothing", async () => {
    await using lab = await Lab.open();
    const { hub } = lab;
    const a = new TestLink(hub, "a", "demo");
    mkdirSync(join(a.root, "d"));
    for (const name of ["d/x", "d/y", "z"]) writeFileSync(join(a.root, name), name);
    await a.run();
    const steps = [
      async () => writeFileSync(join(a.root, "z"), "other"),
      async () => rmSync(join(a.root, "d/x")),
      async () => {
        const move = { type: "move", from: "d", to: "e", expect: { kind: "any" } } as const;
        await hub.spaces.commit(hub.who, "demo", { changes: [move], intake: undefined, atomic: true, cause: "edit", traceId: TRACE });
      },
      async () => writeFileSync(join(a.root, ".synclineignore"), "*.log\n"),
      async () => void (await hub.put("demo", "ignored.log", "log")),
      async () => rmSync(join(a.root, ".synclineignore")),
    ];
    for (const step of steps) {
      await step();
      await a.run();
      // The space says what it sees under new rules when it is asked again.
      await a.run();
      const { sequence, digest } = await lab.ofHost("a");
      const kept = await lab.ofSpace(sequence);
      expect(digest).not.toBeNull();
      expect(kept).toBe(digest!);
      // As it is when it is read from nothing.
      expect(await new Lab(hub).ofSpace(sequence)).toBe(digest!);
    }
    const { sequence } = await lab.ofHost("a");
    await hub.put("demo", "later", "x");
    expect(await lab.ofSpace(sequence)).toBeUndefined();
  });

  test("[RULES-1] what an ignore file hid in the space is brought over when a host takes that file away", async () => {
    await using lab = await Lab.open();
    const { hub } = lab;
    const a = new TestLink(hub, "a", "demo");
    writeFileSync(join(a.root, ".synclineignore"), "*.log\n");
    await a.run();
    await hub.put("demo", "hidden.log", "log");
    await a.run();
    expect(existsSync(join(a.root, "hidden.log"))).toBe(false);
    rmSync(join(a.root, ".synclineignore"));
    await a.run();
    await a.run();
    expect(existsSync(join(a.root, "hidden.log"))).toBe(true);
  });

  test("[DIGEST-3] a link that holds something else than its space has another digest", async () => {
    await using lab = await Lab.open();
    const { hub } = lab;
    const a = new TestLink(hub, "a", "demo");
    for (const name of ["x", "y"]) writeFileSync(join(a.root, name), name);
    await a.run();
    const { id } = await hub.spaces.space(hub.who, "demo");
    await hub.database.run("DELETE FROM versions WHERE space_id = ? AND path = ?", [id, Buffer.from("x")]);
    const { sequence, digest } = await lab.ofHost("a");
    expect(await lab.ofSpace(sequence)).not.toBe(digest!);
  });

  test("[SSEC-38] what no link carries is in no digest, on neither side, whenever it came", async () => {
    await using lab = await Lab.open();
    const { hub } = lab;
    const a = new TestLink(hub, "a", "demo");
    mkdirSync(join(a.root, "d"));
    writeFileSync(join(a.root, "d/x"), "x");
    await a.run();
    const same = async (): Promise<boolean> => {
      await a.run();
      const { sequence, digest } = await lab.ofHost("a");
      expect(digest).not.toBeNull();
      const kept = await lab.ofSpace(sequence);
      return kept === digest && (await new Lab(hub).ofSpace(sequence)) === digest;
    };
    expect(await same()).toBe(true);
    const { digest } = await lab.ofHost("a");
    await hub.putEncrypted("demo", "d/secret", 10);
    expect([await same(), (await lab.ofHost("a")).digest]).toEqual([true, digest!]);
    await hub.putEncrypted("demo", "d/secret", 20);
    expect([await same(), (await lab.ofHost("a")).digest]).toEqual([true, digest!]);
    await hub.put("demo", "d/secret", "open");
    expect([await same(), (await lab.ofHost("a")).digest]).not.toEqual([true, digest!]);
    // What was agreed on and is encrypted now is open between them.
    await hub.putEncrypted("demo", "d/secret", 30);
    await a.run();
    expect((await lab.ofHost("a")).digest).toBeNull();
  });

  test("[DIGEST-5] while something is not agreed on there is none", async () => {
    await using lab = await Lab.open();
    const { hub } = lab;
    const a = new TestLink(hub, "a", "demo");
    writeFileSync(join(a.root, "x"), "one");
    await a.run();
    expect((await lab.ofHost("a")).digest).not.toBeNull();
    writeFileSync(join(a.root, "x"), "of the host");
    await hub.put("demo", "x", "of the space");
    await a.run({ conflict: "leave" });
    expect((await lab.ofHost("a")).digest).toBeNull();
  });
});
