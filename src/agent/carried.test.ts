import { afterEach, describe, expect, test, setDefaultTimeout } from "bun:test";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Principal, Role } from "#access/access.ts";
import { ADMIN, type TestAgent, AGENT_TEST_MS, AgentHub, linkTo, until } from "#testing/agent-hub.ts";

setDefaultTimeout(AGENT_TEST_MS);

const COUNT = 50;
const OWN: Role = { name: "own", includes: [], rules: [{ effect: "allow", resource: "host", actions: ["read", "approve"], names: ["web1"] }] };
const WEB: Role = { name: "web", includes: [], rules: [{ effect: "allow", resource: "host", actions: ["read", "approve"], labels: ["role=web"] }] };
const BY = { id: "user:admin" };

describe("approvals that are good for other hosts", () => {
  let hub: AgentHub;

  afterEach(() => hub[Symbol.asyncDispose]());

  const files = (dir: string): number => readdirSync(join(dir, "d")).length;
  const link = (root: string) => linkTo(root, "demo");
  const holds = async (): Promise<string[]> => (await hub.registry.held.all()).filter(({ approvedMs }) => approvedMs === undefined).map(({ host }) => host).toSorted();
  const healthy = (...names: string[]): Promise<void> =>
    until(`${names.join()} are healthy: ${hub.log.slice(-6).join("\n")}`, () =>
      names.every((name) => hub.agents.hosts(ADMIN).some((one) => one.name === name && one.status === "healthy" && one.links[0]?.state?.files === COUNT + 5)),
    );

  async function begun(): Promise<{ roots: string[]; agents: TestAgent[] }> {
    hub = await AgentHub.start(["demo"], [OWN, WEB]);
    const names = ["web1", "web2", "web3"];
    const roots = names.map((name) => hub.folder(name));
    mkdirSync(join(roots[0]!, "d"));
    for (let at = 0; at < COUNT; at++) writeFileSync(join(roots[0]!, "d", `f${at}`), `${at}`);
    for (let at = 0; at < 5; at++) writeFileSync(join(roots[0]!, `kept${at}`), "kept");
    const agents = names.map((name, at) => hub.agent(name, [link(roots[at]!)]));
    await healthy(...names);
    return { roots, agents };
  }

  const removeAll = (dir: string): void => {
    for (const name of readdirSync(join(dir, "d"))) rmSync(join(dir, "d", name));
  };
  const heldOn = async (host: string, total: number): Promise<void> =>
    until(`${host} holds ${total}`, async () => (await hub.registry.held.all()).some((one) => one.host === host && one.plan.total === total));
  const approve = async (who: Principal, host: string): Promise<void> => {
    const one = (await hub.registry.held.all()).find((hold) => hold.host === host)!;
    await hub.agents.approve(who, one.link, host, one.plan.hash);
  };
  const commit = (...changes: object[]) =>
    hub.spaces.commit(ADMIN, "demo", { changes: changes as never, intake: undefined, atomic: true, cause: "edit", traceId: "0".repeat(32) });
  const removal = (path: string) => ({ type: "remove", path, expect: { kind: "any" }, recursive: true });

  test("[CARRY-1] a deletion that was approved on one host is carried out on all, and on one that was away", async () => {
    const { roots, agents } = await begun();
    await agents[2]!.stop();
    removeAll(roots[0]!);
    await heldOn("web1", COUNT);
    expect(files(roots[1]!)).toBe(COUNT);
    await approve(ADMIN, "web1");
    await until("it is done there and on the other", () => files(roots[0]!) === 0 && files(roots[1]!) === 0);
    hub.agent("web3", [link(roots[2]!)]);
    await until("and on the one that was away", () => files(roots[2]!) === 0);
    await until("nothing waits", async () => (await hub.registry.held.all()).length === 0);
    expect(readdirSync(roots[2]!).filter((name) => name.startsWith("kept"))).toHaveLength(5);
  });

  test("[CARRY-2] a deletion made in the space is held by each host, and approved on one it is on all", async () => {
    const { roots } = await begun();
    await commit(...Array.from({ length: COUNT }, (_, at) => removal(`d/f${at}`)));
    for (const host of ["web1", "web2", "web3"]) await heldOn(host, COUNT);
    expect(roots.map(files)).toEqual([COUNT, COUNT, COUNT]);
    await approve(ADMIN, "web2");
    await until("all follow", () => roots.every((root) => files(root) === 0));
    await until("nothing waits", async () => (await hub.registry.held.all()).length === 0);
  });

  test("[CARRY-6] a host that holds another plan by then keeps no other one from what was approved, nor the one who approves", async () => {
    const { roots } = await begun();
    await commit(...Array.from({ length: COUNT }, (_, at) => removal(`d/f${at}`)));
    for (const host of ["web1", "web2", "web3"]) await heldOn(host, COUNT);
    const { held } = hub.registry;
    const really = held.approve.bind(held);
    let other: string | undefined;
    held.approve = async (linkId, host, hash, by) => {
      // Between the look at its plan and the word that it is approved.
      if (host !== "web1" && (other ??= host) === host) {
        const { plan } = (await held.of(linkId, host))!;
        await held.hold(host, { ...plan, hash: `${hash.slice(1)}0` });
      }
      return really(linkId, host, hash, by);
    };
    await approve(ADMIN, "web1");
    const others = [1, 2].filter((at) => `web${at + 1}` !== other).map((at) => roots[at]!);
    expect(others).toHaveLength(1);
    await until("the others follow", () => files(roots[0]!) === 0 && files(others[0]!) === 0);
  });

  test("[CARRY-3] it goes no further than the right of who approves, and than what was approved", async () => {
    const { roots, agents } = await begun();
    await hub.access.users.create(BY, "ann", { roles: ["own"] });
    const ann: Principal = { id: "user:ann", kind: "user", name: "ann", roles: ["own"], scopes: undefined };
    await agents[2]!.stop();
    removeAll(roots[0]!);
    await heldOn("web1", COUNT);
    await approve(ann, "web1");
    await until("it is done there", () => files(roots[0]!) === 0);
    await heldOn("web2", COUNT);
    await Bun.sleep(500);
    expect([files(roots[1]!), await holds()]).toEqual([COUNT, ["web2"]]);
    // Approved by somebody who may, and one more deleted afterwards, which nobody has approved.
    await approve(ADMIN, "web2");
    await until("it is done", () => files(roots[1]!) === 0);
    await commit(removal("kept0"));
    hub.agent("web3", [link(roots[2]!)]);
    await heldOn("web3", COUNT + 1);
    await Bun.sleep(500);
    expect([files(roots[2]!), await holds()]).toEqual([COUNT, ["web3"]]);
  });

  test("[CARRY-4] what came back and was deleted again was not approved, though it is the same paths", async () => {
    const { roots, agents } = await begun();
    await agents[1]!.stop();
    await agents[2]!.stop();
    removeAll(roots[0]!);
    await heldOn("web1", COUNT);
    await approve(ADMIN, "web1");
    await until("it is done there", () => files(roots[0]!) === 0);
    const paths = Array.from({ length: COUNT }, (_, at) => `d/f${at}`);
    const { sequence } = await hub.spaces.space(ADMIN, "demo");
    await agents[0]!.stop();
    // In the space it came back, and was deleted once more.
    await using intake = hub.spaces.intake(ADMIN, "demo");
    const { content } = await intake.store(Buffer.from("again"));
    const entry = { kind: "file", size: 5, mode: 0o644, mtimeNs: 1n, sum: undefined };
    const put = (path: string) => ({ type: "put", path, expect: { kind: "any" }, entry, content, makeParents: false });
    await hub.spaces.commit(ADMIN, "demo", { changes: paths.map(put) as never, intake, atomic: true, cause: "edit", traceId: "0".repeat(32) });
    await commit(...paths.map(removal));
    expect((await hub.spaces.space(ADMIN, "demo")).sequence).toBe(sequence + 2 * COUNT);
    hub.agent("web2", [link(roots[1]!)]);
    await heldOn("web2", COUNT);
    await Bun.sleep(500);
    expect([files(roots[1]!), await holds()]).toEqual([COUNT, ["web2"]]);
  });

  test("[CARRY-5] who may approve on hosts with a label approves for these alone", async () => {
    const { roots } = await begun();
    await hub.access.users.create(BY, "ann", { roles: ["web"] });
    const ann: Principal = { id: "user:ann", kind: "user", name: "ann", roles: ["web"], scopes: undefined };
    for (const [host, label] of [["web1", "role=web"], ["web2", "role=web"], ["web3", "role=db"]] as const) await hub.agents.setLabels(ADMIN, host, [label]);
    await commit(...Array.from({ length: COUNT }, (_, at) => removal(`d/f${at}`)));
    for (const host of ["web1", "web2", "web3"]) await heldOn(host, COUNT);
    await expect(approve(ann, "web3")).rejects.toMatchObject({ code: "NOT_FOUND" });
    await approve(ann, "web1");
    await until("it is done on those", () => files(roots[0]!) === 0 && files(roots[1]!) === 0);
    await Bun.sleep(500);
    expect([files(roots[2]!), await holds()]).toEqual([COUNT, ["web3"]]);
  });
});
