import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { LINK_PHASES, type LinkState } from "#hub/agents/control.ts";
import { BEHIND_MS, PresenceTable, SILENT_MS, hostStatus, lagMs, linkStatus } from "#hub/agents/presence.ts";

const good: LinkState = {
  id: "0123456789abcdef", generation: 3, phase: "watching", sequence: 7, stored: null, backlog: 0, lagMs: 0, files: 3, conflicts: 0,
  problems: 0, changes: 2, syncedAgoMs: 10, digest: null, holdHash: null, error: null, pause: null, releases: null, projects: [],
};
const status = (state: Partial<LinkState>, more: object = {}): string =>
  linkStatus({ enabled: true, generation: 3, heard: { state: { ...good, ...state }, agoMs: 100 }, hostAgoMs: 100, unaskedMs: 0, ...more });

describe("presence", () => {
  test("[AGENT-10] each trouble has its name, and nothing in trouble is healthy", () => {
    expect(status({})).toBe("healthy");
    expect(status({}, { heard: undefined })).toBe("starting");
    expect(status({}, { heard: undefined, hostAgoMs: undefined })).toBe("silent");
    expect(status({}, { heard: undefined, hostAgoMs: SILENT_MS + 1 })).toBe("silent");
    expect(status({}, { heard: { state: good, agoMs: SILENT_MS + 1 } })).toBe("silent");
    expect(status({ phase: "halted" })).toBe("halted");
    expect(status({ holdHash: "abcdefabcdef" })).toBe("held");
    expect(status({ generation: 2 })).toBe("starting");
    expect(status({ syncedAgoMs: null })).toBe("starting");
    expect(status({ phase: "retrying" })).toBe("retrying");
    expect(status({ conflicts: 1 })).toBe("diverged");
    expect(status({ problems: 1 })).toBe("diverged");
    expect(status({ digest: "0".repeat(32) }, { digest: "1".repeat(32) })).toBe("diverged");
    expect(status({ digest: "0".repeat(32) }, { digest: "0".repeat(32) })).toBe("healthy");
    expect(status({ lagMs: BEHIND_MS })).toBe("behind");
    expect(status({}, { unaskedMs: BEHIND_MS + 1 })).toBe("behind");
    expect(status({ phase: "waiting" })).toBe("waiting");
    expect(status({}, { enabled: false })).toBe("disabled");
  });

  test("[AGENT-10] whatever a link says, healthy means: heard lately, complete, nothing open, not behind", () => {
    const state = fc.record({
      generation: fc.integer({ min: 2, max: 4 }),
      phase: fc.constantFrom(...LINK_PHASES),
      lagMs: fc.integer({ min: 0, max: 2 * BEHIND_MS }),
      conflicts: fc.integer({ min: 0, max: 1 }),
      problems: fc.integer({ min: 0, max: 1 }),
      syncedAgoMs: fc.option(fc.integer({ min: 0, max: 100_000 })),
      holdHash: fc.option(fc.constant("abcdefabcdef")),
    });
    fc.assert(
      fc.property(state, fc.integer({ min: 0, max: 40_000 }), fc.integer({ min: 0, max: 20_000 }), (part, agoMs, unaskedMs) => {
        const all = { ...good, ...part };
        if (linkStatus({ enabled: true, generation: 3, heard: { state: all, agoMs }, hostAgoMs: agoMs, unaskedMs }) !== "healthy") return;
        expect(agoMs <= SILENT_MS && all.generation === 3 && all.syncedAgoMs !== null).toBe(true);
        expect(all.conflicts + all.problems + (all.holdHash === null ? 0 : 1)).toBe(0);
        expect(lagMs(all, agoMs, unaskedMs) <= BEHIND_MS).toBe(true);
        expect(["halted", "held", "retrying", "waiting", "disabled"]).not.toContain(all.phase);
      }),
    );
  });

  test("[AGENT-10] a host is as its worst link, and silent when nothing is heard of it", () => {
    expect(hostStatus(10, [])).toBe("healthy");
    expect(hostStatus(10, ["healthy", "held", "behind"])).toBe("held");
    expect(hostStatus(10, ["healthy", "waiting", "disabled"])).toBe("healthy");
    expect(hostStatus(SILENT_MS + 1, ["healthy"])).toBe("silent");
    expect(hostStatus(undefined, [])).toBe("silent");
  });

  test("[AGENT-11] time is the hub's: a state ages while nothing is heard, whatever the agent's clock says", () => {
    const table = new PresenceTable();
    table.heartbeat("web1", [{ ...good, lagMs: 10 }], 86_400_000, 1000, 0);
    expect(table.skewMs("web1")).toBe(86_400_000);
    expect(table.heard("web1", good.id, 4000)).toEqual({ state: { ...good, lagMs: 10 }, agoMs: 3000 });
    expect(lagMs({ ...good, lagMs: 10 }, 3000, 0)).toBe(3010);
    table.told("web1", good.id, 2000);
    table.told("web1", good.id, 2500);
    expect(table.unaskedMs("web1", good.id, 4000)).toBe(2000);
    table.asked("web1", good.id);
    expect(table.unaskedMs("web1", good.id, 4000)).toBe(0);
    expect(table.takeDirty()).toMatchObject([{ host: "web1", heardWallMs: 0 }]);
    expect(table.takeDirty()).toEqual([]);
    table.forget("web1");
    expect(table.heardAgoMs("web1", 4000)).toBeUndefined();
  });
});
