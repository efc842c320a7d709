/** Directories whose mode keeps even their owner from changing or reading them. */
import { describe, expect, test } from "bun:test";
import { SimPair, type SimSide, changesOf } from "#testing/scenarios/sim-pair.ts";

const modes = (side: SimSide, ...paths: string[]): string[] =>
  paths.map((path) => side.disk.inodeAt(`/root/${path}`).mode.toString(8));

/** Both engines run as an ordinary user in roots that are open to everybody. */
function ordinary(): SimPair {
  const pair = new SimPair({ alpha: { uid: 1000 }, beta: { uid: 1000 } });
  for (const side of [pair.alpha, pair.beta]) side.user.chmod("/root", 0o777);
  return pair;
}

describe("read-only directories", () => {
  for (const who of ["root", "an ordinary user"]) {
    const make = (): SimPair => (who === "root" ? new SimPair() : ordinary());

    test(`[STAGE-1] a new tree of them arrives with its modes, and the source keeps its own (${who})`, async () => {
      const pair = make();
      pair.alpha.put({ "m/v1/pkg/f": "one", "m/v1/g": "two" });
      for (const path of ["m/v1/pkg", "m/v1", "m"]) pair.alpha.user.chmod(`/root/${path}`, 0o555);
      expect(await pair.agree()).toBe("m/ m/v1/ m/v1/g=two m/v1/pkg/ m/v1/pkg/f=one");
      expect(modes(pair.beta, "m", "m/v1", "m/v1/pkg")).toEqual(["555", "555", "555"]);
      expect(changesOf(await pair.run())).toEqual([]);
      expect(modes(pair.alpha, "m", "m/v1", "m/v1/pkg")).toEqual(["555", "555", "555"]);
    });

    test(`[STAGE-1] a file that gives way to one (${who})`, async () => {
      const pair = make();
      pair.alpha.put({ m: "file" });
      await pair.agree();
      pair.alpha.put({ m: undefined, "m/f": "one" });
      pair.alpha.user.chmod("/root/m", 0o555);
      expect(await pair.agree()).toBe("m/ m/f=one");
      expect(modes(pair.beta, "m")).toEqual(["555"]);
      expect(changesOf(await pair.run())).toEqual([]);
    });
  }
});
