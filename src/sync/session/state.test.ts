import { describe, expect, test } from "bun:test";
import { type Entry, type FileEntry, PRESERVE_DEFAULT as preserve } from "#model/entry.ts";
import type { Observation, Problem } from "#model/observation.ts";
import type { Endpoint, ScanSummary } from "#sync/endpoint/endpoint.ts";
import { MemoryDisk, MemoryStore } from "#sync/index/memory-store.ts";
import { UnknownPaths, observeSide } from "#sync/session/observe.ts";
import { SessionState } from "#sync/session/state.ts";
import type { Held } from "#sync/session/state-records.ts";

const random = { bytes: (count: number): Uint8Array => new Uint8Array(count).fill(7) };
const dir: Entry = { kind: "dir", mode: 0o755 };

function file(content: string): FileEntry {
  return { kind: "file", size: content.length, mode: 0o644, mtimeNs: 1n, sum: Buffer.from(content).toString("hex").padEnd(32, "0") };
}

const present = (entry: Entry): Held => ({ state: "present", entry });

function stateWith(ancestor: Record<string, Entry>, disk = new MemoryDisk()): SessionState {
  const state = new SessionState(new MemoryStore(disk), random);
  state.store.transaction({ durable: true }, () => {
    for (const [path, entry] of Object.entries(ancestor)) state.setAncestor(path, entry);
    state.save(true);
  });
  return state;
}

function pendingOf(state: SessionState): Record<string, string[]> {
  const words = (side: "alpha" | "beta"): string[] =>
    [...state.pending[side]].map(([path, held]) => `${path} ${held.state}`).toSorted();
  return { alpha: words("alpha"), beta: words("beta") };
}

describe("what a session remembers", () => {
  test("[SESSION-39] in the middle of a first copy the ancestor grows, with its roots and filters, and everything is asked for again", () => {
    const disk = new MemoryDisk();
    const state = new SessionState(new MemoryStore(disk), random);
    const mark = (seq: number) => ({ rootId: "r", epoch: "e", seq, filterHash: "h" });
    Object.assign(state.marks, { alpha: mark(7), beta: mark(9) });
    for (const name of ["f", "g"]) state.observe("alpha", name, present(file(name)), preserve);
    const agreed = (path: string, save: () => void): void =>
      state.store.transaction({ durable: true }, () => {
        state.achieved("beta", path, file(path), preserve);
        save();
      });
    agreed("f", () => state.saveProgress());
    expect([state.comparesAll, state.unsaved()]).toEqual([true, true]);
    disk.kill();
    const after = new SessionState(new MemoryStore(disk), random);
    expect([after.marks.alpha, after.marks.beta, after.comparesAll]).toEqual([mark(0), mark(0), true]);
    expect([[...after.ancestor.walk("")], after.files]).toEqual([[["f", file("f")]], 1]);
    expect(pendingOf(after)).toEqual({ alpha: [], beta: [] });
    Object.assign(after.marks, { alpha: mark(7), beta: mark(9) });
    after.store.transaction({ durable: true }, () => after.save(true));
    expect(after.comparesAll).toBe(false);
    expect(() => after.store.transaction({ durable: true }, () => after.saveProgress())).toThrow();
  });

  test("[SESSION-10] what equals the ancestor is not pending; what a side holds elsewhere is what the ancestor says", () => {
    const state = stateWith({ f: file("one") });
    state.observe("alpha", "f", present(file("two")), preserve);
    state.observe("beta", "n", present(file("new")), preserve);
    expect(pendingOf(state)).toEqual({ alpha: ["f present"], beta: ["n present"] });
    expect(state.touched()).toEqual(["f", "n"]);
    expect(state.held("beta", "f")).toEqual(present(file("one")));
    state.observe("alpha", "f", present(file("one")), preserve);
    state.observe("beta", "n", { state: "absent" }, preserve);
    expect(pendingOf(state)).toEqual({ alpha: [], beta: [] });
  });

  test("[SESSION-11] an outcome is the ancestor only when the other side holds the same", () => {
    const state = stateWith({ f: file("one"), g: file("one") });
    state.observe("alpha", "f", present(file("two")), preserve);
    state.achieved("beta", "f", file("two"), preserve);
    expect([state.ancestor.get("f"), state.files]).toEqual([file("two"), 2]);
    state.achieved("beta", "g", file("half"), preserve);
    expect(state.ancestor.get("g")).toEqual(file("one"));
    expect(pendingOf(state)).toEqual({ alpha: [], beta: ["g present"] });
  });

  test("[SESSION-12] a renamed subtree takes along what is pending in it", () => {
    const state = stateWith({ d: dir, "d/f": file("f"), "d/g": file("g") });
    for (const [path, entry] of [["e", dir], ["e/f", file("f")], ["e/g", file("edited")]] as const) {
      state.observe("alpha", path, present(entry), preserve);
    }
    for (const path of ["d", "d/f", "d/g"]) state.observe("alpha", path, { state: "absent" }, preserve);
    state.moved("beta", "d", "e", preserve);
    expect([...state.ancestor.walk("")].map(([path]) => path)).toEqual(["e", "e/f", "e/g"]);
    expect(pendingOf(state)).toEqual({ alpha: ["e/g present"], beta: [] });
  });

  test("[SESSION-12] what was agreed at the old place of a move goes along only as far as it is what moved", () => {
    const state = stateWith({ a: dir, "a/x": file("a"), b: file("b") });
    // A mirror: beta has made a directory of the agreed file, which alpha removed, and alpha has its like elsewhere.
    state.observe("alpha", "b", { state: "absent" }, preserve);
    for (const [path, entry] of [["b", dir], ["b/x", file("x")]] as const) state.observe("beta", path, present(entry), preserve);
    for (const [path, entry] of [["c", dir], ["c/x", file("x")]] as const) state.observe("alpha", path, present(entry), preserve);
    state.moved("beta", "b", "c", preserve);
    expect([...state.ancestor.walk("")]).toEqual([["a", dir], ["a/x", file("a")], ["c", dir], ["c/x", file("x")]]);
    expect(pendingOf(state)).toEqual({ alpha: [], beta: [] });
    expect(state.files).toBe(2);
  });

  test("[SESSION-13] pending, marks and changes in flight survive a restart, and seeds never change", () => {
    const disk = new MemoryDisk();
    const state = stateWith({ f: file("one") }, disk);
    state.observe("alpha", "f", { state: "absent" }, preserve);
    state.observe("beta", "i", { state: "ignored" }, preserve);
    state.marks.alpha = { rootId: "r", epoch: "e", seq: 7, filterHash: "h" };
    state.store.transaction({ durable: true }, () => {
      state.inFlight.add([{ side: "beta", path: "f", entry: undefined }, { side: "alpha", path: "n", entry: file("n") }]);
      state.save(true);
    });
    disk.kill();
    const again = new SessionState(new MemoryStore(disk), { bytes: (count) => new Uint8Array(count).fill(9) });
    expect(pendingOf(again)).toEqual({ alpha: ["f absent"], beta: ["i ignored"] });
    expect([again.marks.alpha?.seq, again.savedSeq.alpha, again.files]).toEqual([7, 7, 1]);
    expect([...again.inFlight.all()].map(({ side, path }) => `${side} ${path}`)).toEqual(["beta f", "alpha n"]);
    expect(again.seeds).toEqual(state.seeds);
  });

  test("[SESSION-14] a reset forgets what was agreed and keeps the seeds", () => {
    const disk = new MemoryDisk();
    const state = stateWith({ d: dir, "d/f": file("one") }, disk);
    state.marks.beta = { rootId: "r", epoch: "e", seq: 7, filterHash: "h" };
    state.reset();
    const again = new SessionState(new MemoryStore(disk), random);
    expect([again.ancestor.count(), again.files, again.marks.beta, again.savedSeq.beta]).toEqual([0, 0, undefined, 0]);
    expect(again.seeds).toEqual(state.seeds);
  });

  test("[SESSION-15] below a path that a side ignores nothing is known of it; seen again, what is not reported is gone", () => {
    const state = stateWith({ d: dir, "d/f": file("f"), "d/g": file("g"), k: file("k") });
    state.observe("beta", "d/f", present(file("edited")), preserve);
    state.observe("beta", "d", { state: "ignored" }, preserve);
    expect(pendingOf(state).beta).toEqual(["d ignored"]);
    state.forget("d", preserve);
    expect([...state.ancestor.walk("")].map(([path]) => path)).toEqual(["k"]);
    expect(pendingOf(state)).toEqual({ alpha: ["d present", "d/f present", "d/g present"], beta: ["d ignored"] });
    state.observe("beta", "d", present(dir), preserve);
    state.observe("beta", "d/f", present(file("f")), preserve);
    expect([state.held("beta", "d/f").state, state.held("beta", "d/g").state]).toEqual(["present", "absent"]);
  });

  test("[SESSION-16] when an ignore file changes, ignored paths below it count as absent until they are reported", () => {
    const state = stateWith({ known: file("k") });
    for (const path of ["a/x", "b/x", "known"]) state.observe("alpha", path, { state: "ignored" }, preserve);
    state.rulesChanged("alpha", "a");
    expect(pendingOf(state).alpha).toEqual(["b/x ignored", "known ignored"]);
    state.rulesChanged("alpha", "");
    // The ancestor knows it, so absence would be a deletion.
    expect(pendingOf(state).alpha).toEqual(["known ignored"]);
  });

  test("[SESSION-49] what was agreed on and is ignored by rules that changed is agreed on no more, unless it was reported", () => {
    const disk = new MemoryDisk();
    const state = stateWith({ d: dir, "d/f": file("f"), seen: file("s"), other: file("o") }, disk);
    for (const path of ["d", "seen"]) state.observe("alpha", path, { state: "ignored" }, preserve);
    state.rulesChanged("alpha", "");
    state.observe("alpha", "seen", present(file("s")), preserve);
    state.forgetOutdated(preserve);
    expect(pendingOf(state)).toEqual({ alpha: [], beta: ["d present", "d/f present"] });
    disk.kill();
    const after = new SessionState(new MemoryStore(disk), random);
    expect([[...after.ancestor.walk("")].map(([path]) => path), pendingOf(after)]).toEqual([["other", "seen"], pendingOf(state)]);
  });

  test("[SESSION-17] ignored for a directory is not ignored for a file: asked again, unless it was agreed", () => {
    const state = stateWith({ known: dir });
    for (const path of ["c", "same", "known"]) {
      state.observe("alpha", path, present(dir), preserve);
      state.observe("beta", path, { state: "ignored" }, preserve);
    }
    state.kindReported("alpha", "same", { ...dir, mode: 0o700 });
    for (const path of ["c", "known"]) state.kindReported("alpha", path, file("f"));
    expect(pendingOf(state).beta).toEqual(["known ignored", "same ignored"]);
    state.observe("alpha", "same", { state: "absent" }, preserve);
    state.kindReported("alpha", "same", file("f"));
    expect(pendingOf(state).beta).toEqual(["known ignored"]);
  });
});

describe("what a side sent and filters out by now", () => {
  /** Beta has sent a directory to alpha, and tells that it ignores it. */
  function sending(): SessionState {
    const state = stateWith({});
    state.store.transaction({ durable: true }, () => {
      state.inFlight.add([{ side: "alpha", path: "c", entry: dir }]);
    });
    state.inFlight.expect();
    state.observe("beta", "c", { state: "ignored" }, preserve);
    return state;
  }

  test("[SESSION-60] it stays ignored until its outcome is known, and then is asked about where something of another kind stands", () => {
    const state = sending();
    state.kindReported("alpha", "c", dir);
    state.rulesChanged("beta", "");
    expect(pendingOf(state).beta).toEqual(["c ignored"]);
    state.observe("alpha", "c", present(dir), preserve);
    state.judgedAs("beta", "c", dir);
    expect(pendingOf(state).beta).toEqual(["c ignored"]);
    state.observe("alpha", "c", present(file("f")), preserve);
    state.judgedAs("beta", "c", dir);
    expect(pendingOf(state).beta).toEqual([]);
  });

  test("[SESSION-60] also what it had listed before, where the other side has something else as yet", () => {
    const state = sending();
    state.observe("alpha", "c", present(file("f")), preserve);
    state.observe("beta", "c", present(dir), preserve);
    state.observe("beta", "c", { state: "ignored" }, preserve);
    expect(pendingOf(state).beta).toEqual(["c ignored"]);
  });
});

describe("taking a scan in", () => {
  const found = (path: string, code = "EIO"): Problem => ({ path, side: "alpha", code, message: "", transient: true });

  /** An endpoint that tells `batch`, and of which it ignores when asked. */
  function scanning(batch: Observation[], problems: Problem[] = [], ignored: string[] = []): Endpoint {
    const summary: ScanSummary = { seq: 5, epoch: "e", problems, entries: batch.length, hashedBytes: 0, degraded: undefined };
    const scan: Endpoint["scan"] = async (_request, onBatch) => {
      await onBatch(batch, problems);
      return summary;
    };
    const sums: Endpoint["sums"] = async (paths) => paths.map((path) => found(path, ignored.includes(path) ? "IGNORED" : "ENOENT"));
    return { label: "side", scan, sums } as Pick<Endpoint, "label" | "scan" | "sums"> as Endpoint;
  }

  const take = (state: SessionState, endpoint: Endpoint, since: number): Promise<unknown> => {
    const request = { since, acknowledged: 0, extent: "full", deep: false } as const;
    return observeSide("beta", endpoint, request, state, preserve, () => undefined, new AbortController().signal);
  };

  test("[SESSION-40] a complete listing says what is absent, but not where it could not look, nor of what is ignored", async () => {
    const hidden = { d: dir, "d/f": file("f"), "d/g": file("g"), "e.o": file("o") };
    const state = stateWith({ a: dir, "a/f": file("f"), b: dir, "b/f": file("f"), c: file("c"), ...hidden, e: dir, "e/f": file("f") });
    const listing: Observation[] = [
      { state: "present", path: "a", entry: dir },
      { state: "present", path: "b", entry: dir },
    ];
    await take(state, scanning(listing, [found("b")], ["d", "e.o"]), 0);
    expect(pendingOf(state).beta).toEqual(["a/f absent", "c absent", "d ignored", "e absent", "e.o ignored", "e/f absent"]);
  });

  test("[SESSION-61] nor of what is on its way from there and is ignored by now", async () => {
    const state = stateWith({ a: file("a") });
    state.store.transaction({ durable: true }, () => state.inFlight.add([{ side: "alpha", path: "b.o", entry: file("b") }]));
    state.inFlight.expect();
    await take(state, scanning([], [], ["b.o"]), 0);
    expect(pendingOf(state).beta).toEqual(["a absent", "b.o ignored"]);
  });

  test("[SESSION-41] later observations say only what they name", async () => {
    const state = stateWith({ a: file("a"), b: file("b") });
    await take(state, scanning([{ state: "absent", path: "a" }]), 3);
    expect(pendingOf(state).beta).toEqual(["a absent"]);
  });

  test("[SESSION-42] a complete listing out of order is refused", async () => {
    const entry = file("f");
    const listing: Observation[] = ["b", "a"].map((path) => ({ state: "present", path, entry }));
    expect(take(stateWith({}), scanning(listing), 0)).rejects.toMatchObject({ code: "PROTOCOL" });
  });

  test("[SESSION-43] an unknown path covers everything below it, and is below everything above it", () => {
    const unknown = new UnknownPaths([found("a/b"), found("c", "EACCES")]);
    expect(["a", "a/b", "a/b/c", "a/bc", "c/x"].map((path) => unknown.covering(path)?.code)).toEqual([
      undefined, "EIO", "EIO", undefined, "EACCES",
    ]);
    expect(["a", "a/b", "c"].map((path) => unknown.below(path))).toEqual([true, false, false]);
    expect(new UnknownPaths([found("")]).covering("any/where")?.code).toBe("EIO");
  });

  test("[SESSION-10] given seeds are kept, and other seeds than last time forget what was agreed by the old ones", () => {
    const disk = new MemoryDisk();
    const first = new SessionState(new MemoryStore(disk), random, { a: 1n, b: 2n });
    first.store.transaction({ durable: true }, () => {
      first.setAncestor("f", file("one"));
      first.marks.beta = { rootId: "r", epoch: "e", seq: 5, filterHash: "x" };
      first.save(true);
    });
    const same = new SessionState(new MemoryStore(disk), random, { a: 1n, b: 2n });
    expect([same.files, same.seeds, same.marks.beta?.seq]).toEqual([1, { a: 1n, b: 2n }, 5]);
    const other = new SessionState(new MemoryStore(disk), random, { a: 1n, b: 3n });
    expect([other.files, other.seeds, other.marks.beta]).toEqual([0, { a: 1n, b: 3n }, undefined]);
    expect(other.ancestorOf("f")).toBeUndefined();
    expect(new SessionState(new MemoryStore(disk), random).seeds).toEqual({ a: 1n, b: 3n });
  });

  test("[SESSION-70] what was never agreed on has gone with the directory it was in, though nobody told so (seed 1800006526)", () => {
    const state = stateWith({ A: dir, k: file("k"), "B/x": file("x") });
    state.observe("beta", "A/e", present(file("beta's")), preserve);
    state.observe("beta", "A/d/f", present(file("deep")), preserve);
    state.observe("alpha", "A/e", present(file("alpha's")), preserve);
    for (const path of ["AB", "B/x"]) state.observe("beta", path, present(file("stays")), preserve);
    state.removedDirs("beta", new Set(), preserve);
    expect(pendingOf(state).beta).toEqual(["A/d/f present", "A/e present", "AB present", "B/x present"]);
    state.removedDirs("beta", new Set(["A"]), preserve);
    expect(pendingOf(state)).toEqual({ alpha: ["A/e present"], beta: ["AB present", "B/x present"] });
    expect(state.held("beta", "A/e").state).toBe("absent");
  });

  test("[SESSION-70] also where a file took the directory's place: what was agreed on at once, the rest with its group", () => {
    const state = stateWith({ A: dir, "A/d": dir, "A/d/f": file("agreed"), k: file("k") });
    state.observe("beta", "A/e", present(file("beta's")), preserve);
    state.observe("beta", "A/d/hidden", { state: "ignored" }, preserve);
    const after = [["k", file("new")], ["A/d", undefined], ["A", file("instead")], ["n", dir]] as const;
    const gone = after.filter(([path, entry]) => state.achieved("beta", path, entry, preserve)).map(([path]) => path);
    expect(gone).toEqual(["A/d", "A"]);
    expect(pendingOf(state).beta).toEqual(["A present", "A/d absent", "A/d/f absent", "A/d/hidden ignored", "A/e present", "k present", "n present"]);
    state.removedDirs("beta", new Set(gone), preserve);
    expect(pendingOf(state).beta).toEqual(["A present", "A/d absent", "A/d/f absent", "k present", "n present"]);
  });
});
