/** A real Prometheus (Debian) scrapes a real hub with a token, the rules of deploy/ load, and one fires for real. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Fleet } from "./fleet.ts";
import { ROOT, freePort } from "./harness.ts";

const DEPLOY = join(ROOT, "deploy", "prometheus");
const TEST_MS_MAX = 240_000;
const READY_MS_MAX = 60_000;
const ROLE = "roles:\n  - name: metrics-reader\n    rules: [{effect: allow, resource: hub, actions: [read], names: [metrics]}]\n";

type Alert = { state: string; labels: Record<string, string>; annotations: Record<string, string> };
type Series = { metric: Record<string, string>; value: [number, string] };

describe("Prometheus", () => {
  test("[OBSERVE-1] the rules of deploy/ are valid and fire when they must and not before", async () => {
    await using fleet = await Fleet.start();
    const { world } = fleet;
    const check = await world.command(["promtool", "check", "rules", join(DEPLOY, "rules.yaml")]);
    expect([check.code, check.err]).toEqual([0, ""]);
    const tested = await world.command(["promtool", "test", "rules", "rules.test.yaml"], { cwd: DEPLOY });
    expect([tested.code, tested.out]).toEqual([0, expect.stringContaining("SUCCESS")]);
    const metrics = world.write("metrics", await (await fleet.fetch("/metrics")).text());
    const form = await world.command(["sh", "-c", `promtool check metrics < '${metrics}'`]);
    expect(form.out + form.err).not.toContain("error while linting");
    const dashboard = JSON.parse(readFileSync(join(ROOT, "deploy", "grafana", "syncline.json"), "utf8")) as {
      panels: { targets: { expr: string }[] }[];
    };
    // Every metric that is drawn or judged is one that a hub has.
    const text = readFileSync(metrics, "utf8");
    const known = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name!));
    const asked = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
    asked.push(...readFileSync(join(DEPLOY, "rules.yaml"), "utf8").split("\n").filter((line) => /^\s+(expr:|\/|and )|syncline_/.test(line)));
    for (const name of asked.flatMap((expr) => expr.match(/\b(?:syncline|process)_[a-z_0-9]+/g) ?? [])) {
      expect([name, known.has(name.replace(/_(count|bucket|sum)$/, ""))]).toEqual([name, true]);
    }
  }, TEST_MS_MAX);

  test("[OBSERVE-2] it scrapes the hub with a token that may do nothing else, and an alert fires when an agent is gone", async () => {
    await using fleet = await Fleet.start();
    const { world } = fleet;
    world.write("roles.yaml", ROLE);
    const run = async (...args: string[]): Promise<string> => {
      const { code, out, err } = await world.run([...args, "--token-file", "token"], { SYNCLINE_HUB: fleet.url });
      expect([err, code]).toEqual(["", 0]);
      return out.trim();
    };
    await run("role", "put", "roles.yaml");
    await run("user", "create", "prometheus", "--role", "metrics-reader");
    world.write("scrape.token", await run("token", "create", "prometheus", "scrape", "--quiet"));
    fleet.startAgent("web1");
    await fleet.healthy("web1");

    // The configuration of deploy/, for this hub, and with waits that a test can wait for.
    const scrape = readFileSync(join(DEPLOY, "scrape.yaml"), "utf8")
      .replace("hub.example.com:7830", new URL(fleet.url).host)
      .replace("scheme: https", "scheme: http")
      .replace("15s", "1s")
      .replaceAll("/etc/prometheus/syncline.token", world.path("scrape.token"))
      .replace(/ {2}tls_config:\n.*\n.*\n/, "");
    const rules = readFileSync(join(DEPLOY, "rules.yaml"), "utf8").replaceAll(/for: \d+m/g, "for: 1s");
    world.write("rules.yaml", rules);
    world.write(
      "prometheus.yml",
      `global: {evaluation_interval: 1s}\nrule_files: [rules.yaml]\nscrape_configs:\n${scrape.replaceAll(/^/gm, "  ")}\n`,
    );
    const at = `127.0.0.1:${await freePort()}`;
    const options = ["--config.file=prometheus.yml", `--storage.tsdb.path=${world.path("tsdb")}`, `--web.listen-address=${at}`];
    const prometheus = world.start(["prometheus", ...options]);
    const ask = async <T>(path: string): Promise<T> => ((await (await fetch(`http://${at}${path}`)).json()) as { data: T }).data;
    const until = async (what: string, isSo: () => Promise<boolean>): Promise<void> => {
      const end = Date.now() + READY_MS_MAX;
      while (!(await isSo().catch(() => false))) {
        if (Date.now() > end) throw new Error(`in vain waited for: ${what}\n${prometheus.output().slice(-3000)}`);
        await Bun.sleep(200);
      }
    };
    const value = async (query: string): Promise<Series[]> =>
      (await ask<{ result: Series[] }>(`/api/v1/query?query=${encodeURIComponent(query)}`)).result;
    await until("the hub is scraped", async () => (await value('up{job="syncline"} == 1')).length === 1);
    await until("the agent is seen", async () => (await value('syncline_agent_up{host="web1"} == 1')).length === 1);
    expect((await value('syncline_link_status{status="healthy"}'))[0]!.metric).toMatchObject({ host: "web1", space: "site" });
    const alerts = async (name: string): Promise<Alert[]> =>
      (await ask<{ alerts: Alert[] }>("/api/v1/alerts")).alerts.filter(({ labels, state }) => labels["alertname"] === name && state === "firing");
    expect(await alerts("SynclineAgentSilent")).toEqual([]);

    // That token opens nothing else.
    const token = readFileSync(world.path("scrape.token"), "utf8");
    for (const path of ["/v1/users", "/v1/agents", "/v1/config"]) {
      const { status } = await fetch(`${fleet.url}${path}`, { headers: { authorization: `Bearer ${token}` } });
      const shown = path === "/v1/agents" ? 200 : 403;
      expect([path, status]).toEqual([path, shown]);
    }

    await fleet.kill("web1");
    await until("the alert fires", async () => (await alerts("SynclineAgentSilent")).length === 1);
    expect((await alerts("SynclineAgentSilent"))[0]!.annotations["summary"]).toBe("Nothing is heard of the agent on web1");
    fleet.startAgain("web1");
    await until("the alert is over", async () => (await alerts("SynclineAgentSilent")).length === 0);
    await fleet.kill("hub");
    await until("the hub is missed", async () => (await alerts("SynclineHubDown")).length === 1);
  }, TEST_MS_MAX);
});
