import type { Abilities } from "#sync/foreign/foreign-files.ts";
import { foreignContract } from "#sync/foreign/foreign-contract.ts";
import { MemorySystem } from "#sync/foreign/memory-files-fixture.ts";

const variants: [string, Partial<Abilities>, boolean][] = [
  ["the able system in memory", {}, true],
  ["the system in memory without tags", { timeResolutionNs: 1_000_000_000n }, false],
  ["the poor system in memory", { setsTimes: false, timeResolutionNs: 0n, renames: "none", modes: false, symlinks: false }, true],
];

for (const [name, abilities, hasTags] of variants) {
  foreignContract(name, async () => {
    const system = new MemorySystem(abilities, hasTags);
    return { files: system.client(), other: () => system.client(), dispose: () => undefined };
  });
}
