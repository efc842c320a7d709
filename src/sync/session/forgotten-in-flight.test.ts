/** Changes in flight of a side that has forgotten them: lost its index, or was put back to before it had them. */
import { expect, test } from "bun:test";
import { PRESERVE_DEFAULT as preserve } from "#model/entry.ts";
import { MemoryDisk, MemoryStore } from "#sync/index/memory-store.ts";
import { SessionState } from "#sync/session/state.ts";
import { SimPair } from "#testing/scenarios/sim-pair.ts";
import { SimCrash } from "#testing/sim-process.ts";

/** Alpha sends `sent` and dies at beta's k-th effect; then it is as it was before. Returns whether all of it arrived. */
async function sendAndForget(pair: SimPair, k: number, sent: Readonly<Record<string, string>>): Promise<boolean | undefined> {
  pair.alpha.put(sent);
  const { error } = await pair.run({}, ({ beta }) => {
    beta.fs.onEffect = (count) => {
      if (count === k) throw new SimCrash("both died");
    };
  });
  if (error === undefined) return undefined;
  const hasArrived = Object.values(sent).every((content) => pair.beta.contents().visible.has(content));
  pair.alpha.put(Object.fromEntries(Object.keys(sent).map((path) => [path, undefined])));
  pair.alpha.loseState("root");
  return hasArrived;
}

for (const [mode, own] of [["two-way-safe", {}], ["one-way-safe", { own: "of beta" }]] as const) {
  test(`[SESSION-63] what a side sent and has forgotten since is no removal of its own, ${mode} (hub life 7000298)`, async () => {
    let arrived = 0;
    for (let k = 1; ; k++) {
      const pair = new SimPair({ seed: k, session: { mode } });
      // Where beta holds nothing it is a first copy, and no plan.
      pair.beta.put(own);
      const hasArrived = await sendAndForget(pair, k, { f: "the only one", g: "another" });
      if (hasArrived === undefined) break;
      if (!hasArrived) continue;
      arrived++;
      const { summary } = await pair.run();
      const shown = Object.entries({ f: "the only one", g: "another", ...own }).map(([path, text]) => `${path}=${text}`);
      expect([k, summary?.result, pair.beta.show()]).toEqual([k, "same", shown.join(" ")]);
    }
    expect(arrived).toBeGreaterThan(0);
  });
}

test("[SESSION-64] from where changes in flight were planned is known until marks are saved, or all is forgotten", () => {
  const disk = new MemoryDisk();
  const random = { bytes: (count: number): Uint8Array => new Uint8Array(count).fill(7) };
  const open = (): SessionState => new SessionState(new MemoryStore(disk), random);
  const durably = (state: SessionState, work: () => void): void => state.store.transaction({ durable: true }, work);
  const mark = (seq: number) => ({ rootId: "r", epoch: "e", seq, filterHash: "h" });
  const known = (state: SessionState): number[] => state.knownMarks("alpha").map(({ seq }) => seq);
  const send = (state: SessionState, seq: number): void => {
    Object.assign(state.marks, { alpha: mark(seq), beta: mark(seq) });
    durably(state, () => state.inFlight.add([{ side: "beta", path: "f", entry: { kind: "dir", mode: 0o755 } }]));
    disk.kill();
  };
  send(open(), 7);
  const second = open();
  expect([second.marks.alpha, known(second)]).toEqual([undefined, [7]]);
  Object.assign(second.marks, { alpha: mark(8), beta: mark(8) });
  durably(second, () => second.saveProgress());
  disk.kill();
  expect(known(open())).toEqual([0, 7]);
  const third = open();
  Object.assign(third.marks, { alpha: mark(8), beta: mark(8) });
  durably(third, () => {
    third.observe("alpha", "f", { state: "absent" }, preserve);
    third.save(true);
  });
  disk.kill();
  expect(known(open())).toEqual([8]);
  send(open(), 9);
  expect(known(open())).toEqual([8, 9]);
  open().reset();
  expect(known(open())).toEqual([]);
});
