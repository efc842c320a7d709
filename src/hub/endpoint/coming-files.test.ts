import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ComingFile, ComingFiles, type ComingReader } from "#hub/endpoint/coming-files.ts";
import { ComingView } from "#hub/endpoint/coming-view.ts";
import { LinkView } from "#hub/endpoint/link-view.ts";
import { SpaceRules } from "#hub/endpoint/space-rules.ts";
import { TestHub, TestLink } from "#hub/hub-fixture.ts";
import { seedsOf } from "#hub/hub-spaces.ts";
import type { Intake } from "#hub/space-service.ts";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { FsError } from "#platform/file-system.ts";
import type { ComingNews } from "#sync/endpoint/endpoint.ts";
import { IgnoreRules } from "#sync/scan/ignore.ts";
import { DATA_HEADER_BYTES } from "#sync/transfer/messages.ts";
import { giveBackBuffer, takeBuffer } from "#sync/wire/buffer-pool.ts";
import { until } from "#testing/agent-hub.ts";

const MIB = 1 << 20;
const SIZE = 40 * MIB;
const never = new AbortController().signal;

function randomBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, Math.min(length, at + 65_536)));
  return bytes;
}

/** As a piece of a file comes. */
function messageWith(body: Uint8Array): Uint8Array {
  const message = takeBuffer(DATA_HEADER_BYTES + body.length);
  message.set(body, DATA_HEADER_BYTES);
  return message;
}

/** What nobody owns any more gets other bytes. */
function spoilFree(): void {
  const taken = Array.from({ length: 16 }, () => takeBuffer(DATA_HEADER_BYTES + MIB).fill(0));
  for (const one of taken) giveBackBuffer(one);
}

async function readAll(reader: ComingReader, ahead: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(reader.size);
  const reads: Promise<number>[] = [];
  for (let at = 0; at < bytes.length; at += MIB) {
    reads.push(reader.read(bytes.subarray(at, at + MIB), at));
    if (reads.length === ahead) await reads.shift();
    // A reader that is no faster than what comes.
    await Bun.sleep(0);
  }
  await Promise.all(reads);
  return bytes;
}

describe("files that are coming", () => {
  let hub: TestHub;
  let intake: Intake;
  const bytes = randomBytes(SIZE);

  beforeEach(async () => {
    hub = await TestHub.open();
    await hub.spaces.createSpace(hub.who, "demo");
    intake = hub.spaces.intake(hub.who, "demo");
  });
  afterEach(async () => {
    await intake[Symbol.asyncDispose]();
    await hub[Symbol.asyncDispose]();
  });

  /** A file that comes piece by piece into the store, and what happens before each. */
  async function coming(before: (piece: number, file: ComingFile) => unknown): Promise<ComingFile> {
    const space = await hub.spaces.space(hub.who, "demo");
    const sink = intake.sink(SIZE);
    const stored = () => sink.stored;
    const source = { space: space.id, path: "large", size: SIZE, by: {}, stored, intake: () => hub.spaces.intake(hub.who, "demo") };
    const file = new ComingFiles().begin(source)!;
    for (let at = 0; at < SIZE; at += MIB) {
      await before(at / MIB, file);
      const message = messageWith(bytes.subarray(at, at + MIB));
      const piece = message.subarray(DATA_HEADER_BYTES);
      file.arrived(piece, at);
      await sink.write(piece);
      giveBackBuffer(message);
      spoilFree();
      file.stored();
    }
    const { sum } = await sink.end();
    file.stored();
    file.isWhole(sum);
    return file;
  }

  test("[COMING-1] readers that are there in time, late, and very late read the same bytes", async () => {
    const reads: Promise<Uint8Array>[] = [];
    const begin = (file: ComingFile, ahead: number): void => {
      const reader = file.reader(file.source.intake(), never);
      reads.push(readAll(reader, ahead).finally(() => reader[Symbol.dispose]()));
    };
    const file = await coming(async (piece, one) => {
      if (piece === 0) begin(one, 6);
      if (piece === 0) begin(one, 1);
      if (piece === 20) begin(one, 6);
      if (piece % 8 === 0) await Bun.sleep(1);
    });
    file.over(true);
    begin(file, 3);
    for (const read of await Promise.all(reads)) expect(Buffer.compare(read, bytes)).toBe(0);
  });

  test("[COMING-6] who sends a piece on has the message in which it came, or one of his own, until he gives it back", async () => {
    const space = await hub.spaces.space(hub.who, "demo");
    const source = { space: space.id, path: "large", size: SIZE, by: {}, stored: () => [], intake: () => intake };
    const file = new ComingFiles().begin(source)!;
    const readers = [1, 2, 3].map(() => file.reader(intake, never));
    const [first, second, late] = readers as [ComingReader, ComingReader, ComingReader];
    const body = bytes.subarray(0, MIB);
    const waiting = [first.take(0, MIB), second.take(0, MIB)];
    const message = messageWith(body);
    file.arrived(message.subarray(DATA_HEADER_BYTES), 0);
    giveBackBuffer(message);
    const taken = [...(await Promise.all(waiting)), await late.take(0, MIB)].map((one) => one!);
    for (const [at, one] of taken.entries()) one.fill(at + 1, 0, DATA_HEADER_BYTES);
    spoilFree();
    expect(taken[0]!.buffer).toBe(message.buffer);
    // None is left that waits for its next use.
    for (let at = 0; at < 16; at++) takeBuffer(MIB);
    for (const [at, one] of taken.entries()) {
      expect(one.subarray(0, DATA_HEADER_BYTES).every((byte) => byte === at + 1)).toBe(true);
      expect(Buffer.compare(one.subarray(DATA_HEADER_BYTES), body)).toBe(0);
      giveBackBuffer(one);
    }
    expect(taken.map(() => takeBuffer(MIB)).some(({ buffer }) => buffer === message.buffer)).toBe(true);
    for (const reader of readers) reader[Symbol.dispose]();
  });

  test("[COMING-2] a reader of what will not come, or that nobody waits for any more, is told", async () => {
    const space = await hub.spaces.space(hub.who, "demo");
    const source = { space: space.id, path: "large", size: SIZE, by: {}, stored: () => [], intake: () => intake };
    const files = new ComingFiles();
    const file = files.begin(source)!;
    const stop = new AbortController();
    const room = new Uint8Array(MIB);
    const [left, lost] = [file.reader(intake, stop.signal).read(room, 0), file.reader(intake, never).read(room, 0)];
    stop.abort();
    expect(await left.catch((error: unknown) => error)).toBeInstanceOf(FsError);
    file.over(false);
    expect(await lost.catch((error: unknown) => error)).toBeInstanceOf(FsError);
    expect(await file.whole.catch((error: unknown) => error)).toBeInstanceOf(FsError);
    expect(files.find(space.id, "large")).toBeUndefined();
  });

  test("[COMING-3] a link is told of new files below its prefix that it does not ignore, begun first and over last", async () => {
    const [mine, other, ignoring] = [hub.endpoint("demo"), hub.endpoint("demo", "d"), hub.endpoint("demo")];
    const web = new TestLink(hub, "web", "demo");
    const told = new Map<string, ComingNews[]>([["all", []], ["d", []], ["ignoring", []]]);
    const stop = new AbortController();
    writeFileSync(join(web.root, "first"), "1");
    await web.run();
    const seeds = seedsOf(await hub.spaces.space(hub.who, "demo"));
    const watched: Promise<void>[] = [];
    for (const [name, endpoint, ignore] of [["all", mine, []], ["d", other, []], ["ignoring", ignoring, ["*.iso"]]] as const) {
      await endpoint.open({
        sessionId: "0".repeat(32), seeds, writable: false, ignore, include: [], preserve: PRESERVE_DEFAULT, durable: "batch",
        verifyReadBack: false, compress: "none", createRoot: true, expectRootId: undefined,
      }, never);
      watched.push(endpoint.coming.watch((news) => told.get(name)!.push(news), stop.signal));
    }
    writeFileSync(join(web.root, "large.iso"), randomBytes(3 * MIB + 5));
    await web.run();
    await until("it is over", () => told.get("all")!.at(-1)?.type === "over");
    stop.abort();
    await Promise.all(watched);
    expect(told.get("all")!.map(({ type, path }) => `${type} ${path}`)).toEqual(["begun large.iso", "whole large.iso", "over large.iso"]);
    expect(told.get("all")!.at(-1)).toMatchObject({ isThere: true });
    expect(told.get("d")).toEqual([]);
    expect(told.get("ignoring")).toEqual([]);
    for (const endpoint of [mine, other, ignoring]) await endpoint.close();
  });

  test("[COMING-5] who watches hears of what keeps the hub from knowing what it may tell, and of no file after it", async () => {
    const space = await hub.spaces.space(hub.who, "demo");
    const coming = new ComingFiles();
    const source = (path: string) => ({ space: space.id, path, size: SIZE, by: {}, stored: () => [], intake: () => intake });
    // As a database answers whose process is ending.
    let fault: Error | undefined = new TypeError("the database is closed");
    const view = new LinkView(hub.spaces, hub.who, space, "");
    const rules = new SpaceRules(view, new IgnoreRules([], []));
    rules.ignores = async () => {
      if (fault !== undefined) throw fault;
      return false;
    };
    const seeds = seedsOf(space);
    const links = new ComingView({ coming, space: space.id, view, rules, host: hub.host, seeds, compress: "none", self: {} });
    const told: string[] = [];
    const watching = links.watch(({ path }) => told.push(path), never).catch((error: unknown) => error);
    coming.begin(source("first"));
    expect(await watching).toBe(fault);
    fault = undefined;
    coming.begin(source("second"));
    await Bun.sleep(0);
    expect(told).toEqual([]);
  });

  test("[COMING-4] more files and more readers than there is room for are not told of, and are refused", async () => {
    const space = await hub.spaces.space(hub.who, "demo");
    const source = (path: string, size = SIZE) => ({ space: space.id, path, size, by: {}, stored: () => [], intake: () => intake });
    const files = new ComingFiles();
    expect(files.begin(source("small", MIB))).toBeUndefined();
    const begun = Array.from({ length: 300 }, (_, at) => files.begin(source(`large ${at}`))).filter((one) => one !== undefined);
    expect(begun.length).toBe(256);
    expect(files.begin(source("large 0"))).toBeUndefined();
    for (const file of begun) file.over(false);
    expect(files.begin(source("large 0"))).toBeDefined();
    const places = Array.from({ length: 10 }, () => files.place()).filter((one) => one !== undefined);
    expect(places.length).toBe(8);
    places[0]![Symbol.dispose]();
    expect(files.place()).toBeDefined();
  });
});
