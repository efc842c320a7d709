import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  closeSync, cpSync, openSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync, writeSync,
} from "node:fs";
import { join } from "node:path";
import { TestHub, TestLink } from "#hub/hub-fixture.ts";
import { SynclineError } from "#model/error.ts";
import { FsError } from "#platform/file-system.ts";
import type { Pin } from "#store/chunk-store.ts";
import type { Channel } from "#sync/wire/channel.ts";

const MIB = 1 << 20;

function randomBytes(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, Math.min(length, at + 65_536)));
  return bytes;
}

/** Calls back with the bytes that have come, before each further message is handed over. */
function watched(channel: Channel, onBytes: (bytes: number) => unknown): Channel {
  let bytes = 0;
  return {
    send: (message) => channel.send(message),
    end: () => channel.end(),
    fail: (error) => channel.fail(error),
    async receive() {
      const message = await channel.receive();
      bytes += message?.length ?? 0;
      await onBytes(bytes);
      return message;
    },
  };
}

describe("large files on their way into a space", () => {
  let hub: TestHub;
  let web: TestLink;
  /** What happens while a link's files arrive. */
  let onBytes: (bytes: number) => unknown;

  beforeEach(async () => {
    hub = await TestHub.open();
    await hub.spaces.createSpace(hub.who, "demo");
    web = new TestLink(hub, "web", "demo");
    onBytes = () => undefined;
    const endpoint = hub.endpoint.bind(hub);
    hub.endpoint = (...parts) => {
      const made = endpoint(...parts);
      const receive = made.receive.bind(made);
      made.receive = (channel, ...rest) => receive(watched(channel, (bytes) => onBytes(bytes)), ...rest);
      return made;
    };
  });
  afterEach(() => hub[Symbol.asyncDispose]());

  function stagedBytes(): number {
    const items = readdirSync(join(hub.dir, "stage"), { recursive: true, withFileTypes: true });
    return items.reduce((sum, item) => (item.isFile() ? sum + statSync(join(item.parentPath, item.name)).blocks * 512 : sum), 0);
  }

  async function stored(path: string): Promise<Buffer> {
    const version = await hub.spaces.version(hub.who, "demo", path);
    const reader = await hub.spaces.open(hub.who, "demo", version!);
    const bytes = Buffer.alloc(reader.size);
    await reader.read(bytes, 0);
    return bytes;
  }

  test("[SPACE-33] a new file goes into the store as it comes, and no more than its last piece through the stage", async () => {
    const bytes = randomBytes(5 * MIB + 1000);
    writeFileSync(join(web.root, "large"), bytes);
    let most = 0;
    onBytes = () => (most = Math.max(most, stagedBytes()));
    expect((await web.run()).summary.result).toBe("same");
    expect((await stored("large")).equals(bytes)).toBe(true);
    expect(most).toBeLessThanOrEqual(MIB);
    expect(stagedBytes()).toBe(0);
    expect((await web.run()).summary.changes).toBe(0);
  });

  test("[SPACE-33] one with holes comes whole", async () => {
    const bytes = randomBytes(9 * MIB + 5);
    bytes.fill(0, 2 * MIB, 5 * MIB);
    bytes.fill(0, 8 * MIB);
    writeFileSync(join(web.root, "holes"), bytes);
    expect((await web.run()).summary.result).toBe("same");
    expect((await stored("holes")).equals(bytes)).toBe(true);
    expect(stagedBytes()).toBe(0);
  });

  test("[SPACE-33] one that is changed while it is read comes as it is then", async () => {
    const bytes = randomBytes(30 * MIB);
    writeFileSync(join(web.root, "changed"), bytes);
    let isChanged = false;
    // The source is not through yet: it is ahead by a window and a few pieces at most.
    onBytes = (count) => {
      if (isChanged || count < 3 * MIB) return;
      isChanged = true;
      bytes.write("changed in place", 100);
      const fd = openSync(join(web.root, "changed"), "r+");
      writeSync(fd, "changed in place", 100);
      closeSync(fd);
    };
    const { events } = await web.run();
    // At once, and not in a second cycle because something else was put together.
    expect(events.filter((event) => event.type === "phase" && event.phase === "transferring")).toHaveLength(1);
    expect((await stored("changed")).equals(bytes)).toBe(true);
    expect(stagedBytes()).toBe(0);
  });

  test("[SPACE-34] a transfer that was cut off goes on from what had come", async () => {
    const bytes = randomBytes(12 * MIB);
    writeFileSync(join(web.root, "large"), bytes);
    const stop = new AbortController();
    onBytes = (count) => {
      if (count > 9 * MIB) stop.abort();
    };
    await web.run({}, stop.signal).catch(() => undefined);
    expect(await hub.files("demo")).toEqual({});
    const { summary } = await web.run();
    expect(summary.result).toBe("same");
    expect(summary.bytes.literal).toBeLessThan(8 * MIB);
    expect((await stored("large")).equals(bytes)).toBe(true);
    expect(stagedBytes()).toBe(0);
  });

  test("[SPACE-34] and so does one of a hub that was killed, as far as its disk has it", async () => {
    const bytes = randomBytes(26 * MIB);
    writeFileSync(join(web.root, "large"), bytes);
    const stop = new AbortController();
    const [stage, found] = ["stage", "found"].map((name) => join(hub.dir, name)) as [string, string];
    onBytes = (count) => {
      if (count < 24 * MIB || stop.signal.aborted) return;
      cpSync(stage, found, { recursive: true });
      stop.abort();
    };
    await web.run({}, stop.signal).catch(() => undefined);
    // Whatever was written down at the end was not.
    rmSync(stage, { recursive: true });
    renameSync(found, stage);
    const { summary } = await web.run();
    expect(summary.result).toBe("same");
    expect(summary.bytes.literal).toBeLessThan(17 * MIB);
    expect((await stored("large")).equals(bytes)).toBe(true);
  });

  test("[SPACE-35] a disk that is full while a file arrives is a problem of the file, as in the stage", async () => {
    writeFileSync(join(web.root, "large"), randomBytes(12 * MIB));
    writeFileSync(join(web.root, "small"), "small");
    const pin = hub.chunks.pin.bind(hub.chunks);
    hub.chunks.pin = (): Pin => {
      const made = pin();
      const refuse = (bytes: Uint8Array): boolean => bytes.length > 1000;
      const put: Pin["put"] = (id, bytes) => {
        if (!refuse(bytes)) return made.put(id, bytes);
        const cause = new FsError("ENOSPC", "write");
        throw new SynclineError({ code: "DISK", op: "write chunks", message: "the disk is full", cause });
      };
      return { ...made, put, [Symbol.dispose]: () => made[Symbol.dispose]() };
    };
    const { summary } = await web.run();
    expect(summary).toMatchObject({ result: "problems", problems: 1 });
    expect(await hub.files("demo")).toEqual({ small: "small" });
    hub.chunks.pin = pin;
    expect((await web.run()).summary.result).toBe("same");
  });

  test("[SPACE-37] a staged file that a lost connection of the same link has taken away is sent again", async () => {
    const bytes = randomBytes(300 << 10);
    writeFileSync(join(web.root, "staged"), bytes);
    let taken = 0;
    const endpoint = hub.endpoint.bind(hub);
    hub.endpoint = (...parts) => {
      const made = endpoint(...parts);
      const apply = made.apply.bind(made);
      made.apply = (...run) => {
        const application = apply(...run);
        const push = application.push.bind(application);
        application.push = (ops) => {
          const items = readdirSync(join(hub.dir, "stage"), { recursive: true, withFileTypes: true });
          const staged = items.filter((item) => item.isFile());
          if (taken === 0) for (const item of staged) rmSync(join(item.parentPath, item.name));
          taken += staged.length;
          return push(ops);
        };
        return application;
      };
      return made;
    };
    expect((await web.run()).summary.result).toBe("same");
    expect(taken).toBeGreaterThan(0);
    expect((await stored("staged")).equals(bytes)).toBe(true);
  });

  test("[SPACE-36] what a link is given of a large file is what was committed: otherwise it is a problem", async () => {
    const bytes = randomBytes(3 * MIB);
    writeFileSync(join(web.root, "large"), bytes);
    await web.run();
    const get = hub.chunks.getUnproved.bind(hub.chunks);
    hub.chunks.getUnproved = async (id) => {
      const chunk = (await get(id)).slice();
      chunk[7]! ^= 1;
      return chunk;
    };
    const other = new TestLink(hub, "other", "demo");
    const { summary, events } = await other.run();
    expect(summary).toMatchObject({ result: "problems", changes: 0 });
    expect(JSON.stringify(events)).toContain("not those that were committed");
    expect(readdirSync(other.root).filter((name) => !name.startsWith("."))).toEqual([]);
    hub.chunks.getUnproved = get;
    expect((await other.run()).summary.result).toBe("same");
    expect(readFileSync(join(other.root, "large")).equals(bytes)).toBe(true);
  });
});
