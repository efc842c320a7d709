/** One trace id from a command through the hub to the hosts, seen by a collector; and a hub whose collector is away. */
import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { Collector, type TakenSpan, attributeOf } from "#observe/collector-fixture.ts";
import { Fleet } from "./fleet.ts";

const TEST_MS_MAX = 120_000;

describe("a collector", () => {
  test("[OBSERVE-20] sees a command's request, its commit and its arrival on each host as one trace, which the journal names", async () => {
    await using collector = new Collector();
    await using fleet = await Fleet.start();
    const { world } = fleet;
    await fleet.kill("hub");
    world.write("otlp.yaml", `otlpEndpoint: ${collector.url}\ntraceRatio: 0\n`);
    await fleet.startHub("--config", "otlp.yaml");
    for (const name of ["web1", "web2"]) fleet.startAgent(name);
    await fleet.healthy("web1", "web2");
    world.write("page", "hello");
    const put = await world.run(["put", "page", "site:docs/page", "--token-file", "token"], { SYNCLINE_HUB: fleet.url });
    expect(put.code).toBe(0);
    const named = (name: string): TakenSpan[] => collector.spans.filter((one) => one.name === name);
    await fleet.until("it has arrived on both", () => named("apply").length >= 2 && named("content.put").length === 1);
    const [request] = named("content.put");
    const commit = named("commit").find(({ traceId }) => traceId === request!.traceId);
    expect(attributeOf(request!, "http.response.status_code")).toBe("201");
    expect(commit!.parentSpanId).toBe(request!.spanId);
    const arrivals = named("apply").filter(({ parentSpanId }) => parentSpanId === commit!.spanId);
    expect(arrivals.map((one) => attributeOf(one, "host.name")).toSorted()).toEqual(["web1", "web2"]);
    for (const arrival of arrivals) {
      expect(arrival.traceId).toBe(request!.traceId);
      expect(readFileSync(`${fleet.root(attributeOf(arrival, "host.name")!)}/docs/page`, "utf8")).toBe("hello");
    }
    const { records } = await fleet.json<{ records: { traceId: string; path: string }[] }>("/v1/spaces/site/journal");
    expect(records.find(({ path }) => path === "docs/page")!.traceId).toBe(request!.traceId);
    const metrics = ["syncline_http_request_seconds", "syncline_link_lag_seconds"];
    await fleet.until("metrics have arrived", () => metrics.every((name) => collector.metrics.has(name)));
    // Nobody asked for the traces of the others, and none of them is recorded.
    expect(new Set(collector.spans.map(({ traceId }) => traceId))).toEqual(new Set([request!.traceId]));

    // A collector that goes away changes nothing for anybody, and what it missed is told when it is back.
    collector.status = 503;
    expect((await world.run(["put", "page", "site:docs/later", "--token-file", "token"], { SYNCLINE_HUB: fleet.url })).code).toBe(0);
    await fleet.until("its absence is told", () => fleet.said("hub").includes("collector takes no traces"));
    collector.status = 200;
    await fleet.until("the rest is told", () => named("content.put").length === 2);
  }, TEST_MS_MAX);

  test("[OBSERVE-22] sees an edit on one host, its commit at the hub and its arrival on another as one trace, with what each of them did", async () => {
    await using collector = new Collector();
    await using fleet = await Fleet.start();
    const { world } = fleet;
    await fleet.kill("hub");
    world.write("otlp.yaml", `otlpEndpoint: ${collector.url}\n`);
    await fleet.startHub("--config", "otlp.yaml");
    world.write("agent.yaml", `otlpEndpoint: ${collector.url}\ntraceRatio: 1\n`);
    const start = (name: string, ...more: string[]): void => {
      world.folder(`${name}/site`);
      fleet.startAgentWith(name, ["--link", `${fleet.root(name)}=site,settle=immediate`, ...more]);
    };
    for (const name of ["web1", "web2"]) start(name, "--config", "agent.yaml");
    // One that nobody has told of a collector.
    start("web3");
    await fleet.healthy("web1", "web2", "web3");
    collector.spans.length = 0;
    writeFileSync(`${fleet.root("web1")}/page`, "edited");
    const roots = (): TakenSpan[] => collector.spans.filter(({ name, parentSpanId }) => name === "cycle" && parentSpanId === undefined);
    const made = (span: TakenSpan): TakenSpan | undefined => collector.spans.find((one) => one.name === "commit" && one.parentSpanId === span.spanId && attributeOf(one, "syncline.sequence") !== undefined);
    const arrivals = (): TakenSpan[] => collector.spans.filter((one) => one.name === "cycle" && one.parentSpanId !== undefined);
    await fleet.until("both have told of their cycles", () => arrivals().length > 0 && roots().some((one) => made(one) !== undefined));
    const { records } = await fleet.json<{ records: { traceId: string; path: string }[] }>("/v1/spaces/site/journal");
    const { traceId } = records.find(({ path }) => path === "page")!;
    const spans = collector.spans.filter((one) => one.traceId === traceId);
    const edited = roots().find((one) => one.traceId === traceId)!;
    const [arrived] = arrivals();
    expect([arrived!.traceId, arrived!.parentSpanId]).toEqual([traceId, made(edited)!.spanId]);
    const below = (span: TakenSpan): string[] => spans.filter(({ parentSpanId }) => parentSpanId === span.spanId).map(({ name }) => name).toSorted();
    // The hub's own and the host's view of the same commit; what arrived is told by the hub, too.
    expect(below(edited)).toEqual(["commit", "commit", "plan", "scan host"]);
    expect(below(arrived!)).toEqual(["apply", "plan", "scan space"]);
    expect(readFileSync(`${fleet.root("web2")}/page`, "utf8")).toBe("edited");
    expect(spans.filter(({ name }) => name === "cycle")).toHaveLength(2);
  }, TEST_MS_MAX);

  test("[OBSERVE-21] profiles of a hub that runs come by a command, for administrators", async () => {
    await using fleet = await Fleet.start();
    const { world } = fleet;
    const run = (...args: string[]) => world.run([...args, "--token-file", "token"], { SYNCLINE_HUB: fleet.url });
    expect(await run("profile", "cpu", "cpu.cpuprofile", "--seconds", "1")).toMatchObject({ code: 0, err: "" });
    expect(JSON.parse(readFileSync(world.path("cpu.cpuprofile"), "utf8"))).toHaveProperty("nodes");
    expect(await run("profile", "heap", "heap.heapsnapshot")).toMatchObject({ code: 0, err: "" });
    expect(JSON.parse(readFileSync(world.path("heap.heapsnapshot"), "utf8"))).toHaveProperty("snapshot");
    expect((await run("audit", "list", "--resource", "hub:profiles")).out).toContain("profile.heap");
  }, TEST_MS_MAX);
});
