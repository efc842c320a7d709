import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { HubAccess } from "#access/hub-access.ts";
import { type ListAsk, listPage } from "#gateway/s3/listing.ts";
import { DIRECTORY } from "#gateway/s3/object-facts.ts";
import { TRACE, TestHub } from "#hub/hub-fixture.ts";
import type { SpaceChange } from "#hub/space.ts";

/** Names that sort around "/", and share beginnings. */
const NAMES = ["a", "a-", "a-b", "a.txt", "a0", "b", "b c", "b-", "é", "z\u{10ffff}"];

type Tree = { readonly files: ReadonlySet<string>; readonly dirs: ReadonlySet<string>; readonly put: ReadonlySet<string> };

const PATH = fc.array(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 3 }).map((names) => names.join("/"));
const PLAN = fc.array(fc.record({ path: PATH, kind: fc.constantFrom("file", "dir", "put") }), { maxLength: 25 });

/** What of a plan can be, one after the other. */
function treeOf(plan: readonly { path: string; kind: string }[]): Tree {
  const files = new Set<string>();
  const dirs = new Set<string>();
  const put = new Set<string>();
  for (const { path, kind } of plan) {
    const parents = path.split("/").slice(0, -1).map((_, at, names) => path.split("/").slice(0, names.length - at).join("/"));
    if (parents.some((one) => files.has(one)) || files.has(path) || (kind === "file" && dirs.has(path))) continue;
    for (const one of parents) dirs.add(one);
    (kind === "file" ? files : dirs).add(path);
    if (kind === "put") put.add(path);
  }
  return { files, dirs, put };
}

const bytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

/** What S3 would list of the keys, told in the simplest way. */
function expected(tree: Tree, { prefix, delimiter }: Pick<ListAsk, "prefix" | "delimiter">): string[] {
  const all = [...tree.files, ...tree.dirs];
  const isShown = (dir: string): boolean => tree.put.has(dir) || !all.some((one) => one.startsWith(`${dir}/`));
  // Below "/" a directory is a prefix, whether something is in it or not.
  const seen = delimiter === "/" ? [...tree.dirs] : [...tree.dirs].filter(isShown);
  const keys = [...tree.files, ...seen.map((dir) => `${dir}/`)].filter((key) => key.startsWith(prefix));
  const own = prefix.endsWith("/") && tree.dirs.has(prefix.slice(0, -1)) && !isShown(prefix.slice(0, -1)) ? prefix : undefined;
  const told = new Set<string>();
  for (const key of keys) {
    if (key === own) continue;
    const at = delimiter === "" ? -1 : key.indexOf(delimiter, prefix.length);
    told.add(at < 0 ? `key ${key}` : `prefix ${key.slice(0, at + delimiter.length)}`);
  }
  return [...told].sort((a, b) => bytes(a.slice(a.indexOf(" ")), b.slice(b.indexOf(" "))));
}

async function make(hub: TestHub, space: string, { files, dirs, put }: Tree): Promise<void> {
  await hub.spaces.createSpace(hub.who, space);
  await using intake = hub.spaces.intake(hub.who, space);
  const { content, sum } = await intake.store(Buffer.from("x"));
  const shared = { type: "put", expect: { kind: "any" }, makeParents: true } as const;
  const changes = [...dirs].map((path): SpaceChange => {
    const attributes = put.has(path) ? { [DIRECTORY]: "1" } : {};
    return { ...shared, path, entry: { kind: "dir", mode: 0o755 }, content: undefined, attributes };
  });
  for (const path of files) {
    changes.push({ ...shared, path, entry: { kind: "file", size: 1, mode: 0o644, mtimeNs: 1n, sum }, content });
  }
  changes.sort((a, b) => ("path" in a && "path" in b ? bytes(a.path, b.path) : 0));
  if (changes.length > 0) await hub.spaces.commit(hub.who, space, { changes, intake, atomic: true, cause: "upload", traceId: TRACE });
}

/** All of a listing, page by page. */
async function pages(hub: TestHub, space: string, ask: Omit<ListAsk, "after">): Promise<string[]> {
  const access = { reaches: () => true } as unknown as HubAccess;
  const told: string[] = [];
  for (let after = ""; ; ) {
    const { items, isTruncated } = await listPage({ services: { spaces: hub.spaces, access }, who: hub.who, space }, { ...ask, after });
    expect(items.length).toBeLessThanOrEqual(ask.max);
    for (const { kind, key } of items) told.push(`${kind === "object" ? "key" : "prefix"} ${key}`);
    if (!isTruncated) return told;
    after = items.at(-1)!.key;
  }
}

describe("listing", () => {
  test("[KEYS-1] any tree, by any prefix, delimiter and page, is what S3 lists of its keys", async () => {
    await using hub = await TestHub.open();
    const prefixes = fc.oneof(fc.constantFrom("", "a", "a/", "a-", "a/a", "b", "é", "a//", "/", "z\u{10ffff}/"), PATH, PATH.map((path) => `${path}/`));
    const delimiters = fc.constantFrom("", "/", "-", ".t", "a/");
    let count = 0;
    const property = fc.asyncProperty(PLAN, fc.array(fc.tuple(prefixes, delimiters, fc.integer({ min: 1, max: 6 })), { minLength: 6, maxLength: 6 }), async (plan, asks) => {
      const tree = treeOf(plan);
      const space = `s${count++}`;
      await make(hub, space, tree);
      for (const [prefix, delimiter, max] of asks) {
        const found = await pages(hub, space, { prefix, delimiter, max });
        expect([prefix, delimiter, max, ...found]).toEqual([prefix, delimiter, max, ...expected(tree, { prefix, delimiter })]);
      }
    });
    await fc.assert(property, { numRuns: 150 });
  }, 60_000);

  test("[KEYS-2] a listing goes on behind any text, whether it is a key or not", async () => {
    await using hub = await TestHub.open();
    const access = { reaches: () => true } as unknown as HubAccess;
    const places = fc.oneof(PATH, PATH.map((path) => `${path}/`), PATH.map((path) => `${path}-`), PATH.map((path) => `${path}.`));
    const asks = fc.tuple(fc.constantFrom("", "a", "a/", "b"), fc.constantFrom("", "/", "-"), places);
    let count = 0;
    const property = fc.asyncProperty(PLAN, fc.array(asks, { minLength: 20, maxLength: 20 }), async (plan, all) => {
      const tree = treeOf(plan);
      const space = `s${count++}`;
      await make(hub, space, tree);
      for (const [prefix, delimiter, after] of [...all, ...[...tree.dirs].map((dir) => ["", "/", dir] as const)]) {
        const ask = { prefix, delimiter, after, max: 1000 };
        const { items } = await listPage({ services: { spaces: hub.spaces, access }, who: hub.who, space }, ask);
        const found = items.map(({ kind, key }) => `${kind === "object" ? "key" : "prefix"} ${key}`);
        const rest = expected(tree, { prefix, delimiter }).filter((one) => bytes(one.slice(one.indexOf(" ") + 1), after) > 0);
        expect([prefix, delimiter, after, ...found]).toEqual([prefix, delimiter, after, ...rest]);
      }
    });
    await fc.assert(property, { numRuns: 60 });
  }, 60_000);
});
