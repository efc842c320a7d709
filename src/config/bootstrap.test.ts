import { describe, expect, test } from "bun:test";
import { SynclineError } from "#model/error.ts";
import { type Applied, type BootstrapKind, type BootstrapTarget, applyBootstrap, readBootstrap } from "#config/bootstrap.ts";

const EXAMPLE = `
spaces: [{name: demo, quotaBytes: 10GiB}]
users: [{name: admin, password: change-me, roles: [admin]}]
tokens: [{user: admin, value: 0123456789abcdef0123456789abcdef}]
s3Keys: [{user: admin, accessKey: DEMOKEY, secretKey: demosecretdemosecretdemosecret12}]
sshKeys: [{user: admin, key: "ssh-ed25519 AAAA... admin"}]
joinTokens: [{value: fedcba9876543210fedcba9876543210}]
links: [{host: web1, root: /srv/site, space: demo, prefix: site, mode: two-way-safe, settle: immediate}]
`;

/** Remembers what was applied: the first time an item is made, then it is the same. */
function recorder(): { target: BootstrapTarget; order: BootstrapKind[] } {
  const order: BootstrapKind[] = [];
  const seen = new Set<string>();
  const take =
    (kind: BootstrapKind) =>
    (item: unknown): Promise<Applied> => {
      order.push(kind);
      const key = JSON.stringify([kind, item]);
      const applied = seen.has(key) ? "same" : "made";
      seen.add(key);
      return Promise.resolve(applied);
    };
  const kinds = ["links", "joinTokens", "sshKeys", "s3Keys", "tokens", "users", "groups", "roles", "spaces"] as const;
  return { target: Object.fromEntries(kinds.map((kind) => [kind, take(kind)])) as unknown as BootstrapTarget, order };
}

describe("the bootstrap file", () => {
  test("[CONF-4] the documented file is read, sizes as people write them", () => {
    const file = readBootstrap(EXAMPLE, "hub.yaml");
    expect(file.spaces).toEqual([{ name: "demo", quotaBytes: 10 * 2 ** 30 }]);
    expect(file.links[0]).toMatchObject({ host: "web1", prefix: "site" });
    expect(file.tokens[0]!.value).toHaveLength(32);
  });

  test("[CONF-5] things are applied in the order in which they need each other; no secret is logged", async () => {
    const { target, order } = recorder();
    const lines: string[] = [];
    const file = readBootstrap(EXAMPLE, "hub.yaml");
    const log = (done: string, kind: string, label: string): void => void lines.push(`${done} ${kind} ${label}`);
    expect(await applyBootstrap(file, target, log)).toEqual({ made: 7, changed: 0, same: 0 });
    expect(order).toEqual(["spaces", "users", "tokens", "s3Keys", "sshKeys", "joinTokens", "links"]);
    expect(lines.join("\n")).not.toMatch(/0123456789|demosecret|fedcba|change-me|AAAA/);
    lines.length = 0;
    expect(await applyBootstrap(file, target, log)).toEqual({ made: 0, changed: 0, same: 7 });
    expect(lines).toEqual([]);
  });

  test.each([
    ["spaces: [{name: demo, quotaBytes: many}]", "hub.yaml:1:23: spaces[0].quotaBytes"],
    ["users:\n  - {name: a, pasword: b}", "hub.yaml:2:15: users[0].pasword: there is no such key"],
    ["user: []", "hub.yaml:1:1: user: there is no such key"],
    ["tokens: [{user: a}]", "hub.yaml:1:10: tokens[0].value: it is missing"],
    ["spaces: [{name: 2024}]", "hub.yaml:1:11: spaces[0].name: this is text: put it in quotes"],
  ])("[CONF-4] %p is refused with its place", (text, expected) => {
    expect(() => readBootstrap(text, "hub.yaml")).toThrow(expected);
  });

  test("[CONF-4] everything that is wrong is told at once, in the order of the file", () => {
    const text = "spaces: [{name: a, quotaByte: 1, ignored: b}]\nuser: []\ntokens: [{user: a}]\nlink: []\n";
    const lines = (() => {
      try {
        readBootstrap(text, "hub.yaml");
      } catch (error) {
        return (error as Error).message.split("\n").map((line) => line.split(":").slice(1, 4).join(":").replace(/:\d+/, ""));
      }
      return [];
    })();
    expect(lines).toEqual(["1: spaces[0].quotaByte", "1: spaces[0].ignored", "2: user", "3: tokens[0].value", "4: link"]);
  });

  test("[CONF-32] an item that names what is not there is told by its place in the file", async () => {
    const { target } = recorder();
    const none = new SynclineError({ code: "NOT_FOUND", op: "create token", message: 'there is no user "bob"' });
    const file = readBootstrap(`tokens: [{user: bob, value: ${"a".repeat(32)}}]`, "hub.yaml");
    const applied = applyBootstrap(file, { ...target, tokens: () => Promise.reject(none) }, () => undefined);
    await expect(applied).rejects.toMatchObject({ code: "USAGE", message: 'bootstrap file: tokens[0]: there is no user "bob"' });
  });

  test("[CONF-4] an empty file asks for nothing", () => {
    expect(readBootstrap("", "hub.yaml").spaces).toEqual([]);
  });

  test("[FOLLOW-18] a space that follows another hub has an address and one token, given or in a file", () => {
    const read = (item: string) => readBootstrap(`follow: [${item}]`, "hub.yaml").follow;
    expect(read('{space: demo, from: "https://hub1:7830", as: copy, tokenFile: /run/token}')).toEqual([
      { space: "demo", from: "https://hub1:7830", as: "copy", tokenFile: "/run/token" },
    ]);
    for (const item of ['{space: demo, from: "https://hub1"}', '{space: demo, from: "https://hub1", token: a, tokenFile: b}', "{space: demo, from: hub1, token: a}"]) {
      expect(() => read(item)).toThrow(/hub.yaml/);
    }
  });
});
