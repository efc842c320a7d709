import { describe, expect, test } from "bun:test";
import type { Fd } from "#platform/file-system.ts";
import { SimClock } from "#testing/sim-clock.ts";
import { contentDigest } from "#testing/sim-content.ts";
import { SimDisk, type SimDiskOptions } from "#testing/sim-disk.ts";
import { SimFs } from "#testing/sim-fs.ts";
import type { Inode } from "#testing/sim-inode.ts";
import { doubtfulOf, feignedOf } from "#testing/sim-oracle.ts";
import { SimRandom } from "#testing/sim-random.ts";
import { type Seen, SimUser } from "#testing/sim-user.ts";
import { Replica } from "#testing/sim-world.ts";

const SEEDS = 60;

function start(options: SimDiskOptions = {}): { disk: SimDisk; user: SimUser; fs: SimFs; root: Fd } {
  const disk = new SimDisk(new SimClock(), options);
  const user = new SimUser(disk);
  user.mkdir("/r");
  disk.settle();
  const fs = new SimFs(disk);
  return { disk, user, fs, root: fs.openRoot("/r") };
}

/** What a power loss leaves, over many seeds, of what `prepare` did. */
async function outcomes(
  options: SimDiskOptions,
  prepare: (world: ReturnType<typeof start>) => unknown,
  look: (user: SimUser, disk: SimDisk) => string,
): Promise<Set<string>> {
  const seen = new Set<string>();
  for (let seed = 0; seed < SEEDS; seed++) {
    const world = start(options);
    await prepare(world);
    world.disk.crash(new SimRandom(seed));
    checkConsistent(world.disk);
    seen.add(look(new SimUser(world.disk), world.disk));
  }
  return seen;
}

const show = (tree: Map<string, Seen>): string =>
  Array.from(tree, ([path, { kind, content }]) => (kind === "file" ? `${path}=${content}` : path)).join(" ");

/** A disk after a crash is one tree: every name counted, every inode reached. */
function checkConsistent(disk: SimDisk): void {
  const links = new Map<Inode, number>();
  let bytes = 0;
  const walk = (dir: Inode): void => {
    let subdirs = 0;
    for (const [key, link] of dir.entries!) {
      expect(link.dir).toBe(dir);
      expect(disk.keyOf(link.name)).toBe(key);
      const count = links.get(link.inode) ?? 0;
      links.set(link.inode, count + 1);
      if (count === 0) bytes += link.inode.content?.allocatedBytes() ?? 0;
      if (link.inode.entries === undefined) continue;
      subdirs++;
      expect(count).toBe(0);
      walk(link.inode);
    }
    expect(dir.subdirs).toBe(subdirs);
  };
  walk(disk.root);
  for (const [inode, count] of links) expect(inode.links.length).toBe(count);
  expect(disk.usedInodes).toBe(links.size + 1);
  expect(disk.usedBytes).toBe(bytes);
  expect(disk.isSettled()).toBe(true);
}

describe("sim-disk: power loss", () => {
  test("[SIM-9] what was synced survives, with its metadata, once its name is durable too", async () => {
    const seen = await outcomes(
      {},
      async ({ fs, root }) => {
        const fd = fs.create(root, "f", 0o640);
        fs.write(fd, new TextEncoder().encode("data"), 0);
        fs.setMtime(fd, 5n);
        await fs.sync(fd);
        await fs.sync(root);
      },
      (user, disk) => `${show(user.tree("/r"))} ${disk.inodeAt("/r/f").mtimeNs} ${disk.inodeAt("/r/f").mode}`,
    );
    expect([...seen]).toEqual([`f=data 5 ${0o640}`]);
  });

  test("[SIM-9] syncing a file does not make its name durable, unless the disk is told to be so kind", async () => {
    const prepare = async ({ fs, root }: ReturnType<typeof start>): Promise<void> => {
      const fd = fs.create(root, "f", 0o600);
      fs.write(fd, new TextEncoder().encode("data"), 0);
      await fs.sync(fd);
    };
    const look = (user: SimUser): string => show(user.tree("/r"));
    expect([...(await outcomes({}, prepare, look))].sort()).toEqual(["", "f=data"]);
    expect([...(await outcomes({ syncCoversName: true }, prepare, look))]).toEqual(["f=data"]);
  });

  test("[SIM-9] an un-synced file may be whole, torn at a sector, zeros, empty or gone", async () => {
    const content = "x".repeat(1200);
    const seen = await outcomes(
      {},
      ({ user }) => user.write("/r/f", content),
      (user) => {
        if (!user.exists("/r/f")) return "gone";
        const found = user.read("/r/f");
        if (found === content) return "whole";
        if (found === "") return "empty";
        if (/^\0+$/.test(found) && found.length === content.length) return "zeros";
        for (let at = 0; at < found.length; at += 512) expect(found.slice(at, at + 512)).toMatch(/^(x+|\0+)$/);
        return found.length === content.length ? "mixed" : "torn";
      },
    );
    expect([...seen].sort()).toEqual(["empty", "gone", "mixed", "torn", "whole", "zeros"]);
  });

  test("[SIM-10] a rename within or across directories happens or does not; the file is never lost or doubled", async () => {
    const seen = await outcomes(
      {},
      ({ user, disk }) => {
        user.mkdir("/r/a");
        user.mkdir("/r/b");
        user.write("/r/a/f", "new");
        user.write("/r/b/g", "old");
        disk.settle();
        user.rename("/r/a/f", "/r/b/g");
      },
      (user) => show(user.tree("/r")),
    );
    expect([...seen].sort()).toEqual(["a a/f=new b b/g=old", "a b b/g=new"]);
  });

  test("[SIM-10] a durable file moved into a directory that did not survive is still where it was", async () => {
    const seen = await outcomes(
      {},
      ({ user, disk }) => {
        user.write("/r/f", "1");
        user.write("/r/g", "2");
        disk.settle();
        user.mkdir("/r/new/deep");
        user.rename("/r/f", "/r/new/deep/f");
        user.rename("/r/g", "/r/new/g");
      },
      (user) => Array.from(user.tree("/r").values(), ({ content }) => content).sort().join(""),
    );
    expect([...seen]).toEqual(["12"]);
  });

  test("[SIM-10] so is one moved into a new directory that was synced, though nothing above it was", async () => {
    const seen = await outcomes(
      {},
      async ({ user, disk, fs }) => {
        user.mkdir("/r/from");
        user.write("/r/from/f", "1");
        disk.settle();
        user.mkdir("/r/new/deep");
        user.rename("/r/from/f", "/r/new/deep/f");
        await fs.sync(fs.openRoot("/r/new/deep"));
      },
      (user) => user.read("/r/new/deep/f"),
    );
    expect([...seen]).toEqual(["1"]);
  });

  test("[SIM-110] what nobody changed for long was written back: with its name, and as it was before what came later (seed 1060002385)", async () => {
    for (const later of [false, true]) {
      const seen = await outcomes(
        {},
        ({ user, disk }) => {
          user.write("/r/f", "first");
          disk.clock.spend(50e9);
          if (later) user.write("/r/f", "second");
        },
        (user) => user.read("/r/f") ?? "gone",
      );
      expect(seen.has("gone") || seen.has("")).toBe(false);
      expect(seen.has("first")).toBe(true);
      expect(seen.size > 1).toBe(later);
    }
  });

  test("[SIM-11] each directory keeps a prefix of its own changes; with a journal, all share one prefix", async () => {
    const prepare = ({ user, disk }: ReturnType<typeof start>): void => {
      user.mkdir("/r/a");
      user.mkdir("/r/b");
      disk.settle();
      for (let at = 1; at <= 3; at++) {
        user.mkdir(`/r/a/${at}`);
        user.mkdir(`/r/b/${at}`);
      }
    };
    const look = (user: SimUser): string => {
      const names = [...user.tree("/r").keys()];
      return ["a/", "b/"].map((dir) => names.filter((name) => name.startsWith(dir)).length).join("");
    };
    const free = await outcomes({}, prepare, look);
    expect(free.has("03") || free.has("02") || free.has("13")).toBe(true);
    const ordered = await outcomes({ orderedNames: true }, prepare, look);
    expect([...ordered].sort()).toEqual(["00", "10", "11", "21", "22", "32", "33"]);
  });

  test("[SIM-12] a sync that failed with EIO is not made good by a later one that says it worked", async () => {
    const seen = await outcomes(
      {},
      async ({ fs, root }) => {
        const fd = fs.create(root, "f", 0o600);
        fs.write(fd, new TextEncoder().encode("data"), 0);
        fs.faults = (call) => (call === "sync" ? "EIO" : undefined);
        await fs.sync(fd).catch(() => undefined);
        fs.faults = undefined;
        await fs.sync(fd);
        await fs.sync(root);
      },
      (user) => (user.read("/r/f") === "data" ? "kept" : "damaged"),
    );
    expect([...seen].sort()).toEqual(["damaged", "kept"]);
  });

  test("[SIM-12] what a refused sync left in doubt is not durable after a while either (seed 7024217)", async () => {
    const replica = new Replica("B", new SimClock(), new SimRandom(1), {});
    const { disk, user } = replica.host;
    const fs = new SimFs(disk);
    user.write("/root/doubtful", "doubtful");
    fs.faults = (call) => (call === "syncAll" ? "EIO" : undefined);
    await fs.syncAll(fs.openRoot("/root")).catch(() => undefined);
    user.write("/root/sound", "sound");
    disk.settle();
    expect([...doubtfulOf(replica)]).toEqual([contentDigest(new TextEncoder().encode("doubtful"))]);
  });

  test("[SIM-73] of what a refused sync left in doubt it is known what a later one claimed to have synced (seed 80032008)", async () => {
    const replica = new Replica("B", new SimClock(), new SimRandom(1), {});
    const { disk, user } = replica.host;
    const fs = new SimFs(disk);
    const root = fs.openRoot("/root");
    for (const name of ["claimed", "refused", "rewritten", "sound"]) user.write(`/root/${name}`, name);
    const fds = ["claimed", "refused", "rewritten"].map((name) => fs.openRead(root, name));
    fs.faults = (call) => (call === "sync" ? "EIO" : undefined);
    for (const fd of fds) await fs.sync(fd).catch(() => undefined);
    expect([...feignedOf(replica)]).toEqual([]);
    fs.faults = undefined;
    await fs.sync(fds[0]!);
    await fs.sync(fds[2]!);
    user.write("/root/rewritten", "after it");
    expect([...feignedOf(replica)]).toEqual([contentDigest(new TextEncoder().encode("claimed"))]);
  });

  test("content that a crash changed has a stat of its own, unless the disk lies", async () => {
    const lookFor = async (statMayLie: boolean): Promise<Set<string>> => {
      const seen = new Set<string>();
      for (let seed = 0; seed < SEEDS; seed++) {
        const { disk, user, fs, root } = start({ statMayLie });
        user.write("/r/f", "a".repeat(600));
        disk.settle();
        const before = fs.stat(root, "f");
        user.patch("/r/f", "b".repeat(600), 0);
        const after = fs.stat(root, "f");
        disk.crash(new SimRandom(seed));
        const { ctimeNs, misstated, content: left } = disk.inodeAt("/r/f");
        const content = new SimUser(disk).read("/r/f");
        const isOld = content === "a".repeat(600);
        const isNew = content === "b".repeat(600);
        const isTrue =
          isOld ? ctimeNs !== after.ctimeNs : isNew ? ctimeNs !== before.ctimeNs : ctimeNs > after.ctimeNs;
        seen.add(isTrue ? "true" : "lie");
        // Who judges a life can tell.
        if (!isTrue) expect(misstated).toBe(left);
      }
      return seen;
    };
    expect([...(await lookFor(false))]).toEqual(["true"]);
    expect((await lookFor(true)).has("lie")).toBe(true);
  });

  test("[SIM-1] random work, random syncs and a crash: always one consistent tree, the same for the same seed", async () => {
    for (let seed = 0; seed < 80; seed++) {
      const runs = [await randomRun(seed), await randomRun(seed)];
      expect(runs[0]).toBe(runs[1]!);
    }
  });
});

/** Random changes by a user and syncs; afterwards the durable file must be there and the disk whole. */
async function randomRun(seed: number): Promise<string> {
  const random = new SimRandom(seed);
  const { disk, user, fs } = start({ syncCoversName: seed % 2 === 0, orderedNames: seed % 3 === 0 });
  user.write("/r/anchor", "safe");
  disk.settle();
  const path = (): string => `/r/${random.pick(["a", "b", "c", "a/x", "b/y", "c/x", "a/x/z"])}`;
  for (let at = 0; at < 40; at++) {
    const target = path();
    const attempt = (): unknown => {
      switch (random.int(8)) {
        case 0:
          return user.mkdir(target);
        case 1:
          return user.remove(target);
        case 2:
          return user.rename(path(), target);
        case 3:
          return user.link(path(), target);
        case 4:
          return fs.sync(fs.openRoot(target));
        case 5:
          return fs.syncAll(fs.openRoot("/r"));
        default:
          return user.write(target, random.bytes(random.int(2000)));
      }
    };
    try {
      await attempt();
    } catch (error) {
      expect((error as Error).name).toBe("FsError");
    }
    if (random.chance(0.02)) disk.settle();
  }
  disk.crash(random);
  checkConsistent(disk);
  const after = new SimUser(disk);
  expect(after.read("/r/anchor")).toBe("safe");
  after.mkdir("/r/after");
  return JSON.stringify([...after.tree("/r")]);
}
