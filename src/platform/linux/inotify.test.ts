import { afterAll, describe, expect, test } from "bun:test";
import * as nodeFs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openHost } from "#platform/host-bun.ts";
import { decodeEvents } from "#platform/linux/inotify.ts";
import type { WatchEvent, Watcher } from "#platform/watch-source.ts";

const host = openHost();
const base = nodeFs.mkdtempSync(join(tmpdir(), "syncline-watch-"));
afterAll(() => nodeFs.rmSync(base, { recursive: true, force: true }));

/**
 * Collects events and waits until one satisfies a condition; the test's own time limit ends a wait in vain.
 */
class Collector {
  readonly events: WatchEvent[] = [];
  #wake: (() => void) | undefined;
  inCallback = false;

  readonly take = (events: WatchEvent[]): void => {
    this.inCallback = true;
    this.events.push(...events);
    this.#wake?.();
    this.inCallback = false;
  };

  async until(wanted: (event: WatchEvent) => boolean): Promise<WatchEvent> {
    for (;;) {
      const found = this.events.find(wanted);
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

function watching(use: (path: string, watcher: Watcher, collector: Collector, wd: number) => Promise<void>) {
  return async (): Promise<void> => {
    const path = nodeFs.mkdtempSync(join(base, "dir-"));
    const collector = new Collector();
    const watcher = host.watch!.open(collector.take);
    const dir = host.fs.openRoot(path);
    try {
      const wd = watcher.add(dir);
      host.fs.close(dir);
      await use(path, watcher, collector, wd);
    } finally {
      watcher.close();
    }
  };
}

/** One struct inotify_event. */
function record(wd: number, mask: number, cookie: number, name: string): Buffer {
  const bytes = Buffer.alloc(16 + (name === "" ? 0 : Math.ceil((name.length + 1) / 16) * 16));
  bytes.writeInt32LE(wd, 0);
  bytes.writeUInt32LE(mask, 4);
  bytes.writeUInt32LE(cookie, 8);
  bytes.writeUInt32LE(bytes.length - 16, 12);
  bytes.write(name, 16, "latin1");
  return bytes;
}

function decode(...records: Buffer[]): WatchEvent[] {
  const bytes = Buffer.concat(records);
  return decodeEvents(bytes, bytes.length);
}

describe("decoding", () => {
  test("[INOTIFY-1] records are decoded in order with names, kinds and cookies", () => {
    expect(
      decode(
        record(1, 0x4000_0100, 0, "dir"),
        record(2, 0x40, 77, "from"),
        record(3, 0x80, 77, "to-a-name-of-some-length"),
        record(2, 0x400, 0, ""),
        record(2, 0x8000, 0, ""),
        record(-1, 0x4000, 0, ""),
        record(4, 0x2, 0, "\xff"),
      ),
    ).toEqual([
      { wd: 1, name: "dir", isDir: true, cookie: 0, type: "create" },
      { wd: 2, name: "from", isDir: false, cookie: 77, type: "moved-from" },
      { wd: 3, name: "to-a-name-of-some-length", isDir: false, cookie: 77, type: "moved-to" },
      { wd: 2, name: "", isDir: false, cookie: 0, type: "delete-self" },
      { wd: 2, name: "", isDir: false, cookie: 0, type: "gone" },
      { wd: -1, name: "", isDir: false, cookie: 0, type: "overflow" },
      { wd: 4, name: "\udcff", isDir: false, cookie: 0, type: "modify" },
    ]);
  });

  test("[INOTIFY-2] only direct repetitions are left out", () => {
    const modify = record(1, 0x2, 0, "f");
    const events = decode(modify, modify, modify, record(1, 0x8, 0, "f"), modify, record(2, 0x2, 0, "f"));
    const told = events.map(({ wd, type }) => `${wd} ${type}`);
    expect(told).toEqual(["1 modify", "1 close-write", "1 modify", "2 modify"]);
  });
});

describe.if(host.watch !== undefined)("inotify", () => {
  test(
    "[INOTIFY-3] what happens in a watched directory is told, and not what happens below it",
    watching(async (path, _watcher, collector, wd) => {
      nodeFs.mkdirSync(join(path, "sub"));
      nodeFs.writeFileSync(join(path, "sub", "hidden"), "x");
      nodeFs.writeFileSync(join(path, "f"), "x");
      nodeFs.chmodSync(join(path, "f"), 0o600);
      nodeFs.unlinkSync(join(path, "f"));
      await collector.until(({ type }) => type === "delete");
      expect(collector.events.every((event) => event.wd === wd && event.name !== "hidden")).toBe(true);
      const sub = collector.events.find(({ name }) => name === "sub");
      expect(sub).toMatchObject({ type: "create", isDir: true });
      const own = collector.events.filter(({ name }) => name === "f").map(({ type }) => type);
      expect(own).toEqual(["create", "modify", "close-write", "attrib", "delete"]);
    }),
  );

  test(
    "[INOTIFY-4] both ends of a rename carry one cookie",
    watching(async (path, _watcher, collector) => {
      nodeFs.writeFileSync(join(path, "a"), "");
      nodeFs.renameSync(join(path, "a"), join(path, "b"));
      const to = await collector.until(({ type }) => type === "moved-to");
      const from = collector.events.find(({ type }) => type === "moved-from")!;
      expect([from.name, to.name]).toEqual(["a", "b"]);
      expect(to.cookie).toBe(from.cookie);
      expect(to.cookie).not.toBe(0);
    }),
  );

  test(
    "[INOTIFY-5] a directory keeps its number and is watched wherever it has been moved",
    watching(async (path, watcher, collector, wd) => {
      nodeFs.mkdirSync(join(path, "d"));
      const dir = host.fs.openRoot(join(path, "d"));
      nodeFs.renameSync(join(path, "d"), join(path, "e"));
      nodeFs.mkdirSync(join(path, "d"));
      const own = watcher.add(dir);
      expect(own).not.toBe(wd);
      expect(watcher.add(dir)).toBe(own);
      host.fs.close(dir);
      nodeFs.writeFileSync(join(path, "e", "f"), "");
      expect((await collector.until(({ name }) => name === "f")).wd).toBe(own);
    }),
  );

  test(
    "[INOTIFY-6] a removed watch, and one whose directory is removed, end with gone",
    watching(async (path, watcher, collector, wd) => {
      nodeFs.mkdirSync(join(path, "d"));
      const dir = host.fs.openRoot(join(path, "d"));
      const sub = watcher.add(dir);
      host.fs.close(dir);
      nodeFs.rmdirSync(join(path, "d"));
      await collector.until((event) => event.wd === sub && event.type === "gone");
      expect(collector.events.some((event) => event.wd === sub && event.type === "delete-self")).toBe(true);
      watcher.remove(sub);
      watcher.remove(wd);
      await collector.until((event) => event.wd === wd && event.type === "gone");
    }),
  );

  test(
    "[INOTIFY-7] events come from the event loop, never inside a call",
    watching(async (path, watcher, collector) => {
      nodeFs.writeFileSync(join(path, "f"), "");
      const dir = host.fs.openRoot(path);
      watcher.add(dir);
      host.fs.close(dir);
      expect(collector.events).toEqual([]);
      await collector.until(({ name }) => name === "f");
    }),
  );

  const queueMax = Number(nodeFs.readFileSync("/proc/sys/fs/inotify/max_queued_events", "utf8"));
  test.if(queueMax <= 20_000)(
    "[INOTIFY-8] an overflow of the kernel's queue is told, and watching goes on",
    watching(async (path, _watcher, collector) => {
      const dir = host.fs.openRoot(path);
      for (let at = 0; at <= queueMax / 3; at++) {
        host.fs.close(host.fs.create(dir, "f", 0o600));
        host.fs.unlink(dir, "f");
      }
      host.fs.close(dir);
      expect((await collector.until(({ type }) => type === "overflow")).wd).toBe(-1);
      nodeFs.writeFileSync(join(path, "after"), "");
      await collector.until(({ name }) => name === "after");
    }),
  );

  test("[INOTIFY-10] somebody who writes without a pause leaves room for other work, and afterwards all is heard as ever", async () => {
    const path = nodeFs.mkdtempSync(join(base, "dir-"));
    let calls = 0;
    const collector = new Collector();
    const watcher = host.watch!.open((events) => {
      calls++;
      const news = events.filter(({ name }) => name.startsWith("new"));
      if (news.length > 0) collector.take(news);
    });
    const dir = host.fs.openRoot(path);
    watcher.add(dir);
    host.fs.close(dir);
    const storm = `
      const { openSync, writeSync } = require("node:fs");
      const files = ["a", "b"].map((name) => openSync(${JSON.stringify(path)} + "/" + name, "w"));
      // Two of them, as the kernel leaves out an event like the one before it.
      for (;;) for (const file of files) writeSync(file, "x", 0);`;
    for (let round = 0; round < 2; round++) {
      const child = Bun.spawn([process.execPath, "-e", storm], { stderr: "inherit" });
      while (calls < 100) await Bun.sleep(1);
      let most = 0;
      for (let turn = 0; turn < 200; turn++) {
        const before = calls;
        await Bun.sleep(1);
        most = Math.max(most, calls - before);
      }
      child.kill("SIGKILL");
      await child.exited;
      expect(most).toBeLessThan(500);
      calls = 0;
      // Again and again, as the kernel's queue may still be full.
      while (!collector.events.some(({ name }) => name === `new ${round} at once`)) {
        nodeFs.writeFileSync(join(path, `new ${round} at once`), "");
        await Bun.sleep(1);
      }
      for (const name of [`new ${round} later`, `new ${round} at last`]) {
        await Bun.sleep(50);
        nodeFs.writeFileSync(join(path, name), "");
        await collector.until((event) => event.name === name);
      }
    }
    watcher.close();
  });

  test("two watchers are independent queues, and a closed one is silent", async () => {
    const path = nodeFs.mkdtempSync(join(base, "dir-"));
    const collectors = [new Collector(), new Collector(), new Collector()];
    const watchers = collectors.map((collector) => host.watch!.open(collector.take));
    const dir = host.fs.openRoot(path);
    for (const watcher of watchers) watcher.add(dir);
    host.fs.close(dir);
    watchers[2]!.close();
    watchers[2]!.close();
    nodeFs.writeFileSync(join(path, "f"), "");
    await collectors[0]!.until(({ name }) => name === "f");
    await collectors[1]!.until(({ name }) => name === "f");
    expect(collectors[2]!.events).toEqual([]);
    watchers[0]!.close();
    watchers[1]!.close();
  });

  test("[INOTIFY-9] a watcher keeps the process running exactly until it is closed", async () => {
    const path = nodeFs.mkdtempSync(join(base, "dir-"));
    const program = `
      import { openHost } from ${JSON.stringify(join(import.meta.dir, "../host-bun.ts"))};
      const host = openHost();
      const dir = host.fs.openRoot(${JSON.stringify(path)});
      const watcher = host.watch.open((events) => {
        if (!events.some(({ name }) => name === "stop")) return;
        watcher.close();
        // On a file system that has nothing to write, so that a busy disk does not slow this down.
        host.fs.syncAll(host.fs.openRoot("/proc")).then(() => process.stdout.write("done"));
      });
      watcher.add(dir);
      process.stdout.write("ready ");`;
    const child = Bun.spawn([process.execPath, "-e", program], { stdout: "pipe", stderr: "inherit" });
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    expect((await reader.read()).value).toBe("ready ");
    nodeFs.writeFileSync(join(path, "other"), "");
    nodeFs.writeFileSync(join(path, "stop"), "");
    expect((await reader.read()).value).toBe("done");
    expect(await child.exited).toBe(0);
  });
});
