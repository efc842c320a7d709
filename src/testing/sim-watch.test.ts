import { describe, expect, test } from "bun:test";
import type { Fd } from "#platform/file-system.ts";
import type { WatchEvent, Watcher } from "#platform/watch-source.ts";
import { SimClock } from "#testing/sim-clock.ts";
import { SimDisk } from "#testing/sim-disk.ts";
import { SimFs } from "#testing/sim-fs.ts";
import { SimRandom } from "#testing/sim-random.ts";
import { SimUser } from "#testing/sim-user.ts";
import { type SimWatchOptions, SimWatchSource } from "#testing/sim-watch.ts";

function start(options: SimWatchOptions = {}): {
  clock: SimClock;
  disk: SimDisk;
  user: SimUser;
  fs: SimFs;
  root: Fd;
  watcher: Watcher;
  batches: WatchEvent[][];
  events: () => string[];
} {
  const clock = new SimClock();
  const disk = new SimDisk(clock);
  const user = new SimUser(disk);
  user.mkdir("/r");
  const fs = new SimFs(disk);
  const root = fs.openRoot("/r");
  const batches: WatchEvent[][] = [];
  const watcher = new SimWatchSource(fs, options).open((events) => batches.push(events));
  const events = (): string[] => {
    clock.runFor(1000);
    return batches.splice(0).flat().map(({ wd, type, name, isDir }) => `${wd} ${type} ${name}${isDir ? "/" : ""}`);
  };
  return { clock, disk, user, fs, root, watcher, batches, events };
}

describe("sim-watch", () => {
  test("[SIM-13] a watched directory tells what happens in it, in order, and nothing from below", () => {
    const { user, watcher, root, events } = start();
    expect(watcher.add(root)).toBe(1);
    user.mkdir("/r/d");
    user.write("/r/f", "x");
    user.chmod("/r/f", 0o600);
    user.write("/r/d/hidden", "x");
    user.rename("/r/f", "/r/d/f");
    user.remove("/r/d");
    expect(events()).toEqual([
      "1 create d/",
      "1 create f",
      "1 modify f",
      "1 close-write f",
      "1 attrib f",
      "1 moved-from f",
      "1 delete d/",
    ]);
  });

  test("[SIM-13] the two halves of a rename share a cookie; the directory's own watch stays with the inode", () => {
    const { user, watcher, fs, root, batches, clock } = start();
    user.mkdir("/r/a");
    watcher.add(root);
    const a = fs.openDir(root, "a");
    const wd = watcher.add(a);
    user.rename("/r/a", "/r/b");
    expect(watcher.add(fs.openDir(root, "b"))).toBe(wd);
    user.write("/r/b/f", "");
    clock.runFor(1);
    const [from, to, self, create] = batches.flat();
    expect(from).toMatchObject({ type: "moved-from", name: "a", isDir: true });
    expect(to).toMatchObject({ type: "moved-to", name: "b", cookie: from!.cookie });
    expect(from!.cookie).toBeGreaterThan(0);
    expect(self).toMatchObject({ type: "move-self", wd, name: "" });
    expect(create).toMatchObject({ type: "create", wd, name: "f" });
  });

  test("[SIM-13] a removed directory ends its watch, but only when nobody has it open any more", () => {
    const { user, watcher, fs, root, events } = start();
    user.mkdir("/r/a");
    const a = fs.openDir(root, "a");
    const wd = watcher.add(a);
    user.remove("/r/a");
    expect(events()).toEqual([]);
    fs.close(a);
    expect(events()).toEqual([`${wd} delete-self /`, `${wd} gone /`]);
    user.mkdir("/r/a");
    const next = watcher.add(fs.openDir(root, "a"));
    expect(next).not.toBe(wd);
    watcher.remove(next);
    user.write("/r/a/f", "x");
    expect(events()).toEqual([`${next} gone /`]);
  });

  test("[SIM-13] too many events are an overflow, too many watches ENOSPC, equal ones in a row are one", () => {
    const { user, watcher, fs, root, events } = start({ queueMax: 3, watchesMax: 1 });
    watcher.add(root);
    user.write("/r/f", "");
    expect(events()).toEqual(["1 create f", "1 close-write f"]);
    for (let at = 0; at < 5; at++) user.chmod("/r/f", 0o600 + at);
    expect(events()).toEqual(["1 attrib f"]);
    for (let at = 0; at < 10; at++) user.mkdir(`/r/d${at}`);
    expect(events()).toEqual(["1 create d0/", "1 create d1/", "1 create d2/", "-1 overflow "]);
    const d0 = fs.openDir(root, "d0");
    expect(() => watcher.add(d0)).toThrow("ENOSPC");
    user.write("/r/g", "");
    expect(events()).toEqual(["1 create g", "1 close-write g"]);
  });

  test("an unmount ends the watches in it; events may be lost by a fault; a dead process hears nothing", () => {
    const mounted = start({ drop: ({ name }) => name === "secret" });
    mounted.disk.mount("/r");
    mounted.watcher.add(mounted.fs.openRoot("/r"));
    mounted.user.write("/r/secret", "");
    mounted.disk.unmount("/r");
    expect(mounted.events()).toEqual(["1 unmount /", "1 gone /"]);
    const killed = start();
    killed.watcher.add(killed.root);
    killed.user.write("/r/f", "");
    killed.fs.kill();
    killed.user.write("/r/g", "");
    expect(killed.events()).toEqual([]);
  });

  test("delivery is late, never within the change itself, and batched", () => {
    const { user, watcher, root, batches, clock } = start({ random: new SimRandom(1), delayMs: 50 });
    watcher.add(root);
    user.mkdir("/r/a");
    user.mkdir("/r/b");
    expect(batches).toEqual([]);
    clock.runFor(50);
    expect(batches.map((batch) => batch.length)).toEqual([2]);
    watcher.close();
    user.mkdir("/r/c");
    clock.runFor(50);
    expect(batches).toHaveLength(1);
  });
});
