import { expect, test } from "bun:test";
import { type Entry, PRESERVE_DEFAULT as preserve } from "#model/entry.ts";
import type { Change } from "#model/plan.ts";
import { MemoryDisk, MemoryStore } from "#sync/index/memory-store.ts";
import { SimilarFiles } from "#sync/session/similar-files.ts";
import { SessionState } from "#sync/session/state.ts";
import { SIMILAR_BYTES_MIN } from "#sync/transfer/limits.ts";
import { SimPair } from "#testing/scenarios/sim-pair.ts";

const MB = 1 << 20;
const file = (size: number): Entry & { kind: "file" } => ({ kind: "file", size, mode: 0o644, mtimeNs: 1n, sum: undefined });

/** A state in which both sides hold these files, given by their sizes in MiB; 0 is a directory. */
function stateWith(files: Readonly<Record<string, number>>): SessionState {
  const state = new SessionState(new MemoryStore(new MemoryDisk()), { bytes: (count) => new Uint8Array(count) });
  state.store.transaction({ durable: false }, () => {
    for (const [path, size] of Object.entries(files)) {
      state.setAncestor(path, size === 0 ? { kind: "dir", mode: 0o755 } : file(size * MB));
      state.entries.beta++;
    }
  });
  return state;
}

function change(path: string, from: number | undefined, to: number | undefined): Change {
  const entry = (size: number | undefined): Entry | undefined => (size === undefined ? undefined : file(size * MB));
  return { side: "beta", path, old: entry(from), new: entry(to), action: to === undefined ? "remove" : "content" };
}

function similar(state: SessionState, changes: readonly Change[]): string[] | undefined {
  const steps = changes.map((one) => ({ type: "change", change: one }) as const);
  return new SimilarFiles(state, "beta", steps).of(changes[0]!);
}

test("[SIMILAR-9] candidates are what goes in the same run, other versions, the same name elsewhere, and neighbours by size", () => {
  const state = stateWith({
    "d": 0, "d/app-1.2.tar": 50, "d/app-1.3.tar": 55, "d/other": 1, "d/tiny": 0.5, "d/huge": 900,
    "v1": 0, "v1/disk.img": 20, "v2": 0,
  });
  expect(similar(state, [change("d/app-1.4.tar", undefined, 56)])).toEqual(["d/app-1.3.tar", "d/app-1.2.tar"]);
  expect(similar(state, [change("v2/disk.img", undefined, 20)])?.[0]).toBe("v1/disk.img");
  expect(similar(state, [change("renamed", undefined, 22), change("v1/disk.img", 20, undefined)])).toEqual(["v1/disk.img"]);
  expect(similar(state, [change("d/joined", undefined, 56)])).toEqual(["d/app-1.3.tar", "d/app-1.2.tar"]);
  state.observe("beta", "own", { state: "present", entry: file(7 * MB) }, preserve);
  expect(similar(state, [change("new", undefined, 7)])?.[0]).toBe("own");
  state.observe("beta", "v1/disk.img", { state: "absent" }, preserve);
  expect(similar(state, [change("v2/disk.img", undefined, 20)])).not.toContain("v1/disk.img");
});

test("[SIMILAR-10] none for small files, an empty side, or a file that replaces another outside a rotation", () => {
  const state = stateWith({ "log.1": 10, "log": 12 });
  expect(similar(state, [change("log.9", undefined, 0.9)])).toBeUndefined();
  expect(similar(stateWith({}), [change("log.9", undefined, 12)])).toBeUndefined();
  expect(similar(state, [change("log.1", 10, 12.5), change("log", 12, 1)])).toBeUndefined();
  const rotated = [change("log.1", 10, 12.5), change("log.2", undefined, 10), change("log", 12, 1)];
  expect(similar(state, rotated)).toContain("log");
});

test("[SIMILAR-10] a directory of any size is asked about a bounded number of names", () => {
  const state = stateWith({});
  state.store.transaction({ durable: false }, () => {
    for (let at = 0; at < 5000; at++) state.setAncestor(`f${String(at).padStart(5, "0")}`, file(MB));
  });
  state.entries.beta = 5000;
  const asked: number[] = [];
  const { childrenAround } = state.ancestor;
  state.ancestor.childrenAround = (dir, name, limit) => {
    const found = childrenAround.call(state.ancestor, dir, name, limit);
    asked.push(found.length);
    return found;
  };
  expect(similar(state, [change("f02500x", undefined, 1)])?.length).toBe(4);
  expect(asked.reduce((sum, count) => sum + count)).toBeLessThanOrEqual(200);
});

test("[SESSION-25] a large file that was renamed and edited, or copied and edited, moves only what differs", async () => {
  const pair = new SimPair({});
  const lines = Array.from({ length: 40_000 }, (_, at) => `line ${at} of a file that is long enough ${at * at}\n`);
  const text = lines.join("");
  expect(text.length).toBeGreaterThan(SIMILAR_BYTES_MIN);
  pair.alpha.put({ "notes.txt": text });
  await pair.agree();
  pair.alpha.rename("notes.txt", "renamed.md");
  const edited = `${text.slice(0, 700_000)}an edit ${text.slice(700_000)}`;
  pair.alpha.put({ "renamed.md": edited });
  const renamed = (await pair.run()).summary!;
  expect([renamed.result, renamed.bytes.literal + renamed.bytes.reused]).toEqual(["same", edited.length]);
  expect(renamed.bytes.literal).toBeLessThan(20_000);
  pair.alpha.put({ "d/renamed (copy).md": `${edited}one more line\n` });
  const copied = (await pair.run()).summary!;
  expect(copied.bytes.literal).toBeLessThan(20_000);
  expect(await pair.agree()).toContain("d/renamed (copy).md=");
});
