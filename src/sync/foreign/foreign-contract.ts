/**
 * What every ForeignFiles must do, as a suite: `foreignContract("SFTP", open)` inside a test file. It uses nothing but the
 * interface and an empty place; where a system lacks an ability the suite checks that it says so.
 */
import { describe, expect, test } from "bun:test";
import { type ErrorCode, SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import {
  type Abilities,
  type ForeignEntry,
  type ForeignFiles,
  isExpected,
  isPartialName,
} from "#sync/foreign/foreign-files.ts";

export type ForeignFixture = {
  /** Not connected yet; its root is there, empty and writable, or is a prefix that nothing has. */
  readonly files: ForeignFiles;
  /** Another client of the same place. */
  readonly other: () => ForeignFiles;
  /** A client whose password is wrong, where there are passwords. */
  readonly stranger?: (() => ForeignFiles) | undefined;
  readonly dispose: () => Promise<void> | void;
};

const MTIME = 1_600_000_000_000_000_000n;
const LARGE_BYTES = 11_000_003;
const never = new AbortController().signal;

async function* once(...parts: (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield typeof part === "string" ? new Uint8Array(Buffer.from(part)) : part;
}

async function* breaking(text: string): AsyncGenerator<Uint8Array> {
  yield new Uint8Array(Buffer.from(text));
  throw new Error("the source broke");
}

/** Bytes that no two places of a file have alike. */
function noise(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = 1;
  for (let at = 0; at < length; at++) bytes[at] = (state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0) >>> 16;
  return bytes;
}

/** The code of the SynclineError that it rejects with; "ok" when it does not. */
async function refusal(attempt: Promise<unknown>): Promise<ErrorCode | "ok"> {
  try {
    await attempt;
    return "ok";
  } catch (error) {
    if (error instanceof SynclineError) return error.code;
    throw error;
  }
}

class Place {
  readonly files: ForeignFiles;
  readonly abilities: Abilities;
  readonly fixture: ForeignFixture;

  constructor(fixture: ForeignFixture, abilities: Abilities) {
    this.fixture = fixture;
    this.files = fixture.files;
    this.abilities = abilities;
  }

  put(path: RelPath, text: string, expected?: ForeignEntry | "absent"): Promise<ForeignEntry> {
    return this.files.write(path, once(text), { size: Buffer.byteLength(text), expect: expected }, never);
  }

  async text(path: RelPath, offset = 0, files = this.files): Promise<string> {
    const parts: Uint8Array[] = [];
    for await (const part of files.read(path, { offset }, never)) parts.push(part.slice());
    return Buffer.concat(parts).toString();
  }

  async names(dir: RelPath, files = this.files): Promise<string[]> {
    const all: string[] = [];
    for await (const batch of files.list(dir, never)) for (const { path } of batch) all.push(path);
    return all.sort();
  }

  async entry(path: RelPath): Promise<ForeignEntry | undefined> {
    return this.files.stat(path, never);
  }
}

export function foreignContract(name: string, open: () => Promise<ForeignFixture>, timeoutMs = 60_000): void {
  const using = (body: (place: Place) => Promise<void>) => async (): Promise<void> => {
    const fixture = await open();
    try {
      await body(new Place(fixture, await fixture.files.connect(never)));
    } finally {
      await fixture.files.close();
      await fixture.dispose();
    }
  };
  describe(`${name} keeps the contract of a foreign system`, () => {
    reading(using, timeoutMs);
    writing(using, timeoutMs);
    expectations(using, timeoutMs);
    names(using, timeoutMs);
    directories(using, timeoutMs);
  });
}

type Using = (body: (place: Place) => Promise<void>) => () => Promise<void>;

function reading(using: Using, timeoutMs: number): void {
  test("[FOREIGN-1] what was written is told and read as it is, from any offset", using(async (place) => {
    const written = await place.put("a.txt", "hello there");
    expect(written.kind).toBe("file");
    expect(written.size).toBe(11);
    const found = await place.entry("a.txt");
    expect(isExpected(found, written)).toBe(true);
    expect(await place.text("a.txt")).toBe("hello there");
    expect(await place.text("a.txt", 6)).toBe("there");
    expect(await place.text("a.txt", 11)).toBe("");
    expect(await place.names("")).toEqual(["a.txt"]);
  }), timeoutMs);

  test("[FOREIGN-1] an empty file and a large one come back byte for byte", using(async (place) => {
    await place.put("empty", "");
    expect((await place.entry("empty"))?.size).toBe(0);
    expect(await place.text("empty")).toBe("");
    const bytes = noise(LARGE_BYTES);
    const parts = [bytes.subarray(0, 1), bytes.subarray(1, 6_000_000), bytes.subarray(6_000_000)];
    await place.files.write("large", once(...parts), { size: LARGE_BYTES }, never);
    const hasher = new Bun.CryptoHasher("sha256");
    for await (const part of place.files.read("large", {}, never)) hasher.update(part);
    expect(hasher.digest("hex")).toBe(Bun.SHA256.hash(bytes, "hex"));
    const tail: Uint8Array[] = [];
    for await (const part of place.files.read("large", { offset: LARGE_BYTES - 5 }, never)) tail.push(part.slice());
    expect(Buffer.concat(tail)).toEqual(Buffer.from(bytes.subarray(LARGE_BYTES - 5)));
  }), timeoutMs);

  test("[FOREIGN-2] what is not there is absent to a look, and NOT_FOUND to all else", using(async (place) => {
    expect(await place.entry("none")).toBeUndefined();
    expect(await place.entry("no/dir/none")).toBeUndefined();
    expect(await refusal(place.text("none"))).toBe("NOT_FOUND");
    expect(await refusal(place.files.remove("none", {}, never))).toBe("NOT_FOUND");
    expect(await refusal(place.names("none"))).toBe("NOT_FOUND");
    expect(await refusal(place.files.removeDir("none", never))).toBe("NOT_FOUND");
  }), timeoutMs);

  test("[FOREIGN-2] a read that was to find one file and finds another is STALE", using(async (place) => {
    const old = await place.put("a", "one");
    await place.files.write("a", once("longer"), {}, never);
    const parts = place.files.read("a", { expect: old }, never);
    expect(await refusal((async () => {
      for await (const part of parts) void part;
    })())).toBe("STALE");
  }), timeoutMs);

  test("[FOREIGN-3] a stranger is not let in", using(async (place) => {
    const stranger = place.fixture.stranger?.();
    if (stranger === undefined) return;
    const code = await refusal((async () => {
      await stranger.connect(never);
      await stranger.stat("a", never);
    })());
    expect(["AUTH", "DENIED"]).toContain(code);
    await stranger.close();
  }), timeoutMs);
}

function writing(using: Using, timeoutMs: number): void {
  test("[FOREIGN-4] a write whose bytes break off or are not as many as said leaves what was there", using(async (place) => {
    await place.put("a", "old");
    await expect(place.files.write("a", breaking("half"), {}, never)).rejects.toThrow("the source broke");
    expect(await refusal(place.files.write("a", once("four"), { size: 9 }, never))).not.toBe("ok");
    expect(await refusal(place.files.write("a", once("too many"), { size: 3 }, never))).not.toBe("ok");
    await expect(place.files.write("b", breaking("half"), {}, never)).rejects.toThrow("the source broke");
    expect(await place.text("a")).toBe("old");
    expect(await place.names("")).toEqual(["a"]);
  }), timeoutMs);

  test("[FOREIGN-4] while a file is being written nobody sees it, or sees the old one", using(async (place) => {
    await place.put("a", "old");
    const watcher = place.fixture.other();
    await watcher.connect(never);
    const seen: string[][] = [];
    const texts: string[] = [];
    const slow = async function* (): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(Buffer.from("new "));
      seen.push((await place.names("", watcher)).filter((path) => !isPartialName(path)));
      texts.push(await place.text("a", 0, watcher));
      yield new Uint8Array(Buffer.from("content"));
    };
    await place.files.write("a", slow(), {}, never);
    await place.files.write("b", slow(), {}, never);
    expect(seen).toEqual([["a"], ["a"]]);
    expect(texts).toEqual(["old", "new content"]);
    expect(await place.text("b", 0, watcher)).toBe("new content");
    await watcher.close();
  }), timeoutMs);

  test("[FOREIGN-5] a file keeps the time it is given, as exact as was said, or the system says that it keeps none", using(async (place) => {
    const { setsTimes, timeResolutionNs } = place.abilities;
    const written = await place.files.write("a", once("x"), { mtimeNs: MTIME }, never);
    if (setsTimes) {
      expect(written.mtimeNs).toBe(MTIME);
      expect((await place.entry("a"))?.mtimeNs).toBe(MTIME);
      const later = MTIME + 86_400_000_000_000n;
      expect((await place.files.setTime("a", later, never)).mtimeNs).toBe(later);
      expect((await place.entry("a"))?.mtimeNs).toBe(later);
      expect(await place.text("a")).toBe("x");
      const fine = MTIME + 123_456_789n;
      const rounded = (fine / timeResolutionNs) * timeResolutionNs;
      expect((await place.files.setTime("a", fine, never)).mtimeNs).toBe(rounded);
    } else expect(await refusal(place.files.setTime("a", MTIME, never))).toBe("UNSUPPORTED");
    if (timeResolutionNs === 0n) expect(written.mtimeNs).toBeUndefined();
  }), timeoutMs);

  test("[FOREIGN-5] modes are kept, or the system says that there are none", using(async (place) => {
    const written = await place.files.write("a", once("x"), { mode: 0o640 }, never);
    if (place.abilities.modes) {
      expect(written.mode).toBe(0o640);
      await place.files.setMode("a", 0o600, never);
      expect((await place.entry("a"))?.mode).toBe(0o600);
    } else expect(await refusal(place.files.setMode("a", 0o600, never))).toBe("UNSUPPORTED");
  }), timeoutMs);

  test("[FOREIGN-5] symlinks are kept and not followed, or the system says that there are none", using(async (place) => {
    if (!place.abilities.symlinks) {
      expect(await refusal(place.files.makeSymlink("l", "a", never))).toBe("UNSUPPORTED");
      return;
    }
    await place.files.makeSymlink("l", "no/where", never);
    expect(await place.entry("l")).toMatchObject({ kind: "symlink", target: "no/where" });
    expect(await refusal(place.files.makeSymlink("l", "b", never))).toBe("EXISTS");
    await place.files.remove("l", {}, never);
    expect(await place.entry("l")).toBeUndefined();
  }), timeoutMs);

  test("[FOREIGN-6] calls overlap as far as was said, each with its own outcome", using(async (place) => {
    const count = place.abilities.parallel * 2 + 1;
    const all = Array.from({ length: count }, (_, at) => `f${String(at).padStart(3, "0")}`);
    await Promise.all(all.map((path) => place.put(path, path)));
    expect(await place.names("")).toEqual(all);
    const texts = await Promise.all([...all, "none"].map((path) => place.text(path).catch(() => "failed")));
    expect(texts).toEqual([...all, "failed"]);
  }), timeoutMs);

  test("[FOREIGN-6] an aborted write ends soon and leaves nothing", using(async (place) => {
    const stop = new AbortController();
    const endless = async function* (): AsyncGenerator<Uint8Array> {
      for (let at = 0; ; at++) {
        if (at === 3) stop.abort(new SynclineError({ code: "INTERRUPTED", op: "test", message: "enough" }));
        yield noise(100_000);
        await Bun.sleep(1);
      }
    };
    expect(await refusal(place.files.write("a", endless(), {}, stop.signal))).not.toBe("ok");
    expect(await place.entry("a")).toBeUndefined();
    await place.put("b", "still of use");
    expect(await place.text("b")).toBe("still of use");
  }), timeoutMs);
}

function expectations(using: Using, timeoutMs: number): void {
  test("[FOREIGN-7] a write that expects absence or a file refuses what else is there", using(async (place) => {
    const first = await place.put("a", "first", "absent");
    expect(await refusal(place.put("a", "other", "absent"))).toBe("STALE");
    const second = await place.put("a", "second!", first);
    expect(await refusal(place.put("a", "third", first))).toBe("STALE");
    expect(await place.text("a")).toBe("second!");
    expect(await refusal(place.put("gone", "x", second))).toBe("STALE");
    expect(await place.names("")).toEqual(["a"]);
    expect((await place.put("a", "third", second)).size).toBe(5);
  }), timeoutMs);

  test("[FOREIGN-7] a removal that expects a file leaves another one", using(async (place) => {
    const first = await place.put("a", "first");
    await place.put("a", "other one");
    expect(await refusal(place.files.remove("a", { expect: first }, never))).toBe("STALE");
    expect(await place.text("a")).toBe("other one");
    await place.files.remove("a", { expect: (await place.entry("a"))! }, never);
    expect(await place.names("")).toEqual([]);
  }), timeoutMs);

  test("[FOREIGN-8] what is replaced or removed is kept where it was said", using(async (place) => {
    if (!place.abilities.keeps) return;
    await place.files.makeDir("kept", undefined, never);
    const old = await place.files.write("a", once("old one"), { mtimeNs: MTIME }, never);
    const now = await place.files.write("a", once("new"), { expect: old, keepAs: "kept/1" }, never);
    expect(await place.text("a")).toBe("new");
    expect(await place.text("kept/1")).toBe("old one");
    if (place.abilities.setsTimes) expect((await place.entry("kept/1"))?.mtimeNs).toBe(MTIME);
    await place.files.remove("a", { expect: now, keepAs: "kept/2" }, never);
    expect(await place.text("kept/2")).toBe("new");
    expect(await place.entry("a")).toBeUndefined();
    await place.files.write("b", once("nothing before"), { expect: "absent", keepAs: "kept/3" }, never);
    expect(await place.names("kept")).toEqual(["kept/1", "kept/2"]);
  }), timeoutMs);

  test("[FOREIGN-8] a refused write keeps nothing and takes nothing away", using(async (place) => {
    if (!place.abilities.keeps) return;
    await place.files.makeDir("kept", undefined, never);
    const old = await place.put("a", "old one");
    const now = await place.put("a", "newer");
    expect(await refusal(place.files.write("a", once("x"), { expect: old, keepAs: "kept/1" }, never))).toBe("STALE");
    expect(await place.text("a")).toBe("newer");
    expect(await refusal(place.files.remove("a", { expect: old, keepAs: "kept/1" }, never))).toBe("STALE");
    expect(isExpected(await place.entry("a"), now)).toBe(true);
    expect(await place.names("kept")).toEqual([]);
  }), timeoutMs);

  test("[FOREIGN-9] a tag changes with the content, also when size and time stay", using(async (place) => {
    const one = await place.files.write("a", once("one"), { mtimeNs: MTIME }, never);
    const two = await place.files.write("a", once("two"), { mtimeNs: MTIME }, never);
    expect(one.tag === undefined).toBe(two.tag === undefined);
    if (one.tag === undefined) return;
    expect(two.tag).not.toBe(one.tag);
    let listed: ForeignEntry | undefined;
    for await (const batch of place.files.list("", never)) listed = batch.find(({ path }) => path === "a") ?? listed;
    expect(listed?.tag).toBe(two.tag);
    expect((await place.entry("a"))?.tag).toBe(two.tag);
  }), timeoutMs);
}

const ODD = ["a b", "a+b&c #1%20", "sp ace ", "ümläut 中文 🙂", "it's \"quoted\" \\ [x]*", "-dash", "~tilde", "semi;colon=x"];

function names(using: Using, timeoutMs: number): void {
  test("[FOREIGN-10] odd names come back as they are, or are refused as such", using(async (place) => {
    const kept: string[] = [];
    for (const name of ODD) {
      const code = await refusal(place.put(name, name, "absent"));
      expect(["ok", "UNSUPPORTED"]).toContain(code);
      if (code === "ok") kept.push(name);
    }
    expect(kept).toContain("a b");
    expect(await place.names("")).toEqual(kept.toSorted());
    for (const name of kept) {
      expect(await place.text(name)).toBe(name);
      expect((await place.entry(name))?.size).toBe(Buffer.byteLength(name));
      await place.files.remove(name, {}, never);
    }
    expect(await place.names("")).toEqual([]);
  }), timeoutMs);

  test("[FOREIGN-10] a directory of many files is listed whole", using(async (place) => {
    await place.files.makeDir("many", undefined, never);
    const all = Array.from({ length: 130 }, (_, at) => `many/${String(at).padStart(4, "0")}`);
    for (let at = 0; at < all.length; at += 10) await Promise.all(all.slice(at, at + 10).map((path) => place.put(path, "x")));
    expect(await place.names("many")).toEqual(all);
  }), timeoutMs);
}

function directories(using: Using, timeoutMs: number): void {
  test("[FOREIGN-11] directories are made, listed and removed, but not while they hold something", using(async (place) => {
    await place.files.makeDir("d", undefined, never);
    await place.files.makeDir("d/e", undefined, never);
    await place.put("d/e/f", "x");
    await place.put("d.txt", "beside");
    expect((await place.entry("d"))?.kind).toBe("dir");
    expect((await place.entry("d/e"))?.kind).toBe("dir");
    expect(await place.names("")).toEqual(["d", "d.txt"]);
    expect(await place.names("d")).toEqual(["d/e"]);
    expect(await place.names("d/e")).toEqual(["d/e/f"]);
    expect(await refusal(place.files.removeDir("d/e", never))).toBe("EXISTS");
    if (place.abilities.directories) expect(await refusal(place.files.makeDir("d", undefined, never))).toBe("EXISTS");
    await place.files.remove("d/e/f", {}, never);
    expect(await place.names("d/e")).toEqual([]);
    await place.files.removeDir("d/e", never);
    await place.files.removeDir("d", never);
    expect(await place.names("")).toEqual(["d.txt"]);
  }), timeoutMs);

  test("[FOREIGN-12] a rename takes the file along and never replaces, or the system says that it cannot", using(async (place) => {
    await place.files.write("a", once("content"), { mtimeNs: MTIME }, never);
    await place.put("b", "in the way");
    if (place.abilities.renames === "none") {
      expect(await refusal(place.files.rename("a", "c", never))).toBe("UNSUPPORTED");
      return;
    }
    expect(await refusal(place.files.rename("a", "b", never))).toBe("EXISTS");
    expect(await refusal(place.files.rename("none", "c", never))).toBe("NOT_FOUND");
    expect(await place.names("")).toEqual(["a", "b"]);
    await place.files.rename("a", "c", never);
    expect(await place.text("c")).toBe("content");
    if (place.abilities.setsTimes) expect((await place.entry("c"))?.mtimeNs).toBe(MTIME);
    expect(await place.names("")).toEqual(["b", "c"]);
  }), timeoutMs);

  test("[FOREIGN-12] a directory is renamed in one step, or refused", using(async (place) => {
    await place.files.makeDir("d", undefined, never);
    await place.put("d/f", "x");
    const code = await refusal(place.files.rename("d", "e", never));
    expect(code).toBe(place.abilities.renames === "atomic" ? "ok" : "UNSUPPORTED");
    expect(await place.text(code === "ok" ? "e/f" : "d/f")).toBe("x");
  }), timeoutMs);

  test("[FOREIGN-13] after close() nothing hangs: calls reject", using(async (place) => {
    await place.files.close();
    await place.files.close();
    expect(await refusal(place.entry("a"))).not.toBe("ok");
  }), timeoutMs);
}
