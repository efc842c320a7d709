import { expect, test } from "bun:test";
import { readAgentFile } from "#config/agent-config.ts";

const LINES = `hub: https://hub:7830
name: web1
data: /var/lib/syncline
hooks: {after: systemctl reload nginx, timeout: 90s, onAfterFailure: rollback}
exclude: ["*.tmp"]
links:
  - root: /srv/site
    space: demo
    mode: one-way-replica
    from: space
    apply: release
    rates: [{window: "mon-fri 08:00-18:00", bytesPerSecond: 100000}]
  - {root: /srv/app, space: demo, prefix: app, priority: 5, install: ["npm:."]}
`;

test("[CONF-10] an agent's file holds what its options do, with every key of a link", () => {
  const file = readAgentFile(LINES, "agent.yaml");
  expect(file).toMatchObject({ hub: "https://hub:7830", hooks: { timeout: 90_000, onAfterFailure: "rollback" }, exclude: ["*.tmp"] });
  expect(file.links![0]).toMatchObject({ root: "/srv/site", prefix: "", settings: { apply: "release", settle: "throttle", keepReleases: 5 } });
  expect(file.links![1]).toMatchObject({ prefix: "app", settings: { priority: 5, install: ["npm:."] } });
  expect(readAgentFile("", "agent.yaml")).toEqual({});
});

test("[CONF-21] a collector of traces is named as for a hub, with a ratio that is a number or a text", () => {
  for (const ratio of ["0.25", '"0.25"']) {
    const text = `otlpEndpoint: http://127.0.0.1:4318\notlpHeadersFile: headers\ntraceRatio: ${ratio}\n`;
    expect(readAgentFile(text, "agent.yaml")).toEqual({ otlpEndpoint: "http://127.0.0.1:4318", otlpHeadersFile: "headers", traceRatio: "0.25" });
  }
  for (const wrong of ["otlpEndpoint: 127.0.0.1:4318", "otlpEndpoint: ftp://h", "traceRatio: 2", "traceRatio: half"]) {
    expect(() => readAgentFile(`${wrong}\n`, "agent.yaml")).toThrow(`${wrong.split(":")[0]}: write a`.replace("otlpEndpoint: write a", "otlpEndpoint: write the"));
  }
});

test("[CONF-11] what is wrong in it is told with file, line and key", () => {
  const told = (text: string): string => {
    try {
      readAgentFile(text, "agent.yaml");
      return "nothing";
    } catch (error) {
      return (error as Error).message;
    }
  };
  expect(told("hub: x\nhubb: y\n")).toMatch(/^agent\.yaml:2:\d+: hubb: there is no such key/);
  expect(told(LINES.replace("from: space", "from: spaces"))).toMatch(/^agent\.yaml:10:\d+: links\[0\]\.from: /);
  expect(told(LINES.replace("    from: space\n", ""))).toMatch(/^agent\.yaml:\d+:\d+: links\[0\]: apply=release/);
  expect(told(LINES.replace("08:00-18:00", "8-18"))).toMatch(/links\[0\]\.rates\[0\]\.window: write it like/);
  expect(told(LINES.replace("priority: 5", "prority: 5"))).toMatch(/links\[1\]\.prority: there is no such key/);
  expect(told("hooks: {timeout: soon}")).toMatch(/^agent\.yaml:1:\d+: hooks\.timeout: "soon" is no duration/);
  expect(told("links: {}")).toMatch(/^agent\.yaml:1:\d+: links: /);
});
