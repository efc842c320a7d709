import { describe, expect, test } from "bun:test";
import { resolveHubConfig, shownValue } from "#config/hub-config.ts";
import { HUB_KEY_NAMES, environmentOf, flagOf } from "#config/hub-keys.ts";

const none = { line: {}, environment: {}, files: [] };

function complaint(body: () => unknown): string {
  try {
    body();
  } catch (error) {
    return (error as Error).message;
  }
  return "no complaint";
}

describe("the configuration of a hub", () => {
  test("[CONF-1] the line wins over the environment, that over the file, that over the default, and all are told", () => {
    const file = { name: "hub.yaml", text: "listen: 10.0.0.1:1\ntlsNames: [a, b]\n" };
    const environment = { SYNCLINE_LISTEN: "10.0.0.2:2", SYNCLINE_TLS_NAMES: "c, d" };
    const { config, chains } = resolveHubConfig({ line: { listen: "10.0.0.3:3" }, environment, files: [file] });
    expect(config).toEqual({ listen: "10.0.0.3:3", tlsNames: ["c", "d"] });
    expect(chains.listen.map(({ source, value }) => [source, value])).toEqual([
      ["--listen", "10.0.0.3:3"],
      ["SYNCLINE_LISTEN", "10.0.0.2:2"],
      ["hub.yaml", "10.0.0.1:1"],
      ["default", "127.0.0.1:7830"],
    ]);
    expect(resolveHubConfig({ ...none, files: [file] }).config.listen).toBe("10.0.0.1:1");
  });

  test("[CONF-30] a file for this kind of host wins over the one for all, key by key", () => {
    const files = [
      { name: "hub.prod.yaml", text: "listen: 10.0.0.2:2\ntlsNames: [c]\n" },
      { name: "hub.yaml", text: "listen: 10.0.0.1:1\ntlsNames: [a, b]\ntls: always\n" },
    ];
    const { config, chains } = resolveHubConfig({ ...none, files });
    expect(config).toEqual({ listen: "10.0.0.2:2", tlsNames: ["c"], tls: "always" });
    expect(chains.listen.map(({ source }) => source)).toEqual(["hub.prod.yaml", "hub.yaml", "default"]);
    const broken = [{ name: "hub.prod.yaml", text: "tls: perhaps\n" }, files[1]!];
    expect(complaint(() => resolveHubConfig({ ...none, files: broken }))).toStartWith("hub.prod.yaml:1:1: tls:");
  });

  test("[CONF-2] what is wrong is named with file, line and key", () => {
    const read = (text: string) => complaint(() => resolveHubConfig({ ...none, files: [{ name: "hub.yaml", text }] }));
    expect(read("data: x\nlisten: nowhere\n")).toStartWith("hub.yaml:2:1: listen: HOST:PORT");
    expect(read("data: x\n\nlisten-on: y\n")).toStartWith("hub.yaml:3:1: listen-on: there is no such key");
    expect(read("data: [x\n")).toStartWith("hub.yaml:");
    const wrong = complaint(() => resolveHubConfig({ ...none, environment: { SYNCLINE_TLS: "perhaps" } }));
    expect(wrong).toStartWith("SYNCLINE_TLS:");
  });

  test("[CONF-1] an empty file and an empty variable say nothing", () => {
    const file = { name: "hub.yaml", text: "# nothing yet\n" };
    expect(resolveHubConfig({ line: {}, environment: { SYNCLINE_LISTEN: "" }, files: [file] }).config).toEqual({});
  });

  test("[CONF-3] a password in the URL of a database is never shown", () => {
    const url = "postgres://syncline:secret@db/hub";
    expect(shownValue("database", url)).not.toContain("secret");
    expect(complaint(() => resolveHubConfig({ ...none, line: { database: "mysql://a:secret@b" } }))).not.toContain("secret");
  });

  test("[CONF-1] names on the line and in the environment follow from the key", () => {
    expect(HUB_KEY_NAMES.map((key) => [flagOf(key), environmentOf(key)])).toContainEqual([
      "tls-names",
      "SYNCLINE_TLS_NAMES",
    ]);
  });
});
