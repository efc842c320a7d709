/** What a session had sent to a foreign system when it was killed is known there again, however little its times tell. */
import { expect, test } from "bun:test";
import { ForeignPair } from "#sync/foreign/foreign-fixture.ts";
import type { Abilities } from "#sync/foreign/foreign-files.ts";
import { MemorySystem } from "#sync/foreign/memory-files-fixture.ts";

class Killed extends Error {}

const KINDS: [string, Partial<Abilities>][] = [
  ["keeps whole seconds", { system: "FTP", conditional: false, modes: false, symlinks: false, timeResolutionNs: 1_000_000_000n }],
  ["keeps no times", { system: "FTP", conditional: false, modes: false, symlinks: false, timeResolutionNs: 1_000_000_000n, setsTimes: false }],
];

test.each(KINDS)("[FOREIGN-107] what had arrived on a system that %s is agreed on: its removal and its edit go there", async (_name, abilities) => {
  for (const then of ["removed", "edited"] as const) {
    const system = new MemorySystem(abilities, false);
    using pair = new ForeignPair(() => system.client());
    pair.put("a", "the content that was sent", 1_600_000_000_123);
    system.fault = (call, path) => {
      if (call === "placed" && path === "a") throw new Killed();
    };
    expect((await pair.run()).error).toBeInstanceOf(Killed);
    system.fault = undefined;
    expect(system.files()).toEqual({ a: "the content that was sent" });
    pair.aheadMs += 600_000;
    system.nowNs += 600_000_000_000n;
    if (then === "removed") pair.remove("a");
    else pair.put("a", "another content");
    const { error, summary } = await pair.run();
    expect(error).toBeUndefined();
    expect([then, summary?.conflicts, summary?.problems]).toEqual([then, 0, 0]);
    expect(pair.files()).toEqual(then === "removed" ? {} : { a: "another content" });
    expect(system.files()).toEqual(pair.files());
  }
});
