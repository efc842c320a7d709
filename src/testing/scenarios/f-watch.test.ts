/** Scenarios 21, 28, 29, 46 and 47: sessions that watch while people work. */
import { describe, expect, test } from "bun:test";
import type { SessionEvent, SessionOptions } from "#sync/session/events.ts";
import { SimPair, type SimPairOptions, changesOf } from "#testing/scenarios/sim-pair.ts";

/** Longer than settling, rounds and pauses together. */
const QUIET_MS = 2000;

/** A watching session over a pair; `act` is what people do while it runs. Ends it and checks that it ended cleanly. */
async function watching(
  options: SimPairOptions & { readonly watch?: Partial<SessionOptions> },
  act: (pair: SimPair, wait: (ms: number) => void, events: readonly SessionEvent[]) => void,
): Promise<{ pair: SimPair; events: readonly SessionEvent[] }> {
  const pair = new SimPair(options);
  const boots = pair.boot();
  const stop = new AbortController();
  const { outcome, events } = pair.start(boots, { watch: true, ...options.watch }, stop);
  const wait = (ms: number): void => pair.clock.runFor(ms);
  wait(QUIET_MS);
  act(pair, wait, events);
  wait(QUIET_MS);
  stop.abort();
  const { summary, error } = await pair.clock.runUntilIdle(outcome);
  expect([error, summary?.result]).toEqual([undefined, "interrupted"]);
  expect([boots.alpha.fs.openFds(), boots.beta.fs.openFds()]).toEqual([0, 0]);
  pair.alpha.kill(boots.alpha);
  pair.beta.kill(boots.beta);
  expect(pair.beta.show()).toBe(pair.alpha.show());
  return { pair, events };
}

const madeOn = (events: readonly SessionEvent[], side: string): string[] =>
  changesOf({ events, summary: undefined, error: undefined }).filter((change) => change.startsWith(side));

describe("[S-21] faster than the session", () => {
  for (const settle of ["immediate", "throttle", "debounce"] as const) {
    test(`[S-21] deleted and made again, made, renamed and deleted: the last state wins (${settle})`, async () => {
      const { pair } = await watching({ watch: { settle } }, ({ alpha, beta }, wait) => {
        alpha.put({ f: "one", "d/x": "x" });
        wait(QUIET_MS);
        alpha.put({ f: undefined });
        alpha.put({ f: "again" });
        alpha.put({ short: "lived" });
        alpha.rename("short", "shorter");
        alpha.remove("shorter");
        alpha.remove("d");
        alpha.put({ d: "a file now" });
        wait(5);
        beta.put({ "n/m": "from beta" });
        beta.rename("n", "n2");
        wait(QUIET_MS);
        for (let round = 0; round < 20; round++) {
          alpha.put({ [`churn/${round % 3}`]: `${round}` });
          wait(round * 7);
          if (round % 4 === 3) alpha.remove(`churn/${round % 3}`);
        }
      });
      expect(pair.alpha.show()).toBe("churn/ churn/0=18 churn/2=17 d=a file now f=again n2/ n2/m=from beta");
    });
  }
});

describe("[S-40] case-only renames while watching", () => {
  for (const side of ["alpha", "beta"] as const) {
    test(`[S-40] on ${side}, where beta folds case: one file stays one file under its new name`, async () => {
      const { pair } = await watching({ beta: { disk: { caseInsensitive: true } } }, (both, wait) => {
        both.alpha.put({ "readme.md": "text", "docs/f": "one" });
        wait(QUIET_MS);
        both[side].rename("readme.md", "README.md");
        wait(50);
        both[side].rename("docs", "Docs");
        wait(QUIET_MS);
        both[side].put({ "Docs/f": "edited" });
      });
      expect(pair.alpha.show()).toBe("Docs/ Docs/f=edited README.md=text");
    });
  }
});

describe("[S-28] writes that nobody announces", () => {
  test("[S-28] a change without an event, as through a mapping, is found by the next rescan", async () => {
    const { pair } = await watching({ watch: { rescanMs: 60_000 } }, ({ alpha, beta }, wait) => {
      alpha.put({ f: "old" });
      wait(QUIET_MS);
      const inode = alpha.disk.inodeAt("/root/f");
      inode.mutable().write(Buffer.from("new"), 0);
      alpha.disk.touch(inode, true);
      wait(QUIET_MS);
      expect(beta.read("f")).toBe("old");
      wait(60_000);
    });
    expect(pair.beta.read("f")).toBe("new");
  });

  test("[S-28] a file that stays open for writing arrives with each settled write", async () => {
    const { pair } = await watching({ watch: { settle: "debounce" } }, ({ alpha, beta }, wait) => {
      const { fs } = alpha.user;
      const dir = fs.openRoot("/root");
      const fd = fs.create(dir, "log", 0o644);
      for (const [at, line] of ["one ", "two ", "three"].entries()) {
        fs.write(fd, Buffer.from(line), at * 4);
        wait(QUIET_MS);
        expect(beta.read("log")).toBe("one two three".slice(0, at * 4 + line.length));
      }
      fs.close(fd);
      fs.close(dir);
    });
    expect(pair.beta.read("log")).toBe("one two three");
  });
});

describe("[S-29] how editors save", () => {
  const saves: Record<string, (pair: SimPair, wait: (ms: number) => void) => void> = {
    "temporary file renamed over": ({ alpha }, wait) => {
      alpha.put({ "f~tmp": "" });
      wait(20);
      alpha.put({ "f~tmp": "new" });
      wait(20);
      alpha.rename("f~tmp", "f");
    },
    "truncated and written": ({ alpha }, wait) => {
      alpha.put({ f: "" });
      wait(20);
      alpha.put({ f: "new" });
    },
    "moved to a backup, written anew, backup removed": ({ alpha }, wait) => {
      alpha.rename("f", "f~");
      wait(20);
      alpha.put({ f: "" });
      wait(20);
      alpha.put({ f: "new" });
      wait(20);
      alpha.remove("f~");
    },
  };
  for (const [how, save] of Object.entries(saves)) {
    test(`[S-29] ${how}: with debounce the other side only ever sees the old and the new file`, async () => {
      const { pair, events } = await watching({ watch: { settle: "debounce" } }, (both, wait) => {
        both.alpha.put({ f: "old" });
        wait(QUIET_MS);
        save(both, wait);
      });
      expect(pair.beta.show()).toBe("f=new");
      expect(madeOn(events, "beta")).toEqual(["beta create f", "beta replace f"]);
      expect(madeOn(events, "alpha")).toEqual([]);
    });
  }
});

describe("[S-46] when watching is not enough", () => {
  test("[S-46] an overflow of the event queue is told, and ends with what a full scan finds", async () => {
    const { events } = await watching({ alpha: { watch: { queueMax: 8 } } }, ({ alpha }, wait) => {
      for (let at = 0; at < 40; at++) alpha.put({ [`d${at % 5}/f${at}`]: `${at}` });
      wait(QUIET_MS);
      for (let at = 0; at < 40; at += 2) alpha.remove(`d${at % 5}/f${at}`);
      wait(30_000);
    });
    expect(events.some((event) => event.type === "degraded" && event.side === "alpha")).toBe(true);
  });

  test("[S-46] too few watches degrade, and changes still arrive by rescans", async () => {
    const { pair, events } = await watching({ alpha: { watch: { watchesMax: 3 } } }, ({ alpha }, wait) => {
      for (let at = 0; at < 8; at++) alpha.put({ [`d${at}/f`]: "old" });
      wait(30_000);
      for (let at = 0; at < 8; at++) alpha.put({ [`d${at}/f`]: "new" });
      wait(30_000);
    });
    expect(events.some((event) => event.type === "degraded" && event.side === "alpha")).toBe(true);
    expect(pair.beta.read("d7/f")).toBe("new");
  });

  test("[S-46] directories made, renamed and made again faster than they can be watched", async () => {
    const { pair } = await watching({}, ({ alpha }, wait) => {
      alpha.put({ "a/b/c/d/e/f": "deep" });
      wait(1);
      alpha.rename("a", "z");
      alpha.put({ "a/b/c": "another" });
      wait(3);
      alpha.put({ "z/b/c/d/e/f": "deeper" });
      alpha.rename("z/b", "a/moved");
      wait(QUIET_MS);
      alpha.put({ "a/moved/c/d/e/g": "late" });
    });
    expect(pair.beta.show()).toContain("a/moved/c/d/e/g=late");
    expect(pair.beta.show()).toContain("a/moved/c/d/e/f=deeper");
  });

  test("[S-46] a side that cannot watch is looked at by the clock", async () => {
    const { pair } = await watching({ beta: { watch: false } }, ({ beta }, wait) => {
      beta.put({ f: "from beta" });
      wait(15_000);
    });
    expect(pair.alpha.read("f")).toBe("from beta");
  });
});

describe("[S-47] what the session itself writes", () => {
  test("[S-47] comes back as no change: neither while watching nor in the next session", async () => {
    const { pair, events } = await watching({}, ({ alpha, beta }, wait) => {
      alpha.put({ f: "one", "d/g": "two" });
      wait(QUIET_MS);
      beta.put({ "d/g": "three" });
      alpha.rename("f", "renamed");
      wait(QUIET_MS);
      alpha.remove("d");
      wait(60_000);
    });
    expect(madeOn(events, "beta")).toHaveLength(6);
    expect(madeOn(events, "alpha")).toEqual(["alpha replace d/g"]);
    const before = await sequences(pair);
    const outcome = await pair.run();
    expect([outcome.summary?.changes, outcome.summary?.bytes.scanned]).toEqual([0, 0]);
    expect(await sequences(pair)).toEqual(before);
  });

  async function sequences(pair: SimPair): Promise<number[]> {
    const out: number[] = [];
    for (const side of ["alpha", "beta"] as const) {
      await pair.withEndpoint(side, async (endpoint) => {
        const request = { since: 0, acknowledged: 0, extent: "full", deep: false } as const;
        const { seq } = await endpoint.scan(request, () => undefined, new AbortController().signal);
        out.push(seq);
      });
    }
    return out;
  }
});
