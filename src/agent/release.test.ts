import { afterEach, describe, expect, test, setDefaultTimeout } from "bun:test";
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ADMIN, AGENT_TEST_MS, AgentHub, linkTo, until } from "#testing/agent-hub.ts";
import { ENCRYPTED, OPENER_BYTES, encryptionText, storedPartBytes } from "#hub/encrypted-content.ts";
import { TRACE } from "#hub/hub-fixture.ts";
import { Releases } from "#agent/releases.ts";

setDefaultTimeout(AGENT_TEST_MS);

const RELEASE = { mode: "one-way-replica", from: "space", apply: "release" } as const;
const NO_HOOKS = { before: undefined, after: undefined, timeoutMs: 10_000, onAfterFailure: "report" } as const;
/** Whole at once: a half is a state like any other. */
function write(path: string, content: string): void {
  writeFileSync(`${path}.tmp`, content);
  renameSync(`${path}.tmp`, path);
}
/** As a client that sends its key along leaves it. */
async function putEncrypted(hub: AgentHub, path: string, size: number): Promise<void> {
  await using intake = hub.spaces.intake(ADMIN, "demo");
  const { random } = hub.host;
  const { content } = await intake.store(random.bytes(storedPartBytes(size)));
  const entry = { kind: "file", size, mode: 0o644, mtimeNs: 1n, sum: undefined } as const;
  const attributes = { [ENCRYPTED]: encryptionText({ opener: random.bytes(OPENER_BYTES), parts: [{ number: 1, size }], sums: {} }) };
  const change = { type: "put", path, expect: { kind: "any" }, entry, content, attributes, makeParents: true } as const;
  const request = { changes: [change], intake, atomic: true, cause: "upload", traceId: TRACE } as const;
  expect((await hub.spaces.commit(ADMIN, "demo", request)).results[0]!.status).toBe("done");
}

const text = (path: string): string | undefined => (existsSync(path) ? readFileSync(path, "utf8") : undefined);

describe("releases of a link", () => {
  let hub: AgentHub;

  afterEach(() => hub[Symbol.asyncDispose]());

  const view = () => hub.agents.host(ADMIN, "web1").links[0]!;
  const healthy = (): Promise<void> => until(`it is healthy: ${hub.log.slice(-6).join("\n")}`, () => hub.agents.hosts(ADMIN).some(({ name, status, links }) => name === "web1" && status === "healthy" && links.length > 0));

  async function begun(hooks: Parameters<AgentHub["agent"]>[2] = {}, keep = 5) {
    hub = await AgentHub.start();
    const source = hub.folder("source");
    hub.agent("web0", [linkTo(source, "demo", { ignore: ["*.tmp"] })]);
    mkdirSync(join(source, "d"));
    write(join(source, "d/same"), "same");
    write(join(source, "f"), "one");
    const root = join(hub.folder("web1"), "site");
    const links = [linkTo(root, "demo", { ...RELEASE, keepReleases: keep })];
    const agent = hub.agent("web1", links, hooks);
    await until("the first is shown", () => text(join(root, "f")) === "one" && text(join(root, "d/same")) === "same");
    await healthy();
    return { source, root, agent, links, releases: new Releases(hub.host.fs, root) };
  }

  test("[RELEASE-1] each batch is a tree of its own, flipped to; what did not change is one inode in all of them", async () => {
    const { source, root, releases } = await begun();
    expect(lstatSync(root).isSymbolicLink()).toBe(true);
    const first = releases.shown();
    write(join(source, "f"), "two, longer");
    rmSync(join(source, "d/same"));
    write(join(source, "d/other"), "other");
    write(join(source, "kept"), "kept");
    await until("all of it is shown", () => text(join(root, "f")) === "two, longer" && !existsSync(join(root, "d/same")) && text(join(root, "kept")) === "kept");
    await healthy();
    expect(readdirSync(`${root}.releases/${first}/d`)).toEqual(["same"]);
    expect(text(`${root}.releases/${first}/f`)).toBe("one");
    const before = statSync(join(root, "kept")).ino;
    write(join(source, "f"), "three");
    await until("it is shown", () => text(join(root, "f")) === "three");
    expect(statSync(join(root, "kept")).ino).toBe(before);
    expect(statSync(join(root, "f")).ino).not.toBe(statSync(`${root}.releases/work/f`).ino);
    expect(readdirSync(root).toSorted()).toEqual(["d", "f", "kept"]);
    await until("the hub knows them", () => JSON.stringify(view().state!.releases) === JSON.stringify({ names: releases.names(), shown: releases.shown() }));
  });

  test("[RELEASE-10] what is encrypted in the space is left out and told, and a release is made of all else", async () => {
    const { source, root } = await begun();
    await putEncrypted(hub, "d/secret", 100);
    await until("it is told", () => view().state!.problems === 1);
    write(join(source, "f"), "two");
    await until("the rest is shown", () => text(join(root, "f")) === "two");
    expect(readdirSync(join(root, "d"))).toEqual(["same"]);
    await until("it is still told", () => view().state!.problems === 1 && view().status === "diverged");
    // Also where the first release is to be made while it is there.
    const other = join(hub.folder("web2"), "site");
    hub.agent("web2", [linkTo(other, "demo", RELEASE)]);
    await until("it is shown there, too", () => text(join(other, "f")) === "two" && text(join(other, "d/same")) === "same");
    expect(existsSync(join(other, "d/secret"))).toBe(false);
    await hub.spaces.commit(ADMIN, "demo", {
      changes: [{ type: "remove", path: "d/secret", expect: { kind: "any" }, recursive: false }],
      intake: undefined, atomic: true, cause: "edit", traceId: TRACE,
    });
    await healthy();
  });

  test("[RELEASE-2] a rollback is one rename, pauses the link, is never shown healthy, and ends with resume", async () => {
    const { source, root, releases } = await begun();
    const first = releases.shown();
    write(join(source, "f"), "two");
    await until("it is shown", () => text(join(root, "f")) === "two");
    await healthy();
    await until("the hub knows both", () => view().state!.releases!.shown === releases.shown());
    hub.agents.rollback(ADMIN, view().link.id, "web1", undefined);
    await until("it shows the first", () => text(join(root, "f")) === "one");
    await until("it is paused", () => view().status === "paused");
    expect(view().state!.pause).toMatchObject({ by: "user:admin", release: first! });
    const sequence = async (): Promise<number> => (await hub.spaces.version(ADMIN, "demo", "f"))!.sequence;
    const before = await sequence();
    write(join(source, "f"), "three");
    await until("the space has it", async () => (await sequence()) > before);
    await Bun.sleep(300);
    expect(text(join(root, "f"))).toBe("one");
    hub.agents.resume(ADMIN, view().link.id, "web1");
    await until("it shows the last", () => text(join(root, "f")) === "three");
    await healthy();
    expect(view().state!.pause).toBeNull();
  });

  test("[RELEASE-3] the host's own command line goes back and on while its agent runs, and while it does not", async () => {
    const { source, root, releases, agent, links } = await begun();
    const first = releases.shown();
    write(join(source, "f"), "two");
    await until("it is shown", () => text(join(root, "f")) === "two");
    await healthy();
    const pause = { reason: "bad", by: "ann on the host", sinceMs: 1, release: first!, undo: null };
    releases.pauses.write(pause);
    await until("its agent shows it", () => text(join(root, "f")) === "one" && view().status === "paused");
    releases.pauses.clear();
    await until("it goes on", () => text(join(root, "f")) === "two");
    await agent.stop();
    releases.pauses.write(pause);
    await releases.flip(first!);
    hub.agent("web1", links);
    await until("it is paused", () => view().status === "paused");
    expect(text(join(root, "f"))).toBe("one");
  });

  test("[RELEASE-4] old releases go by count, never the one that is shown", async () => {
    const { source, root, releases } = await begun({}, 2);
    for (const round of [2, 3, 4, 5]) {
      write(join(source, "f"), `round ${round}`);
      await until("it is shown", () => text(join(root, "f")) === `round ${round}`);
      await healthy();
    }
    await until("old ones have gone", () => releases.names().length === 3);
    expect(releases.names().at(-1)).toBe(releases.shown()!);
    expect(readdirSync(`${root}.releases`).filter((name) => !name.startsWith("r0")).toSorted()).toEqual(["work"]);
  });

  test("[RELEASE-5] a root that is something else is refused with what to do, and nothing of it is touched", async () => {
    hub = await AgentHub.start();
    const root = hub.folder("web1");
    writeFileSync(join(root, "mine"), "mine");
    hub.agent("web1", [linkTo(root, "demo", RELEASE)]);
    await until("it is halted", () => hub.agents.hosts(ADMIN).some(({ status }) => status === "halted"));
    expect(view().state!.error).toMatchObject({ code: "ROOT_IDENTITY", hint: expect.stringContaining("mv ") });
    expect(readdirSync(root)).toEqual(["mine"]);
    expect(() => hub.registry.links()).not.toThrow();
    await expect(hub.agents.createLink(ADMIN, { host: "web1", root: "/srv/x", space: "demo", settings: { apply: "release" } })).rejects.toMatchObject({ code: "USAGE" });
  });

  test("[RELEASE-6] commands run around the flip: a failing first one stops it, a failing second one flips back", async () => {
    const dir = mkdtempSync(join(tmpdir(), "syncline-hooks-"));
    const [gate, bad, seen] = ["gate", "bad", "seen"].map((name) => join(dir, name)) as [string, string, string];
    const { source, root, releases } = await begun({ hooks: { ...NO_HOOKS, before: `test ! -e ${gate}`, after: `test ! -e ${bad} && cat >> ${seen} && echo $SYNCLINE_RELEASE >> ${seen}`, onAfterFailure: "rollback" } });
    const first = releases.shown();
    await until("it was told", () => text(seen)?.includes(`${JSON.stringify({ action: "create", path: "f" })}\n`) === true);
    writeFileSync(gate, "");
    write(join(source, "f"), "two");
    await until("it is stopped", () => view().state?.error?.code === "HALT");
    expect(text(join(root, "f"))).toBe("one");
    rmSync(gate);
    await until("it passes", () => text(join(root, "f")) === "two");
    await healthy();
    const second = releases.shown();
    writeFileSync(bad, "");
    write(join(source, "f"), "three");
    await until("it is paused", () => view().status === "paused");
    expect([text(join(root, "f")), releases.shown()]).toEqual(["two", second]);
    expect(view().state!.pause).toMatchObject({ by: "hook", release: second! });
    rmSync(bad);
    hub.agents.resume(ADMIN, view().link.id, "web1");
    await until("it is shown", () => text(join(root, "f")) === "three");
    await healthy();
    expect(releases.names()).toContain(first!);
    rmSync(dir, { recursive: true });
  });

  test("[RELEASE-7] whatever a crash left half made is removed, and a release whose command was not told is told of", async () => {
    const dir = mkdtempSync(join(tmpdir(), "syncline-hooks-"));
    const seen = join(dir, "seen");
    const hooks = { ...NO_HOOKS, after: `echo "$SYNCLINE_RELEASE" >> ${seen}` };
    const { source, root, releases, agent, links } = await begun({ hooks });
    const first = releases.shown();
    await until("the first was told", () => text(seen)?.includes(first!) === true);
    await agent.stop();
    write(join(source, "f"), "two");
    await until("the space has it", async () => ((await hub.spaces.version(ADMIN, "demo", "f"))?.sequence ?? 0) > 3);
    mkdirSync(`${root}.releases/building/d`, { recursive: true });
    writeFileSync(`${root}.releases/building/d/half`, "half");
    mkdirSync(`${root}.releases/removing/x`, { recursive: true, mode: 0o500 });
    hub.agent("web1", links, { hooks });
    await until("it is shown", () => text(join(root, "f")) === "two");
    await healthy();
    expect(readdirSync(`${root}.releases`).toSorted()).toEqual([...releases.names(), "work"].toSorted());
    expect(readlinkSync(root)).toBe(`site.releases/${releases.names().at(-1)}`);
    await until("it was told", () => text(seen)!.trim().split("\n").at(-1) === releases.names().at(-1));
    expect(text(seen)!.trim().split("\n")).toEqual(expect.arrayContaining([first!]));
    rmSync(dir, { recursive: true });
  });

  test("[RELEASE-8] a release that somebody goes back to is not removed, however old, and one that cannot be shown pauses nothing", async () => {
    const { root, releases, agent } = await begun();
    await agent.stop();
    const first = releases.shown()!;
    const more = ["r000008-20260101T000000Z-s8", "r000009-20260101T000000Z-s9"];
    for (const name of more) mkdirSync(`${root}.releases/${name}`);
    await releases.flip(more[1]!);
    const pause = { reason: "bad", by: "ann on the host", sinceMs: 1, release: first, undo: null };
    // Another program has said so, and has not flipped yet.
    releases.pauses.write(pause);
    releases.prune(0, more[1]!);
    expect(releases.names()).toEqual([first, more[1]!]);
    releases.pauses.clear();
    await expect(releases.goBack({ ...pause, release: more[0]! })).rejects.toMatchObject({ code: "NOT_FOUND" });
    expect([releases.pauses.read(), releases.shown()]).toEqual([undefined, more[1]!]);
    await releases.goBack(pause);
    expect([releases.pauses.read(), releases.shown()]).toEqual([pause, first]);
    await expect(releases.goBack({ ...pause, release: more[0]! })).rejects.toMatchObject({ code: "NOT_FOUND" });
    expect(releases.pauses.read()).toEqual(pause);
  });

  test("[RELEASE-9] a link that is to show a release that is gone stands still, says so, and goes on by resume", async () => {
    const { source, root, releases, agent, links } = await begun();
    await agent.stop();
    releases.pauses.write({ reason: "bad", by: "ann on the host", sinceMs: 1, release: "r000009-20260101T000000Z-s9", undo: null });
    hub.agent("web1", links);
    await until("it is paused", () => view().status === "paused" && view().state!.pause !== null);
    expect(view().state!.pause).toMatchObject({ release: null, reason: expect.stringContaining("is not there any more") });
    write(join(source, "f"), "two");
    hub.agents.resume(ADMIN, view().link.id, "web1");
    await until("it goes on", () => text(join(root, "f")) === "two");
    await healthy();
  });
});
