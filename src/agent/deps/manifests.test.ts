import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SynclineError } from "#model/error.ts";
import { DEPENDENCIES_MAX, type Dependency, canonical, differences, setHash } from "#hub/agents/dependencies.ts";
import { isLockOf, lockedPackages, moduleBlocks, packageBlocks, summedModules } from "#agent/deps/manifests.ts";

const word = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/);
const version = fc.tuple(fc.nat(20), fc.nat(20), fc.nat(20)).map((parts) => parts.join("."));
const dependency = (ecosystem: "npm" | "go"): fc.Arbitrary<Dependency> =>
  fc.record({
    ecosystem: fc.constant(ecosystem), name: word, version: ecosystem === "go" ? version.map((text) => `v${text}`) : version,
    integrity: word.map((text) => `${ecosystem === "go" ? "h1" : "sha512"}:${text}=`),
    source: ecosystem === "go" ? fc.constant("") : word.map((text) => `https://registry.example/${text}.tgz`),
  });

const lockOf = (list: readonly Dependency[], lockfileVersion = 3): string => {
  const packages: Record<string, object> = { "": { name: "app", dependencies: { a: "^1.0.0" } }, "packages/own": { version: "1.0.0" } };
  packages["node_modules/own"] = { resolved: "packages/own", link: true };
  for (const [at, { name, version: of, integrity, source }] of list.entries()) {
    packages[`${"node_modules/outer/".repeat(at % 3)}node_modules/x${at}/node_modules/${name}`] = { version: of, integrity, resolved: source };
  }
  return JSON.stringify({ name: "app", lockfileVersion, packages });
};

/** A list, or an error of ours; nothing else. */
function reads<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    expect(error).toBeInstanceOf(SynclineError);
    return undefined;
  }
}

describe("dependencies", () => {
  test("[DEPS-1] a lock file of version 2 or 3 gives each package that is resolved in it once, in any order of the file", () => {
    fc.assert(
      fc.property(fc.array(dependency("npm"), { maxLength: 30 }), fc.constantFrom(2, 3), (list, of) => {
        const found = lockedPackages(lockOf(list, of));
        expect(found).toEqual(canonical(list));
        expect(setHash(lockedPackages(lockOf(list.toReversed(), of)))).toBe(setHash(list));
      }),
    );
    expect(() => lockedPackages(JSON.stringify({ lockfileVersion: 1, dependencies: {} }))).toThrow("lockfileVersion 1");
  });

  test("[DEPS-2] a go.sum gives each module that is there with its content once", () => {
    fc.assert(
      fc.property(fc.array(dependency("go"), { maxLength: 30 }), (list) => {
        const lines = list.flatMap(({ name, version: of, integrity }) => [`${name} ${of} ${integrity}`, `${name} ${of}/go.mod h1:x=`]);
        expect(summedModules(`${lines.join("\n")}\n\n`)).toEqual(canonical(list));
      }),
    );
  });

  test("[DEPS-3] any bytes give a list or an error that says what is wrong, and no more than a list may hold", () => {
    fc.assert(fc.property(fc.string({ maxLength: 400 }), (text) => void [lockedPackages, summedModules, packageBlocks, moduleBlocks].map((read) => reads(() => read(text)))));
    fc.assert(fc.property(fc.json(), (text) => void [lockedPackages, packageBlocks].map((read) => reads(() => read(text)))));
    const packages = fc.dictionary(fc.string(), fc.anything({ maxDepth: 2 }));
    fc.assert(fc.property(packages, (all) => {
      const list = reads(() => lockedPackages(JSON.stringify({ lockfileVersion: 3, packages: all })));
      for (const one of list ?? []) for (const text of Object.values(one)) expect(text.length).toBeLessThanOrEqual(1000);
    }));
    expect(reads(() => lockedPackages("[".repeat(1 << 20)))).toBeUndefined();
    expect(reads(() => packageBlocks(`${'{"dependencies":'.repeat(5000)}1${"}".repeat(5000)}`))).toBeUndefined();
    const many = Array.from({ length: DEPENDENCIES_MAX + 1 }, (_, at) => `m${at} v1.0.0 h1:x=`).join("\n");
    expect(() => summedModules(many)).toThrow("more than");
    expect(lockedPackages(JSON.stringify({ lockfileVersion: 3, packages: { "node_modules/__proto__": { version: "1" }, __proto__: 1 } }))).toHaveLength(1);
  });

  test("[DEPS-4] only what a manifest says of dependencies counts: not layout, comments or anything else", () => {
    const blocks = fc.record({ dependencies: fc.dictionary(word, version), overrides: fc.dictionary(word, version) });
    fc.assert(
      fc.property(blocks, fc.dictionary(word, fc.string()), (deps, others) => {
        const plain = packageBlocks(JSON.stringify({ ...others, ...deps }));
        const turned = Object.fromEntries(Object.entries(deps.dependencies).toReversed());
        expect(packageBlocks(JSON.stringify({ overrides: deps.overrides, dependencies: turned, scripts: { test: "x" } }, undefined, 4))).toBe(plain);
        expect(packageBlocks(JSON.stringify({ ...deps, dependencies: { ...deps.dependencies, zz9zz: "1.0.0" } }))).not.toBe(plain);
      }),
    );
    const a = moduleBlocks("module x\n\ngo 1.22\nrequire (\n\ta.b/c v1.0.0 // indirect\n\td.e/f v2.0.0\n)\nreplace a.b/c => ../c\n");
    expect(moduleBlocks("module y // other\ngo 1.22\nreplace a.b/c   => ../c\nrequire d.e/f v2.0.0\n// a comment\nrequire a.b/c v1.0.0")).toBe(a);
    expect(moduleBlocks("module x\ngo 1.22\nrequire d.e/f v2.0.0\nreplace a.b/c => ../c\n")).not.toBe(a);
  });

  test("[DEPS-5] a lock file is installed exactly only when it was made from this manifest", () => {
    const lock = lockOf([]);
    expect(isLockOf(lock, JSON.stringify({ dependencies: { a: "^1.0.0" }, scripts: {} }))).toBe(true);
    expect(isLockOf(lock, JSON.stringify({ dependencies: { a: "^1.0.1" } }))).toBe(false);
    expect(isLockOf(lock, JSON.stringify({ dependencies: { a: "^1.0.0" }, devDependencies: { b: "1" } }))).toBe(false);
    expect([isLockOf("{", "{}"), isLockOf("{}", "{}"), isLockOf(lock, "[")]).toEqual([false, false, false]);
  });

  test("[DEPS-6] two lists differ by what is missing, more, of another version, or of other content", () => {
    const one = (name: string, of: string, integrity = "sha512:x"): Dependency => ({ ecosystem: "npm", name, version: of, integrity, source: "" });
    const usual = [one("a", "1"), one("b", "1"), one("c", "1"), one("d", "1"), one("d", "2")];
    expect(differences(usual, [one("b", "2"), one("c", "1", "sha512:y"), one("d", "2"), one("d", "1"), one("e", "1")])).toEqual([
      { kind: "missing", name: "a", usual: "1", found: "" },
      { kind: "version", name: "b", usual: "1", found: "2" },
      { kind: "integrity", name: "c", usual: "1 sha512:x", found: "1 sha512:y" },
      { kind: "extra", name: "e", usual: "", found: "1" },
    ]);
    fc.assert(
      fc.property(fc.array(dependency("npm"), { maxLength: 20 }), fc.array(dependency("npm"), { maxLength: 20 }), (a, b) => {
        expect(differences(a, b).length === 0).toBe(differences(b, a).length === 0);
        expect(differences(a, a.toReversed())).toEqual([]);
        if (setHash(a) === setHash(b)) expect(differences(a, b)).toEqual([]);
      }),
    );
  });
});
