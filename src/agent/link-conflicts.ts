/**
 * Conflicts that a link leaves open, and what people decide about them. A decision is carried out by the next session, in
 * one cycle whose policy is meant for these paths alone; what loses lies in the host's trash or in the space's history.
 *
 * It is written down before a person is told that it was taken, for the next session may be far away: a link may wait for
 * its window, or stand still. After a restart of the agent, and whenever no session was at work for a while, a first cycle
 * finds the conflicts anew; what was decided is carried out where the conflict is still the one that the person saw.
 */
import { z } from "zod";
import type { Entry } from "#model/entry.ts";
import { SynclineError, messageOf } from "#model/error.ts";
import { type RelPath, printablePath } from "#model/path.ts";
import type { Conflict, ConflictPolicy } from "#model/plan.ts";
import type { SessionEvent } from "#sync/session/events.ts";
import {
  CONFLICTS_CHARS_MAX,
  CONFLICTS_TOLD_MAX,
  KEEPS,
  LEFT_PATH,
  LEFT_TAG,
  type LeftConflict,
  type Keep,
  type LeftSide,
} from "#hub/agents/left-conflicts.ts";
import type { AssignedLink } from "#hub/agents/link.ts";

/** Decisions that wait for a session. */
const DECISIONS_MAX = 1000;

/** Of all that wait, as they are written down. */
const DECISIONS_CHARS_MAX = 1 << 20;

const DECISIONS = z.array(z.strictObject({ path: LEFT_PATH, tag: LEFT_TAG, keep: z.enum(KEEPS) })).max(2 * DECISIONS_MAX);
type Decision = z.infer<typeof DECISIONS>[number];
type Decided = Decision & { readonly policy: ConflictPolicy };

/** Where decisions outlive the agent. Both throw the system's errors. */
export type DecisionFile = { read(): string | undefined; write(text: string): void };

type Hash = (text: string, digits: number) => string;

export class LinkConflicts {
  readonly #file: DecisionFile;
  /** Decisions of an earlier life of the agent, or from before a pause, by path, until a complete cycle has found the conflicts anew. */
  readonly #earlier = new Map<RelPath, Decision>();
  /** What an earlier life wrote down is known; until it is, nothing may be written over it. */
  #isRead = false;
  readonly #foundAgain = new Map<RelPath, Conflict>();

  /** The first of those that the last complete cycle left, and how many there are. */
  #open: Conflict[] = [];
  #total = 0;
  #found: Conflict[] = [];
  #foundTotal = 0;
  #waiting: Decided[] = [];
  /** What the session at hand carries out; all of one policy. */
  #active: readonly Decided[] = [];
  /** Has a session been at work without a break since the last complete cycle? */
  #isCurrent = false;

  constructor(file: DecisionFile) {
    this.#file = file;
    this.#read();
  }

  /** What cannot be read now is read when the next session begins, or somebody decides. */
  #read(): void {
    if (this.#isRead) return;
    let text: string | undefined;
    try {
      text = this.#file.read();
    } catch {
      return;
    }
    for (const one of decisionsIn(text)) this.#earlier.set(one.path, one);
    this.#isRead = true;
  }

  /** @returns paths whose earlier decision is dropped: the conflict is another one by now, or none */
  event(event: SessionEvent, link: AssignedLink, hash: Hash): readonly RelPath[] {
    if (event.type === "conflict") {
      if (this.#earlier.has(event.conflict.path)) this.#foundAgain.set(event.conflict.path, event.conflict);
      this.#foundTotal++;
      if (this.#found.length < CONFLICTS_TOLD_MAX) this.#found.push(event.conflict);
    }
    if (event.type === "retry") this.doubt();
    if (event.type !== "cycle") return [];
    const { result } = event.summary;
    let dropped: readonly RelPath[] = [];
    if (result !== "interrupted" && result !== "failed") {
      this.#isCurrent = true;
      this.#open = this.#found;
      this.#total = this.#foundTotal;
      // A plan that is held has them in it, and is carried out by a session of its own.
      const isOver = result !== "held" && this.#active.length > 0;
      if (isOver) this.#active = [];
      const hadEarlier = this.#earlier.size > 0;
      dropped = this.#takeEarlier(link, hash);
      if (isOver || hadEarlier) this.#forgetOver();
    }
    this.#found = [];
    this.#foundTotal = 0;
    this.#foundAgain.clear();
    return dropped;
  }

  #takeEarlier(link: AssignedLink, hash: Hash): RelPath[] {
    const dropped: RelPath[] = [];
    for (const one of this.#earlier.values()) {
      const conflict = this.#foundAgain.get(one.path);
      const isSame = conflict !== undefined && told(link, conflict, hash).tag === one.tag;
      if (isSame) this.#waiting.push({ ...one, policy: policyOf(link, one.keep) });
      else dropped.push(one.path);
    }
    this.#earlier.clear();
    return dropped;
  }

  #text(waiting: readonly Decided[]): string {
    const decided = new Set(waiting.map(({ path }) => path));
    const all = [...this.#active, ...waiting, ...[...this.#earlier.values()].filter(({ path }) => !decided.has(path))];
    return all.length === 0 ? "" : `${JSON.stringify(all.map(({ path, tag, keep }) => ({ path, tag, keep })))}\n`;
  }

  #forgetOver(): void {
    if (!this.#isRead) return;
    try {
      this.#file.write(this.#text(this.#waiting));
    } catch {
      // Found again after a restart, what is over is no conflict any more, and is dropped.
    }
  }

  /** Nobody looks at the files for a while. What was decided is to be found again before it is carried out. */
  doubt(): void {
    this.#isCurrent = false;
    for (const { path, tag, keep } of [...this.#active, ...this.#waiting]) this.#earlier.set(path, { path, tag, keep });
    this.#active = [];
    this.#waiting = [];
  }

  /** A session begins: it carries out what waits and is of one kind. */
  begin(): void {
    this.#read();
    if (!this.#isCurrent) this.doubt();
    const policy = this.#active[0]?.policy ?? this.#waiting[0]?.policy;
    this.#active = [...this.#active, ...this.#waiting.filter((one) => one.policy === policy)];
    this.#waiting = this.#waiting.filter((one) => one.policy !== policy);
  }

  /** Something waits that the session at hand does not carry out. */
  get waits(): boolean {
    return this.#active.length === 0 && this.#waiting.length > 0;
  }

  /** Undefined: the link's own. */
  get policy(): { readonly conflict: ConflictPolicy; readonly paths: readonly RelPath[] } | undefined {
    const [first] = this.#active;
    return first === undefined ? undefined : { conflict: first.policy, paths: this.#active.map(({ path }) => path) };
  }

  /** @param hash text to hex digits */
  list(link: AssignedLink, hash: Hash): { conflicts: LeftConflict[]; total: number } {
    const conflicts: LeftConflict[] = [];
    let chars = 0;
    for (const conflict of this.#open) {
      const one = told(link, conflict, hash);
      chars += JSON.stringify(one).length;
      if (chars > CONFLICTS_CHARS_MAX) break;
      conflicts.push(one);
    }
    return { conflicts, total: this.#total };
  }

  /**
   * A person has decided. The caller begins a session then.
   * @param tag of the conflict as they saw it
   * @throws {SynclineError} NOT_FOUND, STALE when it is another one by now, UNSUPPORTED, LIMIT, DISK
   */
  decide(
    link: AssignedLink,
    { path, tag, keep }: { path: RelPath; tag: string; keep: Keep },
    hash: Hash,
  ): void {
    this.#read();
    if (!this.#isRead) throw refused("DISK", "what was decided before cannot be read");
    const conflict = this.#open.find((one) => one.path === path);
    const shown = printablePath(path.slice(0, 200));
    if (conflict === undefined) throw refused("NOT_FOUND", `${shown} is not in conflict any more`);
    if (told(link, conflict, hash).tag !== tag) throw refused("STALE", `${shown} was changed since it was looked at`);
    if (conflict.reason === "untracked") {
      throw refused("UNSUPPORTED", `what stands in the way of ${shown} is ignored, or no file: move it away on the host`);
    }
    const policy = policyOf(link, keep);
    if (link.settings.mode === "one-way-safe" && policy === "beta") {
      const whose = link.settings.from === "host" ? "the space" : "the host";
      throw refused("UNSUPPORTED", `the link's mode never brings what ${whose} has to the other side`);
    }
    if (this.#waiting.length + this.#earlier.size >= DECISIONS_MAX) throw refused("LIMIT", "too many decisions wait already");
    const waiting = [...this.#waiting.filter((one) => one.path !== path), { path, tag, keep, policy }];
    const text = this.#text(waiting);
    if (text.length > DECISIONS_CHARS_MAX) throw refused("LIMIT", "too many decisions wait already");
    try {
      this.#file.write(text);
    } catch (cause) {
      throw refused("DISK", `the decision could not be written down: ${messageOf(cause)}`);
    }
    this.#waiting = waiting;
    this.#earlier.delete(path);
  }
}

/** What cannot be understood decides nothing: the conflicts are there for people as before. */
function decisionsIn(text: string | undefined): Decision[] {
  try {
    const parsed = DECISIONS.safeParse(JSON.parse(text === undefined || text === "" ? "[]" : text));
    return parsed.success ? parsed.data : [];
  } catch {
    return [];
  }
}

function policyOf({ settings }: AssignedLink, keep: Keep): ConflictPolicy {
  if (keep === "both") return "copy";
  const isHostAlpha = settings.from === "host";
  return (keep === "copy") === isHostAlpha ? "alpha" : "beta";
}

function told(link: AssignedLink, { path, reason, alpha, beta }: Conflict, hash: Hash): LeftConflict {
  const [host, space] = link.settings.from === "host" ? [alpha, beta] : [beta, alpha];
  const text = JSON.stringify([path, host, space], (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));
  return { path, reason, host: sideOf(host), space: sideOf(space), tag: hash(text, 16) };
}

function sideOf(entry: Entry | undefined): LeftSide | null {
  if (entry === undefined) return null;
  if (entry.kind !== "file") return { kind: entry.kind, size: null, mtimeMs: null };
  return { kind: "file", size: entry.size, mtimeMs: Number(entry.mtimeNs / 1_000_000n) };
}

function refused(code: "NOT_FOUND" | "STALE" | "UNSUPPORTED" | "LIMIT" | "DISK", message: string): SynclineError {
  return new SynclineError({ code, op: "resolve conflict", message });
}
