/**
 * Two directories, people who never stop changing them, and a memory of everything that was ever written. Each path is
 * written by one side alone, so that whatever the other side shows there must be one of the states the writer has been
 * through, whole, and never one older than what was seen before. Nothing else may ever appear or change.
 */
import { closeSync, mkdirSync, openSync, readFileSync, readdirSync } from "node:fs";
import { renameSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { SimRandom } from "#testing/sim-random.ts";

export type Side = "alpha" | "beta";

/** What the rules of a busy tree forbid: the message says which path, what was found and what was allowed. */
export class Violation extends Error {}

/** Content says what it is: its own name and version, and a stamp of both every so many bytes, so a mixture shows. */
const STAMP_STRIDE = 997;
const PRIVATE_DIR = ".syncline";
const ABSENT = "";
/** Files and directories of one side at the start and about always. */
const FILES_WANTED = 60;
const DIRS_WANTED = 6;
/** Above the size that travels inline. */
const LARGE_BYTES_MIN = 200_000;
const LARGE_BYTES_MAX = 900_000;
/** Longest of the few lines that one append adds to a log, and the size at which a log is full. */
const LOG_BYTES_MAX = 200_000;

function contentOf(id: number, version: number): Buffer {
  const random = new SimRandom(id);
  const large = random.chance(0.06);
  const most = large ? random.int(LARGE_BYTES_MAX - LARGE_BYTES_MIN) + LARGE_BYTES_MIN : random.int(6000);
  const bytes = Buffer.from(random.bytes(most));
  const length = Math.max(0, most - new SimRandom(id * 1009 + version).int(500));
  const stamp = `<${id}:${version}:${length}>`;
  for (let at = 0; at < length; at += STAMP_STRIDE) bytes.write(stamp, at, "latin1");
  return Buffer.concat([Buffer.from(`${id}:${version}\n`), bytes.subarray(0, length)]);
}

/** A log holds lines of its own number: any length is a state it has been in, as long as it only grows. */
function logText(from: number, to: number): Buffer {
  const text = Buffer.alloc(to - from);
  for (let at = from; at < to; at++) text[at - from] = at % 32 === 31 ? 10 : 97 + (Math.floor(at / 32) + at) % 26;
  return text;
}

/** The state that these bytes are, or a description of why they are none. */
function stateOf(path: string, bytes: Buffer): { state: string } | { fault: string } {
  if (path.endsWith(".log")) {
    const whole = bytes.equals(logText(0, bytes.length));
    return whole ? { state: "log" } : { fault: "a log with lines that were never written" };
  }
  const head = /^(\d+):(\d+)\n/.exec(bytes.subarray(0, 40).toString("latin1"));
  if (head === null) return { fault: `${bytes.length} bytes without a head` };
  const [, id, version] = head;
  const whole = bytes.equals(contentOf(Number(id), Number(version)));
  return whole ? { state: `${id}:${version}` } : { fault: `a torn ${id}:${version} of ${bytes.length} bytes` };
}

type Memory = {
  readonly owner: Side;
  /** Every state in order; the last is now. */
  readonly states: string[];
  /** Index of the newest state that the other side has certainly reached. */
  seen: number;
  seenLogBytes: number;
  nowLogBytes: number;
  /** Where the file went together with its directory. */
  movedTo: string | undefined;
};

const FRESH = { seen: 0, seenLogBytes: 0, nowLogBytes: 0, movedTo: undefined };

export class BusyTree {
  readonly #random: SimRandom;
  readonly #dirs: Record<Side, string>;
  readonly #outside: string;
  readonly #memory = new Map<string, Memory>();
  readonly #folders: Record<Side, string[]> = { alpha: [], beta: [] };
  /** Paths of files that exist, by owner; logs are kept apart. */
  readonly #files: Record<Side, string[]> = { alpha: [], beta: [] };
  #names = 0;
  #ids = 0;

  /** @param outside an existing directory on the same disk, where things are made before they are moved in */
  constructor(dirs: Record<Side, string>, outside: string, random: SimRandom) {
    this.#dirs = dirs;
    this.#outside = outside;
    this.#random = random;
    for (const side of ["alpha", "beta"] as const) {
      mkdirSync(dirs[side], { recursive: true });
      mkdirSync(join(dirs[side], "shared"), { recursive: true });
      this.#folders[side].push("shared");
      for (let at = 0; at < DIRS_WANTED; at++) this.#makeFolder(side);
      while (this.#files[side].length < FILES_WANTED) this.#createFile(side);
      const log = `shared/${side}.log`;
      this.#remember(side, log, "log");
      writeFileSync(join(dirs[side], log), "");
      this.#place(side, `shared/${side}.signal`, this.#ids++, 0);
    }
  }

  #name(side: Side): string {
    return `${side}-${(this.#names++).toString(36)}`;
  }

  #remember(owner: Side, path: string, state: string): void {
    const known = this.#memory.get(path);
    if (known !== undefined) known.states.push(state);
    // Before its first state a path was absent.
    else this.#memory.set(path, { owner, states: [ABSENT, state], ...FRESH });
  }

  #path(side: Side, path: string): string {
    return join(this.#dirs[side], path);
  }

  #makeFolder(side: Side): void {
    const path = this.#name(side);
    mkdirSync(this.#path(side, path));
    this.#folders[side].push(path);
  }

  #place(side: Side, path: string, id: number, version: number): void {
    const made = join(this.#outside, "made");
    writeFileSync(made, contentOf(id, version));
    renameSync(made, this.#path(side, path));
    this.#remember(side, path, `${id}:${version}`);
  }

  #createFile(side: Side): void {
    const path = `${this.#random.pick(this.#folders[side])}/${this.#name(side)}`;
    this.#place(side, path, this.#ids++, 0);
    this.#files[side].push(path);
  }

  #rewriteFile(side: Side): void {
    const path = this.#random.pick(this.#files[side]);
    const [id, version] = this.#memory.get(path)!.states.at(-1)!.split(":").map(Number) as [number, number];
    this.#place(side, path, id, version + 1);
  }

  #appendLog(side: Side): void {
    const path = `shared/${side}.log`;
    const memory = this.#memory.get(path)!;
    const to = Math.min(LOG_BYTES_MAX, memory.nowLogBytes + 1 + this.#random.int(300));
    const fd = openSync(this.#path(side, path), "a");
    writeSync(fd, logText(memory.nowLogBytes, to));
    closeSync(fd);
    memory.nowLogBytes = to;
  }

  #removeFile(side: Side): void {
    const files = this.#files[side];
    const at = this.#random.int(files.length);
    const path = files[at]!;
    rmSync(this.#path(side, path));
    this.#remember(side, path, ABSENT);
    files.splice(at, 1);
  }

  #renameFile(side: Side): void {
    const files = this.#files[side];
    const at = this.#random.int(files.length);
    const from = files[at]!;
    const to = `${this.#random.pick(this.#folders[side])}/${this.#name(side)}`;
    renameSync(this.#path(side, from), this.#path(side, to));
    this.#remember(side, to, this.#memory.get(from)!.states.at(-1)!);
    this.#remember(side, from, ABSENT);
    files[at] = to;
  }

  #renameFolder(side: Side): void {
    const folders = this.#folders[side];
    // The first is shared by both sides.
    const at = 1 + this.#random.int(folders.length - 1);
    const from = folders[at]!;
    const to = this.#name(side);
    renameSync(this.#path(side, from), this.#path(side, to));
    folders[at] = to;
    this.#files[side] = this.#files[side].map((path) => {
      if (!path.startsWith(`${from}/`)) return path;
      const now = to + path.slice(from.length);
      this.#remember(side, now, this.#memory.get(path)!.states.at(-1)!);
      this.#remember(side, path, ABSENT);
      this.#memory.get(path)!.movedTo = now;
      return now;
    });
  }

  /** Files that are there and stay as they are. */
  keep(side: Side, count: number): void {
    for (let at = 0; at < count; at++) this.#place(side, `shared/${this.#name(side)}`, this.#ids++, 0);
  }

  /** One change by one of the two writers. */
  step(): void {
    const side: Side = this.#random.chance(0.5) ? "alpha" : "beta";
    const draw = this.#random.int(100);
    const many = this.#files[side].length > FILES_WANTED;
    if (draw < 45) this.#rewriteFile(side);
    else if (draw < 65) this.#appendLog(side);
    else if (draw < 85 && many) this.#removeFile(side);
    else if (draw < 85) this.#createFile(side);
    else if (draw < 97) this.#renameFile(side);
    else this.#renameFolder(side);
  }

  /** Writes a new version of a file that nobody else touches; returns a check that it is on the other side. */
  signal(side: Side): () => boolean {
    const path = `shared/${side}.signal`;
    const [id, version] = this.#memory.get(path)!.states.at(-1)!.split(":").map(Number) as [number, number];
    this.#place(side, path, id, version + 1);
    const there = this.#path(side === "alpha" ? "beta" : "alpha", path);
    return () => readIfThere(there)?.toString("latin1").startsWith(`${id}:${version + 1}\n`) ?? false;
  }

  /**
   * Looks at both sides as they are now; the synchroniser may be at work meanwhile.
   * @param final both sides must show the newest state of everything
   * @throws {Violation} with every breach
   */
  check(final = false): void {
    const faults: string[] = [];
    for (const [path, memory] of this.#memory) {
      const { owner, states } = memory;
      const other: Side = owner === "alpha" ? "beta" : "alpha";
      const own = this.#read(owner, path);
      if (own.fault !== undefined || own.state !== states.at(-1) || own.logBytes !== memory.nowLogBytes) {
        faults.push(`${owner} ${path}, its own: ${own.fault ?? own.state} instead of ${states.at(-1)}`);
      }
      const there = this.#read(other, path);
      const at = there.fault === undefined ? this.#indexOf(memory, there.state) : -1;
      if (at < 0 || there.logBytes < memory.seenLogBytes || there.logBytes > memory.nowLogBytes) {
        const allowed = states.slice(memory.seen).map((state) => state || "absent");
        const found = there.fault ?? (there.state || "absent");
        faults.push(`${other} ${path}, received: ${found} is none of ${allowed.join(" ")}`);
      } else if (final && (there.state !== states.at(-1) || there.logBytes !== memory.nowLogBytes)) {
        faults.push(`${other} ${path}, in the end: ${there.state || "absent"} instead of ${states.at(-1) || "absent"}`);
      } else {
        memory.seen = at;
        memory.seenLogBytes = there.logBytes;
      }
    }
    for (const side of ["alpha", "beta"] as const) {
      const strange = this.#listing(side).filter((path) => !this.#memory.has(path));
      for (const path of strange) faults.push(`${side} ${path}: nobody made this`);
    }
    if (faults.length > 0) throw new Violation(faults.slice(0, 20).join("\n"));
  }

  /**
   * Index of a state that the other side may show, or -1. While a directory is renamed a file in it can be read under
   * its old name with what was written under the new one: it is the same file, and its newest content.
   */
  #indexOf(memory: Memory, state: string): number {
    const at = memory.states.indexOf(state, memory.seen);
    if (at >= 0 || state === ABSENT) return at;
    for (let next = memory.movedTo; next !== undefined; ) {
      const moved = this.#memory.get(next)!;
      if (moved.states.includes(state)) return memory.seen;
      next = moved.movedTo;
    }
    return -1;
  }

  #read(side: Side, path: string): { state: string; logBytes: number; fault: string | undefined } {
    const bytes = readIfThere(this.#path(side, path));
    if (bytes === undefined) return { state: ABSENT, logBytes: 0, fault: undefined };
    const judged = stateOf(path, bytes);
    const logBytes = path.endsWith(".log") ? bytes.length : 0;
    return { state: "", fault: undefined, ...judged, logBytes };
  }

  /** Files of a side; a directory that vanishes while it is read has nothing to show. */
  #listing(side: Side): string[] {
    const out: string[] = [];
    const walk = (dir: string): void => {
      let items;
      try {
        items = readdirSync(this.#path(side, dir), { withFileTypes: true });
      } catch (error) {
        if (isGone(error)) return;
        throw error;
      }
      for (const item of items) {
        const path = dir === "" ? item.name : `${dir}/${item.name}`;
        if (path === PRIVATE_DIR) continue;
        if (item.isDirectory()) walk(path);
        else out.push(path);
      }
    };
    walk("");
    return out;
  }
}

function isGone(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}

function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}
