import { describe, expect, test } from "bun:test";
import { SynclineError } from "#model/error.ts";
import { decide } from "#access/decide.ts";
import { readRoles } from "#access/roles-file.ts";

const complaint = (text: string): string => {
  try {
    readRoles(text, "roles.yaml");
  } catch (error) {
    expect(error).toBeInstanceOf(SynclineError);
    expect((error as SynclineError).code).toBe("USAGE");
    return (error as SynclineError).message;
  }
  throw new Error("the text was taken");
};

describe("roles in YAML", () => {
  test("[ACCESS-9] a file gives the roles that it writes down, beside the built-in ones", () => {
    const book = readRoles(
      `roles:
  - name: site-editor
    includes: [reader]
    rules:
      - {effect: allow, resource: space, actions: [write], names: [demo], prefixes: [/site/]}
      - {effect: deny, resource: space, actions: ["*"], prefixes: [site/keys]}
`,
      "roles.yaml",
    );
    const may = (action: "read" | "write", path: string): boolean =>
      decide(book, { id: "user:u", kind: "user", name: "u", roles: ["site-editor"], scopes: undefined }, undefined, action, { type: "space", space: "demo", path }).allowed;
    expect([may("write", "site/x"), may("write", "other"), may("read", "other"), may("read", "site/keys/k")]).toEqual([true, false, true, false]);
    expect(book.names()).toEqual(["admin", "agent", "operator", "reader", "site-editor", "writer"]);
  });

  test("[ACCESS-10] a complaint names file, line, column and key; all of them are told at once", () => {
    expect(complaint("roles:\n  - name: x\n    rules:\n      - {effect: perhaps, resource: space, actions: [read]}\n")).toStartWith(
      "roles.yaml:4:10: roles[0].rules[0].effect: ",
    );
    const two = complaint("roles:\n  - name: X!\n    colour: red\n  - name: y\n    rules: [{effect: allow, resource: host, actions: [read], prefixes: [a]}]\n");
    expect(two).toContain("roles.yaml:2:5: roles[0].name: 1 to 63 of a-z");
    expect(two).toContain("roles.yaml:3:5: roles[0].colour: there is no such key");
    expect(complaint("roles:\n  - name: y\n    rules: [{effect: allow, resource: host, actions: [read], prefixes: [a]}]\n")).toBe(
      "roles.yaml:3:62: roles[0].rules[0].prefixes: only rules of spaces have prefixes",
    );
    expect(complaint("roles:\n  - name: y\n    rules: [{effect: allow, resource: space, actions: [read], prefixes: [../a]}]\n")).toContain(
      "roles[0].rules[0].prefixes[0]: this is no path in a space",
    );
    expect(complaint("roles: [{name: a}, {name: a}]")).toBe('roles.yaml: role "a" is defined twice');
    expect(complaint("")).toStartWith("roles.yaml:1:1: ");
    expect(complaint("roles: []\nroles: []\n")).toStartWith("roles.yaml:2:1: ");
    expect(complaint("roles: [\n")).toStartWith("roles.yaml:");
  });

  test("[ACCESS-11] a text that grows by aliases, is nested without end or too large is refused", () => {
    const bomb = `a0: &a0 [x, x, x, x, x, x, x, x, x]\n${Array.from({ length: 12 }, (_, at) => `a${at + 1}: &a${at + 1} [${Array(9).fill(`*a${at}`).join(", ")}]`).join("\n")}\nroles: []\n`;
    expect(complaint(bomb)).toContain("alias");
    expect(complaint(`roles: ${"[".repeat(200_000)}`)).toStartWith("roles.yaml:");
    expect(complaint(`roles: [] #${"x".repeat(5 << 20)}`)).toContain("larger than");
  });
});
