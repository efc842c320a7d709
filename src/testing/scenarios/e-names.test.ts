/** Scenarios 40–45: names that a disk cannot keep apart, links that lead out, special files, privileges, files of ours. */
import { describe, expect, test } from "bun:test";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import type { OpenRequest } from "#sync/endpoint/endpoint.ts";
import { SimPair, atCall, changesOf, problemsOf } from "#testing/scenarios/sim-pair.ts";

const REQUEST: Omit<OpenRequest, "sessionId"> = {
  seeds: { a: 1n, b: 2n },
  writable: true,
  ignore: [],
  include: [],
  preserve: PRESERVE_DEFAULT,
  durable: "batch",
  verifyReadBack: false,
  compress: "none",
  createRoot: false,
  expectRootId: undefined,
};

const folding = { beta: { disk: { caseInsensitive: true, normalise: true } } } as const;

describe("[S-40] names", () => {
  test("[S-40] two names that beta takes for one: the first is kept, the second reported, nothing merged or deleted", async () => {
    const pair = new SimPair(folding);
    pair.alpha.put({ "Readme.md": "upper", "readme.md": "lower", "D/f": "one", "d/g": "two", "\u00e9": "nfc", "e\u0301": "nfd" });
    const shown = pair.alpha.show();
    for (let round = 0; round < 3; round++) {
      const outcome = await pair.run();
      expect(outcome.summary?.result).toBe("problems");
      const named = problemsOf(outcome).map(({ path, side, code }) => [path, side, code]);
      expect(named.toSorted()).toEqual([["d", "beta", "NAME"], ["readme.md", "beta", "NAME"], ["\u00e9", "beta", "NAME"]].toSorted());
      expect(pair.beta.show()).toBe("D/ D/f=one Readme.md=upper e\u0301=nfd");
      expect(pair.alpha.show()).toBe(shown);
      if (round > 0) expect(changesOf(outcome)).toEqual([]);
    }
    // With the first gone the second has its place.
    pair.alpha.put({ "Readme.md": undefined });
    await pair.run();
    await pair.run();
    expect(pair.beta.show()).toContain("readme.md=lower");
    expect(pair.alpha.show()).toBe(shown.replace("Readme.md=upper ", ""));
  });

  test("[S-40] a rename that only changes the case arrives as such, from either side", async () => {
    for (const side of ["alpha", "beta"] as const) {
      const pair = new SimPair(folding);
      pair.alpha.put({ "readme.md": "text", "docs/f": "one" });
      await pair.agree();
      pair[side].rename("readme.md", "README.md");
      pair[side].rename("docs", "Docs");
      await pair.run();
      expect(await pair.agree()).toBe("Docs/ Docs/f=one README.md=text");
      expect(changesOf(await pair.run())).toEqual([]);
    }
  });

  test("[S-40] a rename of case with an edit gives way in the same run", async () => {
    const pair = new SimPair(folding);
    pair.alpha.put({ "readme.md": "text" });
    await pair.agree();
    pair.alpha.put({ "readme.md": undefined, "README.md": "other text" });
    expect(await pair.agree()).toBe("README.md=other text");
  });

  test("[S-40] invalid UTF-8, control characters, 255 bytes and names like our own travel as they are", async () => {
    const pair = new SimPair();
    const names = ["\udcff\udc80", "new\nline", "tab\t", "\u001b[31m", "n".repeat(255), ".syncline.bak", "a.conflict-beta-x", " ", "-rf"];
    for (const name of names) pair.alpha.put({ [name]: `content of ${names.indexOf(name)}`, [`dir/${name}`]: "" });
    expect(await pair.agree()).toBe(pair.alpha.show());
    expect(pair.beta.host.user.tree("/root").size).toBeGreaterThan(2 * names.length);
    // The longest name has room for the mark of a conflict's copy.
    const copying = { conflict: "copy" } as const;
    pair.alpha.put({ [names[4]!]: "mine" });
    pair.beta.put({ [names[4]!]: "yours" });
    await pair.agree(copying);
    expect([...pair.beta.contents().visible]).toEqual(expect.arrayContaining(["mine", "yours"]));
  });
});

describe("[S-41] links that lead out", () => {
  /** Everything outside the root, as it must stay. */
  const outside = (pair: SimPair, side: "alpha" | "beta"): string =>
    JSON.stringify([...pair[side].host.user.tree("/outside")].map(([path, { mode, content }]) => [path, mode, content]));

  test("[S-41] a parent swapped for a symlink at any moment of a run: nothing outside is changed", async () => {
    for (const exchange of [true, false]) {
      for (let k = exchange ? 1 : 2; k <= 220; k += 6) {
        const pair = new SimPair({ seed: k, disk: { exchange } });
        pair.alpha.put({ "d/f": "old", "d/gone": "x", "d/m": "m", "d/sub/g": "old" });
        await pair.agree();
        pair.beta.user.mkdir("/outside/sub");
        for (const name of ["f", "gone", "m", "sub/g"]) pair.beta.host.user.write(`/outside/${name}`, `precious ${name}`);
        const before = outside(pair, "beta");
        pair.alpha.put({ "d/f": "new", "d/gone": undefined, "d/new": "new", "d/sub/g": "new", "d/sub/n/k": "new" });
        pair.alpha.user.chmod("/root/d/m", 0o600);
        await pair.run({}, ({ beta }) =>
          atCall(beta, k, () => {
            const user = pair.beta.host.user;
            user.rename("/root/d", "/root/aside");
            user.symlink("/root/d", "/outside");
          }),
        );
        if (outside(pair, "beta") !== before) throw new Error(`call ${k}: ${outside(pair, "beta")}`);
        await pair.run();
        expect(outside(pair, "beta")).toBe(before);
      }
    }
  });

  test("[S-41] a parent swapped on the source: nothing outside is read", async () => {
    for (let k = 1; k <= 80; k++) {
      const pair = new SimPair({ seed: k });
      pair.alpha.put({ "d/f": "mine", "d/big": "b".repeat(140_000) });
      pair.alpha.user.mkdir("/outside");
      for (const name of ["f", "big"]) pair.alpha.host.user.write(`/outside/${name}`, `secret ${name}`);
      await pair.run({}, ({ alpha }) =>
        atCall(alpha, k, () => {
          const user = pair.alpha.host.user;
          user.rename("/root/d", "/elsewhere");
          user.symlink("/root/d", "/outside");
        }),
      );
      for (const content of pair.beta.contents().all) expect(content).not.toContain("secret");
      expect(await pair.agree()).toBe("d@/outside");
    }
  });

  test("[S-41] symlinks are copied as text and never followed, our own directory swapped for one neither", async () => {
    const pair = new SimPair();
    for (const side of [pair.alpha, pair.beta]) side.user.mkdir("/outside");
    pair.alpha.put({ f: "one" });
    pair.alpha.user.symlink("/root/up", "../outside");
    pair.alpha.user.symlink("/root/abs", "/outside");
    expect(await pair.agree()).toBe("abs@/outside f=one up@../outside");
    pair.beta.host.user.rename("/root/.syncline", "/outside/area");
    pair.beta.host.user.symlink("/root/.syncline", "/outside/area");
    const before = outside(pair, "beta");
    pair.alpha.put({ f: "two" });
    expect((await pair.run()).error).toBeDefined();
    expect(outside(pair, "beta")).toBe(before);
    expect(pair.beta.read("f")).toBe("one");
  });
});

describe("[S-43] special files and links", () => {
  test("[S-43] FIFOs, sockets and devices are reported, never opened, copied or replaced", async () => {
    const pair = new SimPair();
    for (const kind of ["fifo", "socket", "char", "block"] as const) pair.alpha.disk.makeSpecial(`/root/${kind}`, kind);
    pair.alpha.put({ f: "one" });
    pair.beta.put({ fifo: "a file where alpha has a FIFO" });
    const outcome = await pair.run();
    expect(problemsOf(outcome).map(({ path, code }) => `${path} ${code}`).toSorted()).toEqual(
      ["block", "char", "fifo", "socket"].map((path) => `${path} UNSUPPORTED`),
    );
    expect(pair.beta.show()).toBe("f=one fifo=a file where alpha has a FIFO");
    expect(pair.alpha.show()).toBe("block!block char!char f=one fifo!fifo socket!socket");
    pair.alpha.put({ f: undefined });
    pair.alpha.disk.makeSpecial("/root/f", "fifo");
    await pair.run();
    expect(pair.beta.read("f")).toBe("one");
  });

  test("[S-43] hard-linked files stay linked when that is carried, and are whole files when not", async () => {
    for (const hardlinks of [true, false]) {
      const pair = new SimPair({ session: { preserve: { ...PRESERVE_DEFAULT, hardlinks } } });
      pair.alpha.put({ "a/one": "shared", "b/": "" });
      pair.alpha.user.link("/root/a/one", "/root/b/two");
      expect(await pair.agree()).toBe("a/ a/one=shared b/ b/two=shared");
      const inode = (path: string): bigint => pair.beta.disk.inodeAt(`/root/${path}`).ino;
      expect(inode("a/one") === inode("b/two")).toBe(hardlinks);
      pair.alpha.user.patch("/root/b/two", "S", 0);
      expect(await pair.agree()).toBe("a/ a/one=Shared b/ b/two=Shared");
      expect(inode("a/one") === inode("b/two")).toBe(hardlinks);
      expect(changesOf(await pair.run())).toEqual([]);
    }
  });
});

describe("[S-44] privileges", () => {
  const owned = { preserve: { ...PRESERVE_DEFAULT, owner: "number" } } as const;

  test("[S-44] set-id bits and owners arrive, and nothing staged ever permits more than it shall in the end", async () => {
    const pair = new SimPair({ session: owned });
    pair.alpha.put({ suid: "program", secret: "secret", "d/f": "inside" });
    const { user } = pair.alpha;
    const uid = (path: string, to: number): void => {
      const fd = user.fs.openRoot("/root");
      user.fs.chownAt(fd, path, to, to);
      user.fs.close(fd);
    };
    for (const path of ["suid", "secret"]) uid(path, 1000);
    user.chmod("/root/suid", 0o4750);
    user.chmod("/root/secret", 0o600);
    user.chmod("/root/d", 0o700);
    const allowed: Record<string, number> = { program: 0o4750, secret: 0o600, inside: 0o644 };
    let looked = 0;
    await pair.run({}, ({ beta }) => {
      beta.fs.interleave = () => {
        for (const [path, { kind, mode, content }] of pair.beta.host.user.tree("/root")) {
          if (kind !== "file" || allowed[content] === undefined) continue;
          looked++;
          const inode = pair.beta.disk.inodeAt(`/root/${path}`);
          expect([path, (mode & ~allowed[content]).toString(8)]).toEqual([path, "0"]);
          // A set-id file that is not yet its owner's would lend out somebody else's rights.
          if (content === "program" && (mode & 0o6000) !== 0) expect([path, inode.uid]).toEqual([path, 1000]);
        }
      };
    });
    expect(looked).toBeGreaterThan(5);
    const { mode, uid: owner } = pair.beta.disk.inodeAt("/root/suid");
    expect([mode.toString(8), owner]).toEqual(["4750", 1000]);
    expect(changesOf(await pair.run())).toEqual([]);
  });

  test("[S-44] an owner that cannot be given is reported for its path, and the others go on", async () => {
    const pair = new SimPair({ session: owned, beta: { uid: 1000 } });
    pair.alpha.put({ f: "root's", g: "also root's" });
    pair.beta.disk.inodeAt("/root").uid = 1000;
    const outcome = await pair.run();
    expect(outcome.summary?.result).toBe("problems");
    expect(problemsOf(outcome).map(({ path, side, code }) => [path, side, code])).toEqual([
      ["f", "beta", "EPERM"],
      ["g", "beta", "EPERM"],
    ]);
    expect(pair.beta.show()).toBe("");
  });

  test("[S-44] a directory that may not be written keeps what it has, and says so", async () => {
    const pair = new SimPair({ beta: { uid: 1000 } });
    pair.beta.disk.inodeAt("/root").uid = 1000;
    pair.alpha.put({ "closed/f": "old", "open/f": "old" });
    await pair.agree();
    const closed = pair.beta.disk.inodeAt("/root/closed");
    closed.uid = 0;
    pair.alpha.put({ "closed/n": "new", "open/n": "new" });
    const outcome = await pair.run();
    expect(problemsOf(outcome).map(({ path, side, code }) => [path, side, code])).toEqual([["closed/n", "beta", "EACCES"]]);
    expect(pair.beta.show()).toBe("closed/ closed/f=old open/ open/f=old open/n=new");
    closed.uid = 1000;
    expect(await pair.agree()).toBe(pair.alpha.show());
  });
});

describe("[S-45] files of ours", () => {
  test("[S-45] what a crashed run staged is never synchronised and is cleared; what others staged is left alone", async () => {
    const pair = new SimPair();
    pair.alpha.put({ f: "one" });
    await pair.agree();
    const stage = "/root/.syncline/stage";
    const own = `${stage}/${"5".repeat(32)}`;
    pair.beta.user.write(`${own}/s0`, "left behind");
    pair.beta.user.mkdir(`${own}/s1/deep`);
    pair.beta.user.write(`${own}/s1/deep/f`, "left behind");
    pair.beta.user.mkdir(`${stage}/other-session`);
    pair.beta.user.write(`${stage}/other-session/s0`, "in use by another");
    expect(changesOf(await pair.run())).toEqual([]);
    expect(pair.beta.user.exists(`${own}/s0`) || pair.beta.user.exists(`${own}/s1`)).toBe(false);
    expect(pair.beta.user.read(`${stage}/other-session/s0`)).toBe("in use by another");
    expect(pair.alpha.show()).toBe("f=one");
  });

  test("[S-45] sessions that meet at a new root agree on who it is", async () => {
    for (let k = 1; k <= 40; k++) {
      const pair = new SimPair({ seed: k });
      const boots = [1, 2].map(() => pair.beta.host.boot({ asyncDelayMs: 1 }));
      const ids = boots.map(async (boot, at) => {
        // The second begins while the first is under way, at one moment or another.
        await pair.clock.turn(at * k * 0.1);
        const endpoint = pair.beta.endpoint(boot, `session ${at}`);
        const { rootId } = await endpoint.open({ ...REQUEST, sessionId: String(at).repeat(32) }, new AbortController().signal);
        await endpoint.close();
        return rootId;
      });
      const [first, second] = await pair.clock.runUntilIdle(Promise.all(ids));
      expect([k, second]).toEqual([k, first!]);
      expect([k, pair.beta.host.user.tree("/root/.syncline").keys().toArray()]).toEqual([
        k,
        [".gitignore", "root", "stage", `stage/${"0".repeat(32)}`, `stage/${"1".repeat(32)}`, "trash"],
      ]);
    }
  });
});
