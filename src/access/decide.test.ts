import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ACTIONS, type Action, type Principal, RESOURCE_TYPES, type Resource, type Role, type Rule, systemPrincipal } from "#access/access.ts";
import { RoleBook, decide, reaches } from "#access/decide.ts";

const NAMES = ["a", "ab", "abc", "b"];
const PATHS = ["", "a", "ab", "a/b", "a/b/c", "b", "a/bc"];
const LABELS = ["web", "db"];

const resources: fc.Arbitrary<Resource> = fc.oneof(
  fc.record({
    type: fc.constant("space" as const),
    space: fc.constantFrom(...NAMES),
    path: fc.constantFrom(...PATHS),
    isTree: fc.boolean(),
  }),
  fc.record({ type: fc.constant("host" as const), host: fc.constantFrom(...NAMES), labels: fc.subarray(LABELS) }),
  fc.record({ type: fc.constantFrom("job", "token", "audit" as const), name: fc.constantFrom(...NAMES) }),
);
const actions: fc.Arbitrary<Action> = fc.constantFrom(...ACTIONS);
const rulesOf = (effect: fc.Arbitrary<"allow" | "deny">): fc.Arbitrary<Rule> =>
  fc.record(
    {
      effect,
      resource: fc.constantFrom(...RESOURCE_TYPES.filter((type) => ["space", "host", "job"].includes(type)), "*" as const),
      actions: fc.subarray([...ACTIONS, "*" as const], { minLength: 1 }),
      names: fc.subarray([...NAMES, "a*", "*"], { minLength: 1 }),
      prefixes: fc.subarray(PATHS, { minLength: 1 }),
      labels: fc.subarray(LABELS, { minLength: 1 }),
    },
    { requiredKeys: ["effect", "resource", "actions"] },
  );
const anyRule = rulesOf(fc.constantFrom("allow", "deny"));

const user = (roles: readonly string[], scopes?: readonly Rule[]): Principal => ({ id: "user:u", kind: "user", name: "u", roles, scopes });
const bookOf = (rules: readonly Rule[]): RoleBook => new RoleBook([{ name: "r", includes: [], rules }]);
const allowed = (book: RoleBook, who: Principal, action: Action, resource: Resource): boolean =>
  decide(book, who, undefined, action, resource).allowed;

/** The rules as the contract tells them, said a second time and without any thought of speed. */
function meant(rules: readonly Rule[], action: Action, resource: Resource): boolean {
  const below = (path: string, dir: string): boolean => dir === "" || `${path}/`.startsWith(`${dir}/`);
  const fits = (rule: Rule): boolean => {
    const name = resource.type === "space" ? resource.space : resource.type === "host" ? resource.host : resource.name;
    const named = (pattern: string): boolean =>
      pattern.endsWith("*") ? name.slice(0, pattern.length - 1) === pattern.slice(0, -1) : pattern === name;
    return (
      ["*", resource.type].includes(rule.resource) &&
      rule.actions.some((one) => one === "*" || one === action) &&
      (rule.names?.some(named) ?? true) &&
      (rule.labels === undefined || (resource.type === "host" && rule.labels.some((label) => resource.labels.includes(label)))) &&
      (rule.prefixes === undefined ||
        (resource.type === "space" &&
          rule.prefixes.some(
            (prefix) =>
              below(resource.path, prefix) || (rule.effect === "deny" && resource.isTree === true && below(prefix, resource.path)),
          )))
    );
  };
  const fitting = rules.filter(fits);
  return fitting.some((rule) => rule.effect === "allow") && !fitting.some((rule) => rule.effect === "deny");
}

describe("decide", () => {
  test("[ACCESS-1] nothing is allowed without a rule that allows it, and the reason says so", () => {
    fc.assert(
      fc.property(actions, resources, (action, resource) => {
        expect(allowed(bookOf([]), user(["r"]), action, resource)).toBe(false);
        expect(allowed(bookOf([]), user([]), action, resource)).toBe(false);
        expect(allowed(bookOf([]), user(["gone"]), action, resource)).toBe(false);
      }),
    );
    const decision = decide(bookOf([]), user(["r"]), undefined, "read", { type: "space", space: "demo", path: "a/b" });
    expect(decision.reason).toBe("no rule of r to allow read of space demo/a/b");
  });

  test("[ACCESS-2] a deny that matches wins over every allow, in any order and over any split into roles", () => {
    fc.assert(
      fc.property(fc.array(anyRule, { maxLength: 8 }), fc.nat(), actions, resources, (rules, seed, action, resource) => {
        const wanted = meant(rules, action, resource);
        expect(allowed(bookOf(rules), user(["r"]), action, resource)).toBe(wanted);
        const turned = rules.length === 0 ? [] : [...rules.slice(seed % rules.length), ...rules.slice(0, seed % rules.length)].reverse();
        const roles: Role[] = turned.map((rule, at) => ({ name: `r${at}`, includes: [], rules: [rule] }));
        expect(allowed(new RoleBook(roles), user(roles.map((role) => role.name)), action, resource)).toBe(wanted);
      }),
      { numRuns: 1_000 },
    );
  });

  test("[ACCESS-3] scopes and links never widen", () => {
    const lists = fc.array(anyRule, { maxLength: 5 });
    fc.assert(
      fc.property(lists, lists, lists, actions, resources, (rules, scopes, links, action, resource) => {
        const book = bookOf(rules);
        const both = decide(book, user(["r"], scopes), links, action, resource).allowed;
        expect(both).toBe([rules, scopes, links].every((gate) => meant(gate, action, resource)));
        if (both) expect(allowed(book, user(["r"]), action, resource)).toBe(true);
      }),
      { numRuns: 1_000 },
    );
    expect(allowed(bookOf([]), user(["admin"], []), "read", { type: "hub", name: "hub" })).toBe(false);
  });

  test("[ACCESS-4] roles include roles, in any order and along any way; circles and unknown ones are refused", () => {
    const graph = fc.array(fc.tuple(anyRule, fc.array(fc.nat({ max: 7 }), { maxLength: 3 })), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(graph, actions, resources, (nodes, action, resource) => {
        // Each includes later ones only: no circle.
        const roles: Role[] = nodes.map(([rule, ends], at) => ({
          name: `r${at}`,
          rules: [rule],
          includes: [...new Set(ends.filter((end) => end > at && end < nodes.length).map((end) => `r${end}`))],
        }));
        const reached = new Set<string>();
        const walk = (name: string): void => {
          reached.add(name);
          for (const next of roles[Number(name.slice(1))]!.includes) walk(next);
        };
        walk("r0");
        const wanted = meant(roles.filter((role) => reached.has(role.name)).flatMap((role) => role.rules), action, resource);
        const turned = roles.map((role) => ({ ...role, includes: role.includes.toReversed() })).toReversed();
        for (const list of [roles, turned]) expect(allowed(new RoleBook(list), user(["r0"]), action, resource)).toBe(wanted);
      }),
    );
    const role = (name: string, ...includes: string[]): Role => ({ name, includes, rules: [] });
    expect(() => new RoleBook([role("a", "b"), role("b", "c"), role("c", "b")])).toThrow("roles include each other: a → b → c → b");
    expect(() => new RoleBook([role("a", "a")])).toThrow("roles include each other");
    expect(() => new RoleBook([role("a", "nobody")])).toThrow('role "a" includes "nobody", which does not exist');
    expect(() => new RoleBook([role("admin")])).toThrow('role "admin" is defined twice');
    // A chain as long as the book costs no stack.
    const chain = Array.from({ length: 900 }, (_, at) => role(`c${at}`, ...(at < 899 ? [`c${at + 1}`] : [])));
    expect(new RoleBook(chain).sources("c0")).toHaveLength(900);
  });

  test('[ACCESS-5] prefixes count by components: "a" is never "ab"; names end in "*" or are whole', () => {
    const at = (path: string): Resource => ({ type: "space", space: "web-1", path });
    const rule = (more: Partial<Rule>): RoleBook => bookOf([{ effect: "allow", resource: "space", actions: ["read"], ...more }]);
    for (const [path, wanted] of [["a", true], ["a/b", true], ["ab", false], ["", false], ["b/a", false]] as const)
      expect(allowed(rule({ prefixes: ["a"] }), user(["r"]), "read", at(path))).toBe(wanted);
    for (const [name, wanted] of [["web-*", true], ["web-1*", true], ["*", true], ["web", false], ["w*b-1", false]] as const)
      expect(allowed(rule({ names: [name] }), user(["r"]), "read", at("x"))).toBe(wanted);
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z]{1,5}$/), fc.stringMatching(/^[a-z.]{1,5}$/), (prefix, more) => {
        expect(allowed(rule({ prefixes: [prefix] }), user(["r"]), "read", at(prefix + more))).toBe(false);
      }),
    );
  });

  test("[ACCESS-6] what reaches below a path is exactly what some path there allows", () => {
    const deep = [...PATHS, "a/b/c/d", "b/x"];
    const lists = fc.array(anyRule, { maxLength: 5 });
    fc.assert(
      fc.property(lists, fc.option(lists, { nil: undefined }), actions, fc.constantFrom(...NAMES), fc.constantFrom(...PATHS), (rules, scopes, action, space, path) => {
        const book = bookOf(rules);
        const who = user(["r"], scopes);
        const some = deep.some(
          (one) => (path === "" || one === path || one.startsWith(`${path}/`)) && allowed(book, who, action, { type: "space", space, path: one }),
        );
        expect(reaches(book, who, undefined, action, space, path)).toBe(some);
      }),
      { numRuns: 2_000 },
    );
  });

  test("[ACCESS-7] an action on a whole tree is refused when anything below the path is denied", () => {
    const book = bookOf([
      { effect: "allow", resource: "space", actions: ["*"] },
      { effect: "deny", resource: "space", actions: ["write"], prefixes: ["a/keys"] },
    ]);
    const tree = (path: string): Resource => ({ type: "space", space: "s", path, isTree: true });
    expect(allowed(book, user(["r"]), "write", tree("a"))).toBe(false);
    expect(allowed(book, user(["r"]), "write", tree(""))).toBe(false);
    expect(allowed(book, user(["r"]), "write", tree("b"))).toBe(true);
    expect(allowed(book, user(["r"]), "read", tree("a"))).toBe(true);
    expect(allowed(book, user(["r"]), "write", { type: "space", space: "s", path: "a" })).toBe(true);
    // An allow reaches down, never up.
    const below = bookOf([{ effect: "allow", resource: "space", actions: ["*"], prefixes: ["a/b"] }]);
    expect([tree("a"), tree("a/b"), tree("a/b/c")].map((one) => allowed(below, user(["r"]), "write", one))).toEqual([false, true, true]);
  });

  test("[ACCESS-8] the built-in roles do what they say", () => {
    const book = new RoleBook([]);
    const may = (role: string, action: Action, type: Resource["type"]): boolean =>
      allowed(book, user([role]), action, type === "space" ? { type, space: "s", path: "" } : type === "host" ? { type, host: "h", labels: [] } : { type, name: "n" });
    const can = (role: string): string[] =>
      RESOURCE_TYPES.flatMap((type) => ACTIONS.filter((action) => may(role, action, type)).map((action) => `${type}:${action}`));
    expect(can("admin")).toHaveLength(RESOURCE_TYPES.length * ACTIONS.length);
    expect(can("operator").filter((one) => !one.endsWith(":read"))).toEqual(
      ["space", "host", "job"].flatMap((type) => ACTIONS.filter((action) => action !== "read").map((action) => `${type}:${action}`)),
    );
    expect(can("operator").filter((one) => one.endsWith(":read"))).toHaveLength(RESOURCE_TYPES.length);
    expect(can("writer")).toEqual(["space:read", "space:write", "space:restore", "host:read", "job:read"]);
    expect(can("reader")).toEqual(["space:read", "host:read", "job:read"]);
    expect(can("agent")).toEqual(["space:read", "space:write"]);
    expect(allowed(book, systemPrincipal("prune"), "manage", { type: "hub", name: "hub" })).toBe(true);
  });
});
