/** Directories whose mode keeps even their owner from changing or reading them. */
import { describe, expect, test } from "bun:test";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { SimCrash } from "#testing/sim-process.ts";
import { SimPair, type SimSide, atCall, changesOf } from "#testing/scenarios/sim-pair.ts";

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

/** A pair whose ordinary users have agreed on a read-only directory; then alpha's creates, edits, removes and moves. */
async function changedInReadOnly(): Promise<SimPair> {
  const pair = ordinary();
  pair.alpha.put({ "ro/edit": "one", "ro/gone": "two", "ro/from": "three", "ro/dir/f": "four", "ro/old/f": "five", w: "six" });
  const { user } = pair.alpha;
  for (const path of ["ro/dir", "ro"]) user.chmod(`/root/${path}`, 0o555);
  await pair.agree();
  for (const path of ["ro", "ro/dir"]) user.chmod(`/root/${path}`, 0o755);
  pair.alpha.put({ "ro/edit": "changed", "ro/new": "new", "ro/sub/n": "newer" });
  user.remove("/root/ro/gone");
  user.rename("/root/ro/from", "/root/ro/to");
  user.rename("/root/ro/dir", "/root/moved");
  pair.alpha.remove("ro/old/f");
  pair.alpha.remove("ro/old");
  for (const path of ["moved", "ro"]) user.chmod(`/root/${path}`, 0o555);
  return pair;
}

const AFTER = "moved/ moved/f=four ro/ ro/edit=changed ro/new=new ro/sub/ ro/sub/n=newer ro/to=three w=six";

describe("changes in a directory that is read-only for its owner", () => {
  test("[STAGE-6] arrive, and its mode stays", async () => {
    const pair = await changedInReadOnly();
    expect(await pair.agree()).toBe(AFTER);
    expect(modes(pair.beta, "ro", "moved")).toEqual(["555", "555"]);
    expect(changesOf(await pair.run())).toEqual([]);
    expect(modes(pair.alpha, "ro", "moved")).toEqual(["555", "555"]);
  });

  test("[STAGE-6] a crash at any effect lends its mode for good on neither side", async () => {
    for (let k = 1; ; k++) {
      const pair = await changedInReadOnly();
      const outcome = await pair.run({}, ({ beta }) => {
        beta.fs.onEffect = (count) => {
          if (count === k) throw new SimCrash(`beta died at effect ${k}`);
        };
      });
      expect([k, await pair.agree()]).toEqual([k, AFTER]);
      expect([k, ...modes(pair.alpha, "ro", "moved"), ...modes(pair.beta, "ro", "moved")]).toEqual([k, "555", "555", "555", "555"]);
      if (outcome.error === undefined) break;
    }
  });

  test("[STAGE-7] a loss of power at any call of the recovery after such a crash lends it for good neither", async () => {
    const mode = (pair: SimPair): string => modes(pair.beta, "ro")[0]!;
    let lent = 0;
    for (let k = 1, isOver = false; !isOver; k++) {
      for (let call = 1, isOpen = false; !isOver && !isOpen; call++) {
        const pair = await changedInReadOnly();
        const outcome = await pair.run({}, ({ beta }) => {
          beta.fs.onEffect = (count) => {
            if (count === k) throw new SimCrash(`beta died at effect ${k}`);
          };
        });
        isOver = outcome.error === undefined;
        if (isOver || mode(pair) === "555") break;
        lent++;
        // What was done until then has come to the disk by itself.
        pair.beta.settle();
        const boot = pair.beta.host.boot();
        atCall(boot, call, () => {
          throw new SimCrash(`beta died at call ${call}`);
        });
        const opened = pair.withEndpoint("beta", () => Promise.resolve(), boot);
        isOpen = await opened.then(() => true, () => false);
        pair.beta.powerLoss(pair.random.fork("power"));
        await pair.withEndpoint("beta", () => Promise.resolve());
        expect([k, call, mode(pair)]).toEqual([k, call, "555"]);
      }
    }
    expect(lent).toBeGreaterThan(0);
  }, 30_000);
});

describe("a session that carries no modes", () => {
  for (const [how, size] of [["in its batch", 10], ["by a transfer", 300_000]] as const) {
    test(`[STAGE-9] leaves a file those that it has here, whatever they are there: what comes ${how}`, async () => {
      const pair = new SimPair({ session: { preserve: { ...PRESERVE_DEFAULT, mode: false } } });
      pair.alpha.put({ "secret": "one", "tool": "two", "other": "x".repeat(size) });
      pair.alpha.user.chmod("/root/tool", 0o600);
      await pair.agree();
      expect(modes(pair.beta, "secret", "tool")).toEqual(["644", "644"]);
      pair.beta.user.chmod("/root/secret", 0o600);
      pair.beta.user.chmod("/root/tool", 0o4755);
      pair.alpha.put({ secret: "s".repeat(size), tool: "t".repeat(size) });
      await pair.agree();
      expect(["secret", "tool"].map((path) => pair.beta.disk.inodeAt(`/root/${path}`).size())).toEqual([size, size]);
      // What others have written lends nobody the rights of its owner.
      expect(modes(pair.beta, "secret", "tool")).toEqual(["600", "755"]);
      // Bytes that are here already, under another name.
      pair.alpha.put({ secret: "x".repeat(size), tool: undefined });
      await pair.agree();
      expect(modes(pair.beta, "secret")).toEqual(["600"]);
      expect(modes(pair.alpha, "secret")).toEqual(["644"]);
      expect(changesOf(await pair.run())).toEqual([]);
    });
  }
});
