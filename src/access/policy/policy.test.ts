import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type Action, ANONYMOUS, type Principal, type Role, askingAs, systemPrincipal } from "#access/access.ts";
import { RoleBook, decide, reaches } from "#access/decide.ts";
import { explainPolicy } from "#access/policy/explain-policy.ts";
import { coversTree, exampleBelow, matchesGlob } from "#access/policy/glob.ts";
import { parsePolicy } from "#access/policy/parse-policy.ts";
import { type Asking, type Policy, policySays } from "#access/policy/policy.ts";
import { SynclineError } from "#model/error.ts";

const person = (name: string, ...roles: string[]): Principal => ({ id: `user:${name}`, kind: "user", name, roles, scopes: undefined });
const ANN = person("ann");
const BOB = person("bob");

type Facts = Readonly<Record<string, string>>;

const asking = (action: Action, name: string | readonly string[], facts: Facts = {}, key = "k"): Asking => ({
  names: { [action]: [name].flat() },
  key,
  fact: (one) => facts[one],
});

const policyOf = (...statements: object[]): Policy =>
  parsePolicy(JSON.stringify({ Version: "2012-10-17", Statement: statements }), "b");

const arn = (tail: string): string => `arn:aws:s3:::b${tail}`;
const ALLOW = { Effect: "Allow", Principal: { AWS: "ann" }, Action: "s3:GetObject", Resource: arn("/pub/*") };
const DENY = { ...ALLOW, Effect: "Deny" };

const said = (policy: Policy, who: Principal, action: Action, path: string, isTree = false): string => {
  const voice = policySays(policy, who, action, { type: "space", space: "b", path, isTree });
  return voice === undefined ? "nothing" : voice.isAllow ? "allow" : "deny";
};

function refusal(policy: unknown): string {
  try {
    parsePolicy(typeof policy === "string" ? policy : JSON.stringify(policy), "b");
    return "taken";
  } catch (error) {
    if (!(error instanceof SynclineError) || error.code !== "USAGE") throw error;
    return error.message;
  }
}
const refusalOf = (more: object): string => refusal({ Version: "2012-10-17", Statement: [{ ...ALLOW, ...more }] });

describe("patterns of policies", () => {
  const pattern = fc.string({ unit: fc.constantFrom("a", "b", "/", "*", "?"), maxLength: 8 });
  const text = fc.string({ unit: fc.constantFrom("a", "b", "/", "."), maxLength: 8 });
  const meant = (glob: string): RegExp =>
    new RegExp(`^${glob.replaceAll(/[.\\]/g, "\\$&").replaceAll("*", "[^]*").replaceAll("?", "[^]")}$`);

  test("[POLICY-1] a star is any text and a question mark one character; below a text is what begins with it", () => {
    fc.assert(
      fc.property(pattern, text, fc.array(text, { maxLength: 6 }), (glob, one, ends) => {
        expect(matchesGlob(glob, one)).toBe(meant(glob).test(one));
        for (const end of ends) {
          if (matchesGlob(glob, one + end)) expect(exampleBelow(glob, one)).toBeDefined();
          if (coversTree(glob, one)) expect(matchesGlob(glob, one === "" ? end : `${one}/${end}`)).toBe(true);
        }
        const example = exampleBelow(glob, one);
        if (example !== undefined) expect([example.startsWith(one), matchesGlob(glob, example)]).toEqual([true, true]);
      }),
      { numRuns: 3_000 },
    );
    // What backtracks must not hang.
    expect(matchesGlob(`${"a*".repeat(500)}b`, "a".repeat(1_024))).toBe(false);
    expect(exampleBelow(`${"a*".repeat(500)}b`, "a".repeat(1_024))).toBe(`${"a".repeat(1_024)}b`);
  });
});

describe("reading policies", () => {
  test("[POLICY-2] everything is understood, or all is refused with what is not", () => {
    expect(refusalOf({})).toBe("taken");
    expect(refusalOf({ Sid: "x", Principal: { AWS: ["arn:aws:iam::123456789012:user/team/ann", "bob"] } })).toBe("taken");
    expect(refusalOf({ Resource: "*" })).toBe("taken");
    const wrong: readonly [object, string][] = [
      [{ NotPrincipal: "*" }, "NotPrincipal"],
      [{ Principal: { Federated: "x" } }, "Principal"],
      [{ Principal: { CanonicalUser: "x" } }, "Principal"],
      [{ Principal: undefined }, "Principal"],
      [{ Principal: { AWS: "arn:aws:iam::1:role/x" } }, "no user"],
      [{ Principal: { AWS: ["*", "ann"] } }, "beside"],
      [{ Effect: "allow" }, "Effect"],
      [{ Action: "s3:GetObjects" }, "not known"],
      [{ Action: "ec2:Run*" }, "not known"],
      [{ Action: [] }, "Action"],
      [{ NotAction: "s3:GetObject" }, "either Action or NotAction"],
      [{ NotResource: arn("/x") }, "either Resource or NotResource"],
      [{ Resource: "arn:aws:s3:::other/*" }, "not this bucket"],
      [{ Resource: "arn:aws:s3:::b*" }, "not this bucket"],
      [{ Resource: arn("") }, "which the statement does not name"],
      [{ Action: "s3:ListBucket" }, "which the statement does not name"],
      [{ Action: "s3:PutBucketCORS", Resource: arn("") }, "manage"],
      [{ Action: "s3:PutBucketPolicy", Resource: arn("") }, "roles of the hub alone"],
      [{ Condition: { StringEquals: { "s3:unheard": "x" } } }, "not known"],
      [{ Condition: { StringMaybe: { "s3:prefix": "x" } } }, "not known"],
      [{ Condition: { "ForAnyValue:StringEquals": { "s3:prefix": "x" } } }, "sets"],
      [{ Condition: { NumericEquals: { "s3:prefix": "1" } } }, "cannot be asked"],
      [{ Condition: { NumericEquals: { "s3:max-keys": "many" } } }, "no value"],
      [{ Condition: { IpAddress: { "aws:SourceIp": "10.0.0.0/33" } } }, "no value"],
      [{ Condition: { Bool: { "aws:SecureTransport": "yes" } } }, "no value"],
      [{ Condition: { StringEquals: { "s3:prefix": [{}] } } }, "no text"],
      [{ Condition: { StringEquals: {} } }, "keys and values"],
      [{ Resource: arn("/${aws:userid}/*") }, "variables"],
      [{ Extra: 1 }, "not known in a statement"],
      [{ Sid: "\n" }, "Sid"],
      [{ Principal: "*", Action: "s3:*" }, "only be allowed to read"],
      [{ Principal: { AWS: "*" }, Action: "s3:PutObject" }, "only be allowed to read"],
      [{ Principal: "*", Action: undefined, NotAction: "s3:PutObject" }, "only be allowed to read"],
    ];
    for (const [more, words] of wrong) expect([more, refusalOf(more)]).toEqual([more, expect.stringContaining(words)]);
    expect(refusal("{")).toContain("JSON");
    expect(refusal("[]")).toContain("object");
    expect(refusal({ Version: "2020-01-01", Statement: [ALLOW] })).toContain("Version");
    expect(refusal({ Statement: [] })).toContain("no statement");
    expect(refusal({ Statement: ALLOW })).toBe("taken");
    expect(refusal({ Statement: [{ ...ALLOW, Resource: arn("/${aws:username}/*") }] })).toContain("variables");
    expect(refusal({ Statement: [{ ...ALLOW, Sid: "a" }, { ...DENY, Sid: "a" }] })).toContain("same Sid");
    expect(refusal({ Other: 1, Statement: [ALLOW] })).toContain("not known");
    expect(refusal(JSON.stringify({ Statement: [ALLOW] }).replace("{", `{"Id":"${"x".repeat(20 << 10)}",`))).toContain("bytes");
  });

  test("[POLICY-3] a name that is written twice in an object is refused, however it is spelled", () => {
    const text = JSON.stringify({ Statement: [ALLOW] });
    expect(refusal(text.replace('"Effect":"Allow"', '"Effect":"Deny","Effect":"Allow"'))).toContain("twice");
    expect(refusal(text.replace('"Effect":"Allow"', '"Effect":"Deny","\\u0045ffect":"Allow"'))).toContain("twice");
    expect(refusal(text.replace('"Effect"', '"Sid":"{\\"a\\":1,\\"a\\":[","Effect"'))).toBe("taken");
  });

  test("[POLICY-4] garbage ends in words, never otherwise; what is taken can be asked anything", () => {
    const words = fc.constantFrom("*", "Allow", "Deny", "ann", "s3:*", "s3:GetObject", arn("/*"), arn(""), "AWS", "2012-10-17", "", "${", "[");
    const leaf = fc.oneof(words, fc.integer(), fc.boolean(), fc.constant(null));
    const names = fc.constantFrom("Version", "Statement", "Effect", "Principal", "Action", "Resource", "Condition", "AWS", "StringLike", "s3:prefix");
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof({ maxDepth: 4 }, leaf, fc.array(tie("tree"), { maxLength: 3 }), fc.dictionary(names, tie("tree"), { maxKeys: 6 })),
    }));
    fc.assert(fc.property(tree, (given) => void refusal(given)), { numRuns: 2_000 });
    fc.assert(fc.property(fc.string({ maxLength: 60 }), (given) => void refusal(given)));
    const text = JSON.stringify({ Version: "2012-10-17", Statement: [{ ...ALLOW, Condition: { StringLike: { "s3:prefix": "a*" } } }] });
    for (let at = 0; at < text.length; at++) expect(refusal(text.slice(0, at))).not.toBe("taken");
    const one = fc.record({
      Effect: fc.constantFrom("Allow", "Deny"),
      Principal: fc.constantFrom({ AWS: "ann" }, { AWS: ["ann", "bob"] }),
      Action: fc.constantFrom("s3:Get*", "s3:GetObject", "s3:*", "*"),
      Resource: fc.constantFrom(arn("/*"), "*", arn("/a?/*"), arn("/${aws:username}/*")),
    });
    fc.assert(
      fc.property(fc.array(one, { minLength: 1, maxLength: 4 }), fc.string({ maxLength: 20 }), fc.boolean(), (all, path, isTree) => {
        const policy = policyOf(...all);
        for (const who of [ANN, ANONYMOUS, askingAs(ANN, asking("read", "s3:GetObject"))]) said(policy, who, "read", path, isTree);
      }),
    );
  });
});

describe("what a policy says", () => {
  const get = (who: Principal, facts?: Facts): Principal => askingAs(who, asking("read", "s3:GetObject", facts));
  const list = (who: Principal, facts?: Facts): Principal => askingAs(who, asking("read", "s3:ListBucket", facts, ""));

  test("[POLICY-5] an allow is for the users, actions and keys that it names; a deny wins over it", () => {
    const policy = policyOf(ALLOW, { ...DENY, Resource: arn("/pub/secret*") });
    expect(said(policy, get(ANN), "read", "pub/a")).toBe("allow");
    expect(said(policy, get(ANN), "read", "pub/secret/a")).toBe("deny");
    expect(said(policy, get(ANN), "read", "public")).toBe("nothing");
    expect(said(policy, get(BOB), "read", "pub/a")).toBe("nothing");
    expect(said(policy, list(ANN), "read", "pub/a")).toBe("nothing");
    expect(said(policy, askingAs(ANN, asking("write", "s3:PutObject")), "write", "pub/a")).toBe("nothing");
    // Where a request does two things, both must be allowed.
    expect(said(policy, askingAs(ANN, asking("read", ["s3:GetObject", "s3:GetObjectVersion"])), "read", "pub/a")).toBe("nothing");
    const both = policyOf({ ...ALLOW, Action: ["S3:getobject", "s3:GetObjectV*"] });
    expect(said(both, askingAs(ANN, asking("read", ["s3:GetObject", "s3:GetObjectVersion"])), "read", "pub/a")).toBe("allow");
    const home = policyOf({ ...ALLOW, Principal: { AWS: ["ann", "bob"] }, Resource: arn("/home/${aws:username}/*") });
    expect([said(home, get(ANN), "read", "home/ann/x"), said(home, get(BOB), "read", "home/ann/x")]).toEqual(["allow", "nothing"]);
    const rest = policyOf({ Effect: "Deny", Principal: "*", NotAction: "s3:GetObject", NotResource: arn("/pub/*") });
    expect([said(rest, get(ANN), "read", "x"), said(rest, askingAs(ANN, asking("write", "s3:PutObject")), "write", "x")]).toEqual(["nothing", "deny"]);
    expect(said(rest, askingAs(ANN, asking("write", "s3:PutObject")), "write", "pub/x")).toBe("nothing");
  });

  test("[POLICY-6] settings are never given, and hosts and the hub itself go by no policy", () => {
    const all = policyOf({ ...ALLOW, Action: "s3:*", Resource: "*" });
    expect(said(all, askingAs(ANN, asking("manage", "s3:PutBucketVersioning", {}, "")), "manage", "")).toBe("nothing");
    const none = policyOf({ Effect: "Deny", Principal: "*", Action: "s3:*", Resource: "*" });
    expect(said(none, askingAs(ANN, asking("manage", "s3:PutBucketVersioning", {}, "")), "manage", "")).toBe("deny");
    for (const who of [systemPrincipal("prune"), { ...ANN, kind: "agent" } as const]) {
      expect(said(none, who, "write", "x")).toBe("nothing");
      expect(said(none, get(who), "read", "x")).toBe("nothing");
    }
  });

  test("[POLICY-7] conditions hold as S3 has them, also where a request says nothing", () => {
    const holds = (condition: object, facts: Facts): boolean => said(policyOf({ ...ALLOW, Condition: condition }), get(ANN, facts), "read", "pub/a") === "allow";
    const is = (operator: string, key: string, value: unknown, fact: string): boolean => holds({ [operator]: { [key]: value } }, { [key.toLowerCase()]: fact });
    expect(is("IpAddress", "aws:SourceIp", ["10.0.0.0/8", "2001:db8::/32"], "10.1.2.3")).toBe(true);
    expect(is("IpAddress", "aws:SourceIp", "10.0.0.0/8", "::ffff:10.1.2.3")).toBe(true);
    expect(is("IpAddress", "aws:SourceIp", "10.0.0.0/8", "11.1.2.3")).toBe(false);
    expect(is("NotIpAddress", "aws:SourceIp", "10.0.0.0/8", "11.1.2.3")).toBe(true);
    expect(is("Bool", "aws:SecureTransport", true, "true")).toBe(true);
    expect(is("Bool", "aws:SecureTransport", "false", "true")).toBe(false);
    expect(is("StringLike", "s3:prefix", "home/${aws:username}/*", "home/ann/x")).toBe(true);
    expect(is("StringNotLike", "s3:prefix", ["a*", "b*"], "box")).toBe(false);
    expect(is("StringEqualsIgnoreCase", "aws:UserAgent", "CURL", "curl")).toBe(true);
    expect(is("NumericLessThanEquals", "s3:max-keys", "10", "10")).toBe(true);
    expect(is("NumericLessThan", "s3:max-keys", 10, "10")).toBe(false);
    expect(is("DateGreaterThan", "aws:CurrentTime", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00.000Z")).toBe(true);
    const unsaid = (condition: object): boolean => holds(condition, {});
    expect(unsaid({ StringEquals: { "s3:x-amz-acl": "private" } })).toBe(false);
    expect(unsaid({ StringNotEquals: { "s3:x-amz-acl": "private" } })).toBe(true);
    expect(unsaid({ StringEqualsIfExists: { "s3:x-amz-acl": "private" } })).toBe(true);
    expect(unsaid({ Null: { "s3:x-amz-acl": "true" } })).toBe(true);
    expect(holds({ Null: { "s3:x-amz-acl": "true" } }, { "s3:x-amz-acl": "private" })).toBe(false);
    // All of them must hold.
    const two = { StringEquals: { "s3:x-amz-acl": "private" }, Bool: { "aws:SecureTransport": "true" } };
    expect([holds(two, { "s3:x-amz-acl": "private", "aws:securetransport": "true" }), holds(two, { "s3:x-amz-acl": "private" })]).toEqual([true, false]);
  });

  test("[POLICY-8] at other doors a policy gives nothing, and denies what it denies without conditions", () => {
    expect(said(policyOf({ ...ALLOW, Resource: "*", Action: "s3:*" }), ANN, "read", "x")).toBe("nothing");
    const removals = policyOf({ ...DENY, Action: "s3:DeleteObject", Resource: arn("/kept/*") });
    expect([said(removals, ANN, "write", "kept/a"), said(removals, ANN, "restore", "kept/a")]).toEqual(["deny", "deny"]);
    expect([said(removals, ANN, "read", "kept/a"), said(removals, BOB, "write", "kept/a")]).toEqual(["nothing", "nothing"]);
    expect(said(policyOf({ ...DENY, Action: "s3:ListBucket", Resource: arn("") }), ANN, "read", "x")).toBe("deny");
    const plain = policyOf({ ...DENY, Resource: "*", Condition: { Bool: { "aws:SecureTransport": "false" } } });
    expect(said(plain, ANN, "read", "x")).toBe("nothing");
    expect(said(policyOf({ ...DENY, Resource: arn("/a/b*") }), ANN, "read", "a", true)).toBe("deny");
    expect(said(policyOf({ ...DENY, Resource: arn("/a/b*") }), ANN, "read", "c", true)).toBe("nothing");
    const only = policyOf({ Effect: "Deny", Principal: "*", Action: "s3:Get*", NotResource: arn("/pub/*") });
    expect([said(only, ANN, "read", "pub/x", true), said(only, ANN, "read", "pub", true)]).toEqual(["nothing", "deny"]);
  });
});

describe("policies and roles", () => {
  const roles: Role[] = [
    { name: "all", includes: [], rules: [{ effect: "allow", resource: "space", actions: ["*"] }] },
    { name: "not-secret", includes: [], rules: [{ effect: "deny", resource: "space", actions: ["*"], prefixes: ["pub/secret"] }] },
    { name: "not-here", includes: [], rules: [{ effect: "deny", resource: "space", actions: ["*"], names: ["b"] }] },
  ];
  const book = new RoleBook(roles);
  const get = (who: Principal): Principal => askingAs(who, asking("read", "s3:GetObject"));

  test("[POLICY-9] a policy gives what no role gives, never what a rule or a token denies; everybody may only what the operator leaves open", () => {
    const policy = policyOf({ ...ALLOW, Principal: "*" });
    const may = (who: Principal, path: string, mayBePublic = false, action: Action = "read"): boolean =>
      decide(book, get(who), undefined, action, { type: "space", space: "b", path }, { policy, mayBePublic }).allowed;
    expect([may(ANN, "pub/a"), may(ANN, "pub/secret/a"), may(ANN, "x")]).toEqual([true, true, false]);
    const careful = person("ann", "not-secret");
    expect([may(careful, "pub/a"), may(careful, "pub/secret/a")]).toEqual([true, false]);
    expect(may(person("ann", "not-here"), "pub/a")).toBe(false);
    const token = { ...ANN, scopes: [{ effect: "allow", resource: "space", actions: ["read"], names: ["other"] }] } as const;
    expect(may(token, "pub/a")).toBe(false);
    expect([may(ANONYMOUS, "pub/a"), may(ANONYMOUS, "pub/a", true), may(ANONYMOUS, "x", true)]).toEqual([false, true, false]);
    expect(may(ANONYMOUS, "pub/a", true, "write")).toBe(false);
    const denies = { policy: policyOf({ ...DENY, Principal: "*", Resource: "*" }), mayBePublic: false };
    expect(decide(book, get(person("ann", "all")), undefined, "read", { type: "space", space: "b", path: "x" }, denies).allowed).toBe(false);
  });

  test("[POLICY-10] what is reached through a policy is what it allows somewhere, and no rule denies there", () => {
    const paths = ["", "a", "a/b", "a/b/c", "pub", "pub/a", "pub/secret", "pub/secret/x"];
    const pattern = fc.constantFrom("*", "a/*", "a/b", "pub/*", "pub/secret/*", "p*", "?/b/c");
    const statement = fc.record({ Effect: fc.constantFrom("Allow", "Deny"), Resource: pattern.map((one) => arn(`/${one}`)) });
    fc.assert(
      fc.property(fc.array(statement, { minLength: 1, maxLength: 3 }), fc.subarray(["all", "not-secret", "not-here"]), fc.constantFrom(...paths), (all, own, path) => {
        const policy = policyOf(...all.map((one) => ({ ...ALLOW, ...one })));
        const who = get(person("ann", ...own));
        const allowed = (at: string): boolean =>
          decide(book, who, undefined, "read", { type: "space", space: "b", path: at }, { policy, mayBePublic: false }).allowed;
        const below = paths.filter((one) => path === "" || one === path || one.startsWith(`${path}/`));
        // It may be stricter than what is below, never wider.
        const reached = reaches(book, who, undefined, "read", "b", path, { policy, mayBePublic: false });
        if (!reached) expect(allowed(path)).toBe(false);
        if (reached && own.includes("not-here")) expect(true).toBe(false);
        if (all.every((one) => one.Effect === "Deny") && !own.includes("all")) expect(reached).toBe(false);
        if (allowed(path)) expect(reached).toBe(true);
        if (!all.some((one) => one.Effect === "Deny") && below.some(allowed) && !own.includes("not-secret")) expect(reached).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  test("[POLICY-11] people are told what the policy says, and that it has conditions", () => {
    const policy = policyOf({ ...ALLOW, Sid: "pub" }, { ...DENY, Resource: arn("/pub/in*"), Condition: { NotIpAddress: { "aws:SourceIp": "10.0.0.0/8" } } });
    const at = (path: string): string => explainPolicy(policy, ANN, "read", { type: "space", space: "b", path });
    expect(at("pub/a")).toContain('statement "pub": allow s3:GetObject; the bucket\'s policy says nothing of s3:ListBucket');
    expect(at("pub/in/a")).toContain("statement 2: deny s3:GetObject");
    expect(explainPolicy(policy, ANN, "manage", { type: "space", space: "b", path: "" })).toBe("");
  });
});
