/**
 * Conflicts that a link leaves open, and what people decide about them. A decision is carried out by the next session, in
 * one cycle whose policy is meant for these paths alone; what loses lies in the host's trash or in the space's history.
 * It is not kept: when the agent ends before that, the conflict is there as it was.
 */
import type { Entry } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, printablePath } from "#model/path.ts";
import type { Conflict, ConflictPolicy } from "#model/plan.ts";
import type { SessionEvent } from "#sync/session/events.ts";
import {
  CONFLICTS_CHARS_MAX,
  CONFLICTS_TOLD_MAX,
  type LeftConflict,
  type Keep,
  type LeftSide,
} from "#hub/agents/left-conflicts.ts";
import type { AssignedLink } from "#hub/agents/link.ts";

/** Decisions that wait for a session. */
const DECISIONS_MAX = 1000;

type Decided = { readonly path: RelPath; readonly policy: ConflictPolicy };

export class LinkConflicts {
  /** The first of those that the last complete cycle left, and how many there are. */
  #open: Conflict[] = [];
  #total = 0;
  #found: Conflict[] = [];
  #foundTotal = 0;
  #waiting: Decided[] = [];
  /** What the session at hand carries out; all of one policy. */
  #active: readonly Decided[] = [];

  event(event: SessionEvent): void {
    if (event.type === "conflict") {
      this.#foundTotal++;
      if (this.#found.length < CONFLICTS_TOLD_MAX) this.#found.push(event.conflict);
    }
    if (event.type !== "cycle") return;
    const { result } = event.summary;
    if (result !== "interrupted" && result !== "failed") {
      this.#open = this.#found;
      this.#total = this.#foundTotal;
      // A plan that is held has them in it, and is carried out by a session of its own.
      if (result !== "held") this.#active = [];
    }
    this.#found = [];
    this.#foundTotal = 0;
  }

  /** A session begins: it carries out what waits and is of one kind. */
  begin(): void {
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
  list(link: AssignedLink, hash: (text: string, digits: number) => string): { conflicts: LeftConflict[]; total: number } {
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
   * @throws {SynclineError} NOT_FOUND, STALE when it is another one by now, UNSUPPORTED, LIMIT
   */
  decide(
    link: AssignedLink,
    { path, tag, keep }: { path: RelPath; tag: string; keep: Keep },
    hash: (text: string, digits: number) => string,
  ): void {
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
    if (this.#waiting.length >= DECISIONS_MAX) throw refused("LIMIT", "too many decisions wait already");
    this.#waiting = [...this.#waiting.filter((one) => one.path !== path), { path, policy }];
  }
}

function policyOf({ settings }: AssignedLink, keep: Keep): ConflictPolicy {
  if (keep === "both") return "copy";
  const isHostAlpha = settings.from === "host";
  return (keep === "copy") === isHostAlpha ? "alpha" : "beta";
}

function told(link: AssignedLink, { path, reason, alpha, beta }: Conflict, hash: (text: string, digits: number) => string): LeftConflict {
  const [host, space] = link.settings.from === "host" ? [alpha, beta] : [beta, alpha];
  const text = JSON.stringify([path, host, space], (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));
  return { path, reason, host: sideOf(host), space: sideOf(space), tag: hash(text, 16) };
}

function sideOf(entry: Entry | undefined): LeftSide | null {
  if (entry === undefined) return null;
  if (entry.kind !== "file") return { kind: entry.kind, size: null, mtimeMs: null };
  return { kind: "file", size: entry.size, mtimeMs: Number(entry.mtimeNs / 1_000_000n) };
}

function refused(code: "NOT_FOUND" | "STALE" | "UNSUPPORTED" | "LIMIT", message: string): SynclineError {
  return new SynclineError({ code, op: "resolve conflict", message });
}
