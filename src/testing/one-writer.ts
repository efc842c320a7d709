/**
 * Two replicas on which each path has one writer: everything below a name that begins with a side's name is changed on
 * that side alone. A session may then never change it there, whatever dies and whenever, and there can be no conflict.
 * Names are few and are used again, so that what is done next meets what a death left half done.
 */
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { PRIVATE_DIR } from "#model/path.ts";
import type { Side } from "#model/plan.ts";
import { SimClock } from "#testing/sim-clock.ts";
import type { SimDiskOptions } from "#testing/sim-disk.ts";
import type { SimProcess } from "#testing/sim-process.ts";
import { SimRandom } from "#testing/sim-random.ts";
import { SimFailure } from "#testing/sim-run.ts";
import { type SessionResult, SimSession } from "#testing/sim-session.ts";
import type { SimUser } from "#testing/sim-user.ts";
import { type LinkSpec, ROOT, Replica } from "#testing/sim-world.ts";

const SIDES: readonly Side[] = ["alpha", "beta"];
/** On the same disk, where files are made before they are renamed into the root. */
const OUTSIDE = "/outside";
const DIR_NAMES = 4;
const FILE_NAMES = 5;
/** More than a scan looks at between two looks at the clock. */
const CROWD = 80;
/** Longest that a call takes on a slow disk. */
const SLOW_CALL_NS = 1_500_000;
/** Above what travels inside a batch. */
const LARGE_BYTES = 140_000;
/** Sessions that nobody disturbs, after which both sides must be the same and quiet. */
const QUIET_ROUNDS_MAX = 4;

/** Changes what is one side's own, and knows what must be there. */
class Writer {
  readonly side: Side;
  readonly log: string[];
  readonly #user: SimUser;
  readonly #random: SimRandom;
  readonly #clock: SimClock;
  /** Content by path; a directory has none. */
  readonly #tree = new Map<string, string | undefined>();
  readonly #stays: ReadonlyMap<string, string>;
  #contents = 0;

  constructor(side: Side, replica: Replica, clock: SimClock, random: SimRandom, log: string[]) {
    this.side = side;
    this.log = log;
    this.#user = replica.host.user;
    this.#random = random;
    this.#clock = clock;
    this.#user.mkdir(OUTSIDE);
    this.#stays = new Map([[`${side}-stays`, ""]]);
    // A side that loses all it has would be held.
    for (const path of this.#stays.keys()) this.#user.write(`${ROOT}/${path}`, "");
  }

  /** So many files in one directory that a scan pauses while it looks at them. */
  fill(): void {
    const dir = `${this.side}-0`;
    if (!this.#tree.has(dir)) {
      this.#user.mkdir(`${ROOT}/${dir}`);
      this.#tree.set(dir, undefined);
    }
    for (let at = 0; at < CROWD; at++) this.#save(`${dir}/crowd${at}`);
  }

  /** One change. Often it takes so long that what was written before no longer counts as new. */
  step(): void {
    if (this.#random.chance(0.3)) this.#clock.spend(this.#random.int(60_000_000));
    const draw = this.#random.int(100);
    if (draw < 15) this.#makeDir();
    else if (draw < 35) this.#save(this.#freeFile());
    else if (draw < 52) this.#save(this.#any(false));
    else if (draw < 58) this.#append(this.#any(false));
    else if (draw < 68) this.#remove(this.#any(false));
    else if (draw < 80) this.#rename(this.#any(false), this.#freeFile());
    else if (draw < 94) this.#rename(this.#any(true), this.#freeDir());
    else this.#remove(this.#any(true));
  }

  /** What must be on this side, as text by path. */
  own(): Map<string, string> {
    return new Map([...this.#stays, ...this.#tree].map(([path, content]) => [path, content ?? "dir"]));
  }

  #any(isDir: boolean): string | undefined {
    const paths = [...this.#tree].flatMap(([path, content]) => ((content === undefined) === isDir ? [path] : []));
    return paths.length === 0 ? undefined : this.#random.pick(paths);
  }

  #freeDir(): string | undefined {
    const name = `${this.side}-${this.#random.int(DIR_NAMES)}`;
    const outer = this.#random.chance(0.25) ? this.#any(true) : undefined;
    const path = outer === undefined ? name : `${outer}/${name}`;
    return this.#tree.has(path) || path.split("/").length > 3 ? undefined : path;
  }

  #freeFile(): string | undefined {
    const dir = this.#any(true);
    const path = `${dir}/f${this.#random.int(FILE_NAMES)}`;
    return dir === undefined || this.#tree.has(path) ? undefined : path;
  }

  #makeDir(): void {
    const path = this.#freeDir();
    if (path === undefined) return;
    this.#say(`mkdir ${path}`);
    this.#user.mkdir(`${ROOT}/${path}`);
    this.#tree.set(path, undefined);
  }

  #save(path: string | undefined): void {
    if (path === undefined) return;
    let content = `${this.side} ${this.#contents++}`;
    this.#say(`save ${path} ${content}`);
    if (this.#random.chance(0.05)) content = content.padEnd(LARGE_BYTES, "-");
    this.#user.write(`${OUTSIDE}/made`, content);
    this.#user.rename(`${OUTSIDE}/made`, `${ROOT}/${path}`);
    this.#tree.set(path, content);
  }

  #append(path: string | undefined): void {
    if (path === undefined) return;
    const more = `+${this.#contents++}`;
    this.#say(`append ${path} ${more}`);
    this.#user.patch(`${ROOT}/${path}`, more);
    this.#tree.set(path, this.#tree.get(path)! + more);
  }

  #remove(path: string | undefined): void {
    if (path === undefined) return;
    this.#say(`remove ${path}`);
    this.#user.remove(`${ROOT}/${path}`);
    for (const [below] of this.#within(path)) this.#tree.delete(below);
  }

  #rename(from: string | undefined, to: string | undefined): void {
    if (from === undefined || to === undefined || `${to}/`.startsWith(`${from}/`)) return;
    this.#say(`rename ${from} -> ${to}`);
    this.#user.rename(`${ROOT}/${from}`, `${ROOT}/${to}`);
    for (const [path, content] of this.#within(from)) {
      this.#tree.delete(path);
      this.#tree.set(to + path.slice(from.length), content);
    }
  }

  #within(path: string): [string, string | undefined][] {
    return [...this.#tree].filter(([below]) => below === path || below.startsWith(`${path}/`));
  }

  #say(what: string): void {
    this.log.push(`  ${this.side}: ${what}`);
  }
}

export type OneWriterReport = { readonly sessions: number; readonly deaths: number };

/** @throws {SimFailure} with the whole story when a session changed what it may not, or both sides do not become the same */
export async function oneWriterLife(seed: number): Promise<OneWriterReport> {
  const life = new Life(seed);
  try {
    return await life.run();
  } catch (error) {
    throw new SimFailure(`seed ${seed}: ${String(error)}\n${life.log.join("\n")}`);
  }
}

class Life {
  readonly log: string[] = [];
  readonly #random: SimRandom;
  readonly #clock: SimClock;
  readonly #link: LinkSpec;
  readonly #writers: readonly Writer[];
  readonly #isCrowded: boolean;
  #sessions = 0;
  #deaths = 0;

  constructor(seed: number) {
    this.#random = new SimRandom(seed);
    this.#clock = new SimClock(this.#random.fork("clock"));
    const disk: SimDiskOptions = { exchange: !this.#random.chance(0.2) };
    const make = (name: Side): Replica => new Replica(name, this.#clock, this.#random.fork(name), disk);
    const base = { mode: "two-way-safe", conflict: "leave", delete: true, preserve: PRESERVE_DEFAULT } as const;
    this.#link = { alpha: make("alpha"), beta: make("beta"), remote: this.#random.chance(0.3), ...base };
    this.#isCrowded = this.#random.chance(0.3);
    this.#writers = SIDES.map((side) => {
      return new Writer(side, this.#link[side], this.#clock, this.#random.fork(`writer ${side}`), this.log);
    });
  }

  async run(): Promise<OneWriterReport> {
    for (const writer of this.#writers) for (let left = 12; left > 0; left--) writer.step();
    if (this.#isCrowded) for (const writer of this.#writers) writer.fill();
    for (let round = 1 + this.#random.int(8); round > 0; round--) {
      await this.#session(true);
      for (const writer of this.#writers) for (let left = this.#random.int(7); left > 0; left--) writer.step();
    }
    await this.#quieten();
    return { sessions: this.#sessions, deaths: this.#deaths };
  }

  async #quieten(): Promise<void> {
    for (let round = 0; round < QUIET_ROUNDS_MAX; round++) {
      const { summary, error } = await this.#session(false);
      if (error !== undefined || summary === undefined) throw error ?? new Error("no summary");
      if (summary.result !== "same") throw new Error(`an undisturbed session ends with ${summary.result}`);
      const all = new Map(this.#writers.flatMap((writer) => [...writer.own()]));
      for (const side of SIDES) compare(`${side}, in the end`, this.#seen(side), all);
      if (summary.changes === 0) return;
    }
    throw new Error("never quiet");
  }

  #seen(side: Side): Map<string, string> {
    const tree = [...this.#link[side].host.user.tree(ROOT)];
    const visible = tree.filter(([path]) => path.split("/")[0] !== PRIVATE_DIR);
    return new Map(visible.map(([path, { kind, content }]) => [path, kind === "file" ? content : kind]));
  }

  async #session(troubled: boolean): Promise<SessionResult> {
    this.#sessions++;
    const random = this.#random.fork(`session ${this.#sessions}`);
    this.log.push(`-- session${troubled ? "" : ", undisturbed"}${this.#link.remote ? ", remote" : ""}`);
    const brake = { count: undefined, percent: 100 };
    const session = new SimSession(this.#link, this.#clock, random.fork("run"), { brake });
    if (troubled) this.#trouble(session, random);
    session.start();
    const result = await session.finish();
    for (const event of result.events) {
      if (event.type === "change") this.log.push(`     ${event.side} ${event.action} ${event.from ?? ""} ${event.path}`);
      if (event.type === "problem") this.log.push(`     problem ${event.problem.side} ${event.problem.path} ${event.problem.code}`);
      if (event.type === "conflict") throw new Error(`one writer, but a conflict: ${Bun.inspect(event.conflict)}`);
      if (event.type === "hold") throw new Error(`held: ${event.reason}`);
    }
    this.log.push(`-- ${result.error === undefined ? result.summary?.result : result.error.message}`);
    for (const { side, own } of this.#writers.map((one) => ({ side: one.side, own: one.own() }))) {
      const there = [...this.#seen(side)].filter(([path]) => path.startsWith(side));
      compare(`${side}, its own`, new Map(there), own);
    }
    return result;
  }

  #trouble(session: SimSession, random: SimRandom): void {
    const rate = random.pick([0, 0, 0.01, 0.03, 0.1]);
    const writing = random.fork("writing");
    const refuse = refusals(random.fork("refusing"));
    const die = this.#death(session, random.fork("death"));
    session.onBoot = (side, boot) => {
      boot.fs.interleave = () => {
        if (this.#isCrowded) this.#clock.spend(writing.int(SLOW_CALL_NS));
        if (writing.chance(rate)) writing.pick(this.#writers).step();
      };
      boot.fs.faults = refuse;
      if (die.at === "effect") boot.fs.onEffect = () => die.step(side);
    };
    if (die.at === "commit") for (const side of SIDES) session.link[side].onCommit = () => die.step(side);
  }

  /** Lets one side end at one of its effects, or before one of its commits: mostly in this session, or in none. */
  #death(session: SimSession, random: SimRandom): { at: "effect" | "commit"; step: (side: Side) => void } {
    const dying = random.pick([...SIDES, ...SIDES, ...SIDES, undefined]);
    const at = random.chance(0.4) ? "commit" : "effect";
    const last = 1 + random.int(at === "commit" ? random.pick([4, 8, 16]) : random.pick([6, 20, 60]));
    let steps = 0;
    const step = (side: Side): void => {
      if (side !== dying || ++steps !== last) return;
      this.#deaths++;
      this.log.push(`   ${side} dies at ${at} ${last}`);
      session.die(side, `at ${at} ${last}`, false);
    };
    return { at, step };
  }
}

/** Calls that a disk refuses at random; in most sessions none. */
function refusals(random: SimRandom): SimProcess["faults"] {
  if (random.chance(0.7)) return undefined;
  const rate = random.pick([0.01, 0.05]);
  const errno = random.pick(["EACCES", "EIO"]);
  const alsoEffects = random.chance(0.5);
  return (call, { path, isEffect }) => {
    if (call === "close" || (isEffect && !alsoEffects) || !path.startsWith(`${ROOT}/`)) return undefined;
    return random.chance(rate) ? errno : undefined;
  };
}

/** @throws {Error} naming each path that differs */
function compare(where: string, found: Map<string, string>, wanted: Map<string, string>): void {
  const faults = [...new Set([...found.keys(), ...wanted.keys()])].flatMap((path) => {
    const [is, should] = [found.get(path), wanted.get(path)];
    return is === should ? [] : [`${path}: ${is?.slice(0, 30) ?? "absent"} instead of ${should?.slice(0, 30) ?? "absent"}`];
  });
  if (faults.length > 0) throw new Error(`${where}: ${faults.join("; ")}`);
}
