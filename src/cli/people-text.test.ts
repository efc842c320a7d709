import { describe, expect, test } from "bun:test";
import type { UserJson } from "#gateway/api/routes-access.ts";
import { auditLines, groupLines, roleFacts, roleLines, sessionLines, userFacts, userLines } from "#cli/people-text.ts";
import { unknownRoleLines } from "#cli/unknown-roles.ts";
import type { Context } from "#cli/context.ts";
import { parse } from "#cli/parse.ts";
import { scopeWords, scopesOf } from "#cli/scopes.ts";
import { makePaint } from "#cli/screen.ts";
import { SynclineError } from "#model/error.ts";

const plain = makePaint(false);
const TIME = "2026-11-26T01:00:00.000Z";
const NOW = Date.parse(TIME) + 120_000;
const ESC = "\u001b[31m";
const user: UserJson = { name: "ann", roles: ["reader"], groups: [], hasPassword: true, oidc: "none", disabled: false, created: TIME };

describe("people in words", () => {
  test("[CLI-61] one line each, what keeps somebody out first to be seen", () => {
    const users = [user, { ...user, name: "bob", disabled: true, groups: ["crew"] }];
    expect(userLines(users, plain)).toEqual(["ann  password  reader", "bob  disabled  reader  in crew"]);
    expect(userFacts({ ...user, hasPassword: false }, NOW, plain)).toContain("password  none: tokens and keys alone");
    const role = { name: "ops", origin: "hub" as const, includes: ["reader"], rules: [{ effect: "deny" as const, resource: "space", actions: ["*"], prefixes: ["keys"] }] };
    expect(roleLines([role], plain)).toEqual(["ops  made here  1 rule  includes reader"]);
    expect(roleFacts(role, plain)).toEqual(["ops  made here", "  includes reader", "  deny  * of space  prefixes keys"]);
    const record = { seq: 7, time: TIME, actor: "user:ann", action: "sign-in", resource: "user:ann", outcome: "denied", address: "192.0.2.1" };
    expect(auditLines([record], plain, true)).toEqual([
      "7  2026-11-26 01:00:00 UTC  user:ann  sign-in denied  user:ann",
      "    from 192.0.2.1",
    ]);
  });

  test("[CLI-128] what a token or key may do at most is written and read the same", () => {
    const read = (...words: string[]) => scopesOf({ parsed: parse(["token", "create", "ann", "x", ...words.map((word) => `--scope=${word}`)], {}) } as unknown as Context);
    expect(read()).toBeUndefined();
    const rules = read("read:site:docs/a", "read,write:inbox", "*:*");
    expect(rules).toEqual([
      { effect: "allow", resource: "space", actions: ["read"], names: ["site"], prefixes: ["docs/a"] },
      { effect: "allow", resource: "space", actions: ["read", "write"], names: ["inbox"] },
      { effect: "allow", resource: "space", actions: ["*"] },
    ]);
    expect(scopeWords(rules)).toBe("read:site:docs/a read,write:inbox *:*");
    expect([scopeWords(undefined), scopeWords([])]).toEqual(["", "nothing"]);
    for (const odd of [{ effect: "deny" }, null, { ...rules![0], labels: ["x"] }]) expect(scopeWords([odd])).toBe("by-rules");
    for (const text of ["read", "read:", ":site", "fly:site", "read:SITE", "read:site:../x"]) expect(() => read(text)).toThrow(SynclineError);
  });

  test("[CLI-61] nothing of it reaches the terminal as it is", () => {
    const hostile = { ...user, roles: [`a${ESC}`], groups: [`b${ESC}`] };
    const session = { id: "1", user: "ann", created: TIME, seen: TIME, address: ESC, client: `x${ESC}` };
    const rules = [{ effect: "allow" as const, resource: "host", actions: ["read"], labels: [ESC] }];
    const record = { seq: 1, time: TIME, actor: ESC, action: "a", resource: ESC, outcome: "done", details: { name: ESC } };
    const all = [
      ...userLines([hostile], plain),
      ...userFacts(hostile, NOW, plain),
      ...groupLines([{ name: "g", roles: [ESC], created: TIME }], plain),
      ...roleFacts({ name: "r", origin: "hub", includes: [ESC], rules, fault: ESC }, plain),
      ...sessionLines([session], NOW, plain),
      ...auditLines([record], plain, true),
    ];
    expect(all.join("\n")).not.toContain("\u001b");
  });
});

test("[CLI-142] a role that does not exist is told when it is given, with the one that was probably meant", () => {
  const known = ["admin", "agent", "reader"];
  expect(unknownRoleLines(["reader", "admin"], known)).toEqual([]);
  expect(unknownRoleLines(["amdin", "reader", "auditors"], known)).toEqual([
    'role "amdin" does not exist: it allows nothing until it is made; did you mean "admin"?',
    'role "auditors" does not exist: it allows nothing until it is made',
  ]);
});
