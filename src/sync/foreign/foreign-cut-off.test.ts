/** Runs and undos on a foreign system that are killed, or refused, in the midst, also several times in a row. */
import { describe, expect, test } from "bun:test";
import { cpSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { SynclineError, type ErrorCode } from "#model/error.ts";
import { ForeignPair, type Ran, withForeign } from "#sync/foreign/foreign-fixture.ts";
import type { Abilities } from "#sync/foreign/foreign-files.ts";
import { MemorySystem } from "#sync/foreign/memory-files-fixture.ts";

const S3_LIKE: Partial<Abilities> = { system: "S3", listsTimes: false, renames: "copies", modes: false, symlinks: false };
const FTP_LIKE: Partial<Abilities> = { system: "FTP", conditional: false, modes: false, symlinks: false, timeResolutionNs: 1_000_000_000n };
const KINDS: [string, Partial<Abilities>, boolean][] = [["able", {}, true], ["S3-like", S3_LIKE, true], ["FTP-like", FTP_LIKE, false]];

class Killed extends Error {}

type Undone = { restored: number; problems: unknown[] };
const undo = (pair: ForeignPair, runId: string): Promise<Undone> =>
  withForeign(pair, async (endpoint, signal) => {
    await endpoint.scan({ since: 0, acknowledged: 0, extent: "full", deep: false }, () => undefined, signal);
    return endpoint.undo(runId, signal);
  });

/** Calls that change nothing there: to be killed in one is to be killed before the next that does. */
const LOOKS = new Set(["connect", "list", "list more", "stat", "read", "read more"]);

/** The side that runs is killed at that step of those that change something: with what its disk has then the next life begins. */
function killAt(pair: ForeignPair, system: MemorySystem, step: number): { isOver: () => boolean; end: () => void } {
  const state = join(pair.dir, "state");
  const kept = join(pair.dir, "state.kept");
  let steps = 0;
  system.fault = (call) => {
    if (steps < step && LOOKS.has(call)) return;
    if (++steps === step) cpSync(state, kept, { recursive: true });
    if (steps >= step) throw new Killed("now");
  };
  return {
    isOver: () => steps < step,
    end: () => {
      system.fault = undefined;
      if (steps < step) return;
      rmSync(state, { recursive: true });
      renameSync(kept, state);
    },
  };
}

function ok({ summary, error }: Ran): NonNullable<Ran["summary"]> {
  if (error !== undefined) throw error;
  expect(summary).toMatchObject({ problems: 0, conflicts: 0 });
  return summary!;
}

const runOf = ({ events }: Ran): string[] => events.flatMap((event) => (event.type === "begin" ? [event.runId] : []));

/** Agreed on, and then changed here in every way. A move that a kill cuts off is in no run's record. */
async function changedPair(abilities: Partial<Abilities>, hasTags: boolean, withMove: boolean): Promise<{ pair: ForeignPair; system: MemorySystem }> {
  const system = new MemorySystem({ ...abilities, parallel: 1 }, hasTags);
  const pair = new ForeignPair(() => system.client());
  for (const name of ["a", "b", "d/c"]) pair.put(name, `old ${name}`);
  pair.put("d/gone", "it goes");
  pair.put("moves", "content that moves ".repeat(9));
  ok(await pair.run());
  pair.aheadMs += 600_000;
  system.nowNs += 600_000_000_000n;
  for (const name of ["a", "b", "d/c"]) pair.put(name, `new ${name}, longer`);
  pair.remove("d/gone");
  if (withMove) renameSync(join(pair.root, "moves"), join(pair.root, "d/moved"));
  pair.put("e/new", "new");
  return { pair, system };
}

describe.each(KINDS)("a system that is %s", (_name, abilities, hasTags) => {
  test("[FOREIGN-92] what a run had done when it was killed, at any step, is taken back like the rest", async () => {
    for (let step = 1; ; step++) {
      const { pair, system } = await changedPair(abilities, hasTags, false);
      using _ = pair;
      const before = system.files();
      const kill = killAt(pair, system, step);
      const first = await pair.run();
      const isOver = kill.isOver();
      kill.end();
      pair.aheadMs += 600_000;
      const second = await pair.run();
      ok(second);
      expect([step, system.files()]).toEqual([step, pair.files()]);
      for (const runId of [...new Set([...runOf(second), ...runOf(first)])]) {
        expect([step, (await undo(pair, runId)).problems]).toEqual([step, []]);
      }
      expect([step, system.files()]).toEqual([step, before]);
      if (isOver) break;
    }
  }, 120_000);

  test("[FOREIGN-94] an undo that is killed, at any step and then at another one, is gone on with, and leaves no place empty", async () => {
    for (let step = 1, isOver = false; !isOver; step++) {
      for (const next of [1, step]) {
        const { pair, system } = await changedPair(abilities, hasTags, true);
        using _ = pair;
        const before = { ...system.files() };
        const run = await pair.run();
        const { runId } = ok(run);
        for (const at of [step, next]) {
          const kill = killAt(pair, system, at);
          await undo(pair, runId).catch((error: unknown) => expect(error).toBeInstanceOf(Killed));
          isOver = at === step && kill.isOver();
          kill.end();
          await withForeign(pair, () => Promise.resolve());
          expect([step, next, Object.keys(system.files())]).toEqual([step, next, expect.arrayContaining(["a", "b", "d/c"])]);
          if (isOver) break;
        }
        if (!isOver) expect([step, next, (await undo(pair, runId)).problems]).toEqual([step, next, []]);
        expect([step, next, system.files()]).toEqual([step, next, before]);
        if (isOver) break;
      }
    }
  }, 120_000);
});

const refused = (code: ErrorCode, path: string): SynclineError => new SynclineError({ code, op: "test", message: "refused", path });

describe("what is refused", () => {
  test("[FOREIGN-93] a file that was put aside for something that is refused is back before anybody takes it for removed", async () => {
    for (const [call, code] of [["makeSymlink", "UNSUPPORTED"], ["makeDir", "DENIED"], ["displaced", "DISK"]] as const) {
      const system = new MemorySystem({ conditional: false });
      using pair = new ForeignPair(() => system.client());
      pair.put("a", "agreed", 1_600_000_000_000);
      pair.put("b", "beside");
      ok(await pair.run());
      pair.aheadMs += 600_000;
      if (call === "displaced") pair.put("a", "edited, and longer");
      else pair.remove("a");
      if (call === "makeSymlink") symlinkSync("b", join(pair.root, "a"));
      if (call === "makeDir") pair.put("a/in", "a directory");
      system.fault = (now, path) => {
        if (now === call && path === "a") throw refused(code, path);
      };
      for (let time = 0; time < 2; time++) {
        expect((await pair.run()).summary?.problems).toBeGreaterThan(0);
        expect([call, time, system.files()]).toEqual([call, time, { a: "agreed", b: "beside" }]);
      }
      system.fault = undefined;
      // Nothing but the file there says that it was ever here.
      pair.remove("a");
      pair.put("a", "agreed", 1_600_000_000_000);
      ok(await pair.run());
      expect([call, pair.files()]).toEqual([call, { a: "agreed", b: "beside" }]);
      expect(system.files()).toEqual(pair.files());
    }
  });

  test("[FOREIGN-93] in an undo, what was taken away for something that cannot come back stays", async () => {
    const { pair, system } = await changedPair({}, true, true);
    using _ = pair;
    const before = system.files();
    const { runId } = ok(await pair.run());
    // The old content cannot come back, and then what was to go for it cannot either.
    let left = 0;
    system.fault = (call, path) => {
      if (call === "removed" && path === "a") left = 2;
      if (call === "rename" && left > 0 && left-- > 0) throw refused("DENIED", path);
    };
    await expect(undo(pair, runId)).rejects.toMatchObject({ code: "DENIED" });
    expect(Object.keys(system.files())).not.toContain("a");
    await withForeign(pair, () => Promise.resolve());
    expect(system.files()["a"]).toBe("old a");
    system.fault = (call, path) => {
      if (call === "removed" && path === "b") left = 1;
      if (call === "rename" && left > 0 && left-- > 0) throw refused("DENIED", path);
    };
    const { problems } = await undo(pair, runId);
    expect(problems.map((one) => (one as { path: string }).path).filter((path) => path !== "b")).toEqual([]);
    expect(system.files()).toEqual(problems.length === 0 ? before : { ...before, b: "new b, longer" });
  });
});
