/**
 * reconcile: ancestor, alpha and beta to a plan. Pure; after Mutagen's reconcile, per path instead of per tree.
 *
 * Content beats deletion; what is new is never removed or replaced unless the mode or the policy says so; what is
 * unknown, ignored or of an unsupported kind is not touched, nor the directories that hold it. Two linear passes over
 * the rows: the survey (upwards) tells each directory what lies below it, the decisions (downwards) freeze what is
 * below a conflict.
 *
 * An agreement whose entry is undefined covers everything below its path: all of it is absent on both sides, or
 * ignored, or beta's own.
 */
import { COPY_NAMES_MAX, copyPath } from "#model/conflict-copy.ts";
import { compareContent, sameEntry, sameMetadata } from "#model/entry.ts";
import type { Entry, FileEntry } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import { isWithin, parentOf } from "#model/path.ts";
import type { RelPath } from "#model/path.ts";
import type { Agreement, Change, Conflict, ConflictPolicy, Move, Plan, Side } from "#model/plan.ts";
import { countPlan } from "#sync/plan/counts.ts";
import { mergeEntries } from "#sync/plan/merge.ts";
import { CONTENT, entryOf, HAS, HOLD, isGated, METADATA, NEWS, otherSide, SAME, Survey } from "#sync/plan/rows.ts";
import type { ReconcileInput, Row, SideState } from "#sync/plan/rows.ts";
import { conflictWinner, fingerprint, shortHash } from "#sync/plan/winner.ts";

/** Makes the plan that brings both sides together as far as mode and policy allow. Linear in the rows. */
export function reconcile(input: ReconcileInput): Plan {
  return new Reconciler(input).run();
}

class Reconciler {
  readonly #input: ReconcileInput;
  readonly #survey: Survey;
  readonly #changes: Change[] = [];
  readonly #moves: Move[] = [];
  readonly #conflicts: Conflict[] = [];
  readonly #agreements: Agreement[] = [];
  readonly #blocked: Problem[] = [];
  readonly #copyPaths = new Set<RelPath>();
  /** Losers that go to where the winner's side keeps their content already, by that path: nothing is to be brought there. */
  readonly #keptCopies = new Map<RelPath, Side>();
  /** What files that may have more names on both sides are to be, by their first path; only where links are carried. */
  readonly #leaders = new Map<RelPath, FileEntry>();
  /** What the sides are to hold where this plan changes them; only where links are carried. */
  readonly #wanted: Record<Side, Map<RelPath, Entry | undefined>> = { alpha: new Map(), beta: new Map() };
  /** Names of files whose leader is not to be the same on both sides, by that: the first of them that is may lead them. */
  readonly #heirs: Record<Side, Map<RelPath, RelPath[]>> = { alpha: new Map(), beta: new Map() };
  /** The row at hand as it came. */
  #held: Row | undefined;
  readonly #conflictPaths: ReadonlySet<RelPath> | undefined;
  /** At and below this path nothing is planned any more. */
  #frozen: RelPath | undefined;
  /** At and below this path one side won a conflict as a whole. */
  #won: { readonly path: RelPath; readonly side: Side } | undefined;

  constructor(input: ReconcileInput) {
    this.#input = input;
    this.#survey = new Survey(input);
    this.#conflictPaths = input.conflictPaths === undefined ? undefined : new Set(input.conflictPaths);
  }

  run(): Plan {
    const rows = this.#survey.rows;
    for (let at = 0; at < rows.length; at++) {
      const row = rows[at]!;
      if (this.#frozen !== undefined && isWithin(row.path, this.#frozen)) continue;
      this.#held = row;
      if (isGated(row)) this.#gate(row);
      else if (row.path !== "") this.#decide(at, this.#input.preserve.hardlinks ? this.#apart(at, row) : row);
    }
    const kept = this.#keptCopies;
    const changes = kept.size === 0 ? this.#changes : this.#changes.filter(({ path, side }) => kept.get(path) !== side);
    const counts = countPlan(changes, this.#moves);
    return {
      changes,
      moves: this.#moves,
      conflicts: this.#conflicts,
      agreements: this.#agreements,
      blocked: this.#blocked,
      counts,
    };
  }

  /** A row that is unknown, ignored or of an unsupported kind on a side: report it, leave everything as it is. */
  #gate(row: Row): void {
    this.#frozen = row.path;
    if (row.alpha.state === "unknown" || row.beta.state === "unknown") {
      if (row.alpha.state === "unknown") this.#blocked.push(row.alpha.problem);
      if (row.beta.state === "unknown") this.#blocked.push(row.beta.problem);
      return;
    }
    if (row.alpha.state === "ignored" || row.beta.state === "ignored") return this.#agree(row, undefined);
    const alpha = entryOf(row.alpha);
    const beta = entryOf(row.beta);
    if (alpha?.kind === "other") this.#unsupported(row.path, "alpha", alpha.what);
    if (beta?.kind === "other") this.#unsupported(row.path, "beta", beta.what);
    const opposed = alpha !== undefined && beta !== undefined && alpha.kind !== beta.kind;
    if (opposed) this.#conflict(row, "untracked");
    else this.#agree(row, undefined);
  }

  #unsupported(path: RelPath, side: Side, what: string): void {
    const how = what === "symlink" ? " without --preserve +symlinks" : "";
    const message = `a ${what} is not synchronised${how}; exclude it to have it left out quietly`;
    this.#blocked.push({ path, side, code: "UNSUPPORTED", message, transient: false });
  }

  /**
   * A name follows its leader as long as that can be the same file on both sides. Where it goes, or a conflict, rules or
   * the mode keep it from that, the next name leads, which is a file of its own on the other side: else none of them would
   * ever come.
   */
  #apart(at: number, row: Row): Row {
    const [alpha, beta] = [entryOf(row.alpha), entryOf(row.beta)];
    const [leader, other] = [linkOf(alpha), linkOf(beta)];
    if (leader === undefined && other === undefined) return row;
    const led = { ...row, alpha: this.#sharedLink("alpha", row, leader), beta: this.#sharedLink("beta", row, other) };
    this.#survey.led(at, led, this.#input.preserve);
    return led;
  }

  #sharedLink(side: Side, row: Row, leader: RelPath | undefined): SideState {
    const state = row[side];
    if (leader === undefined || state.state !== "present" || this.#mayFollow(side, row, leader)) return state;
    const names = this.#heirs[side].get(leader) ?? [];
    while (names.length > 0 && !this.#isShared(names[0]!)) names.shift();
    const entry: FileEntry = { ...(state.entry as FileEntry), linkTo: names[0] };
    names.push(row.path);
    this.#heirs[side].set(leader, names);
    return { state: "present", entry };
  }

  /**
   * Where the leader could not be observed, may the name be linked to it all the same? For a moment that can wait. What
   * lasts, as damage does or a directory that may not be read, keeps a name from the bytes that are to come under it,
   * unless the other side is known to have them there; one that needs none stays as it is.
   */
  #mayFollow(side: Side, row: Row, leader: RelPath): boolean {
    const unseen = this.#unseen(leader);
    if (unseen === undefined) return this.#isShared(leader);
    const isPassing = [unseen.alpha, unseen.beta].some((one) => one.state === "unknown" && one.problem.transient);
    if (isPassing) return true;
    const mine = entryOf(row[side])!;
    const theirs = entryOf(row[otherSide(side)]);
    const isAlike = theirs !== undefined && compareContent(theirs, mine) === "same";
    if (isAlike && linkOf(theirs) === leader) return true;
    // What was agreed to be that very name went over there, or was parted from the others: so it is here.
    if ((isAlike || theirs === undefined) && sameEntry(row.ancestor, mine, this.#input.preserve)) return true;
    const there = unseen[otherSide(side)];
    if (there.state === "unknown") return false;
    const held = unseen.path === leader ? entryOf(there) : undefined;
    return held !== undefined && compareContent(held, mine) === "same";
  }

  /** The row that says that a path could not be observed: its own, or that of a directory above it. */
  #unseen(path: RelPath): Row | undefined {
    for (let up = path; up !== ""; up = parentOf(up)) {
      const row = this.#survey.rowAt(up);
      if (row?.alpha.state === "unknown" || row?.beta.state === "unknown") return row;
      if (row !== undefined) return undefined;
    }
    return undefined;
  }

  /** Is the file at a path, which was decided before, to be one on both sides? */
  #isShared(path: RelPath): boolean {
    const row = this.#survey.rowAt(path);
    if (row === undefined) return true;
    const [alpha, beta] = (["alpha", "beta"] as const).map((side) => {
      const wanted = this.#wanted[side];
      if (!wanted.has(path)) return entryOf(row[side]);
      return this.#input.lookup.refuses(side, path) ? undefined : wanted.get(path);
    });
    return alpha?.kind === "file" && beta?.kind === "file" && compareContent(alpha, beta) !== "differs";
  }

  #decide(at: number, row: Row): void {
    const alpha = entryOf(row.alpha);
    const beta = entryOf(row.beta);
    if (alpha === undefined && beta === undefined) return this.#forget(at, row);
    if (alpha !== undefined && beta !== undefined && sameEntry(alpha, beta, this.#input.preserve)) {
      return this.#agree(row, alpha.kind === "file" && alpha.sum === undefined ? beta : alpha);
    }
    if (this.#won !== undefined && isWithin(row.path, this.#won.path)) return this.#followWinner(row, this.#won.side);
    if (this.#input.mode === "one-way-replica") this.#decideReplica(at, row, alpha, beta);
    else if (this.#input.mode === "one-way-safe") this.#decideOneWay(at, row, alpha, beta);
    else this.#decideTwoWay(at, row, alpha, beta);
  }

  #decideTwoWay(at: number, row: Row, alpha: Entry | undefined, beta: Entry | undefined): void {
    const comparedAlpha = this.#survey.alpha[at]!;
    const comparedBeta = this.#survey.beta[at]!;
    if (alpha === undefined) return this.#decideOneSided(at, row, "beta", beta!, comparedBeta);
    if (beta === undefined) return this.#decideOneSided(at, row, "alpha", alpha, comparedAlpha);
    if (alpha.kind !== beta.kind) {
      if (comparedAlpha <= METADATA) return this.#replaceKind(at, row, "alpha", alpha, beta);
      if (comparedBeta <= METADATA) return this.#replaceKind(at, row, "beta", beta, alpha);
      return this.#resolve(at, row, "kind", alpha, beta);
    }
    const bothContent = comparedAlpha === CONTENT && comparedBeta === CONTENT;
    if (bothContent && compareContent(alpha, beta) !== "same") {
      return this.#resolve(at, row, "both-changed", alpha, beta);
    }
    let wanted = beta;
    if (comparedBeta === SAME) wanted = alpha;
    else if (comparedAlpha !== SAME) wanted = mergeEntries(row.ancestor, alpha, beta);
    wanted = this.#asLeader(row.path, alpha, beta, wanted);
    this.#set("alpha", row.path, alpha, wanted);
    this.#set("beta", row.path, beta, wanted);
  }

  /**
   * A name whose file has the same leader on both sides takes the leader's metadata, which is the file's and not the
   * name's. Were each name decided by its own ancestor, two could take it from opposite sides, and every cycle would
   * swap what the one before it had set.
   */
  #asLeader(path: RelPath, alpha: Entry, beta: Entry, wanted: Entry): Entry {
    if (!this.#input.preserve.hardlinks || wanted.kind !== "file") return wanted;
    if (alpha.kind !== "file" || beta.kind !== "file" || alpha.linkTo !== beta.linkTo) return wanted;
    if (alpha.linkTo === undefined) {
      this.#leaders.set(path, wanted);
      return wanted;
    }
    const leader = this.#leaders.get(alpha.linkTo);
    if (leader === undefined || compareContent(leader, wanted) === "differs") return wanted;
    const { mode, mtimeNs, owner, xattrs } = leader;
    return { ...wanted, mode, mtimeNs, owner, xattrs };
  }

  /** Only `side` has an entry: the other side gets it when it is new, otherwise the deletion is passed on. */
  #decideOneSided(at: number, row: Row, side: Side, entry: Entry, compared: number): void {
    if (!isKnown(entry, compared)) return this.#set(otherSide(side), row.path, undefined, entry);
    const below = this.#survey.below[at]!;
    // A directory comes back for the sake of what is new in it; the rest below it still goes.
    if ((below & NEWS[side]) !== 0) return this.#set(otherSide(side), row.path, undefined, entry);
    if ((below & HOLD[side]) === 0) this.#set(side, row.path, entry, undefined);
  }

  #decideOneWay(at: number, row: Row, alpha: Entry | undefined, beta: Entry | undefined): void {
    const compared = this.#survey.beta[at]!;
    if (beta === undefined) return this.#set("beta", row.path, undefined, alpha);
    if (alpha === undefined) {
      // What beta made or changed is its own from now on: nothing about it is agreed.
      if (!isKnown(beta, compared)) return this.#forget(at, row);
      const kept = (this.#survey.below[at]! & (NEWS.beta | HOLD.beta)) !== 0;
      if (this.#input.delete && !kept) this.#set("beta", row.path, beta, undefined);
      return;
    }
    const alphaUnchanged = row.ancestor !== undefined && this.#survey.alpha[at] === SAME;
    if (alpha.kind !== beta.kind) {
      if (compared <= METADATA) return this.#replaceKind(at, row, "beta", beta, alpha);
      return this.#resolve(at, row, "kind", alpha, beta);
    }
    if (alphaUnchanged) return;
    if (compared === CONTENT && compareContent(alpha, beta) !== "same") {
      return this.#resolve(at, row, "both-changed", alpha, beta);
    }
    this.#set("beta", row.path, beta, alpha);
  }

  #decideReplica(at: number, row: Row, alpha: Entry | undefined, beta: Entry | undefined): void {
    if (alpha === undefined) {
      const kept = !this.#input.delete || (this.#survey.below[at]! & HOLD.beta) !== 0;
      if (!kept) this.#set("beta", row.path, beta, undefined);
      return;
    }
    if (beta !== undefined && alpha.kind !== beta.kind) return this.#replaceKind(at, row, "beta", beta, alpha);
    this.#set("beta", row.path, beta, alpha);
  }

  /** Below the path of a won conflict the loser has nothing left: it gets whatever the winner has. */
  #followWinner(row: Row, winner: Side): void {
    const loser = otherSide(winner);
    const wanted = entryOf(row[winner]);
    if (wanted !== undefined) this.#set(loser, row.path, entryOf(row[loser]), wanted);
  }

  /** The entry of `side` gives way to one of another kind, unless something below it would be lost. */
  #replaceKind(at: number, row: Row, side: Side, old: Entry, wanted: Entry): void {
    const below = this.#survey.below[at]!;
    const { mode } = this.#input;
    const oneWay = mode === "one-way-safe" || mode === "one-way-replica";
    if (old.kind === "dir") {
      if ((below & HOLD[side]) !== 0) return this.#conflict(row, "untracked");
      if (oneWay && !this.#input.delete && (below & HAS[side]) !== 0) return this.#conflict(row, "kind");
      if (mode !== "one-way-replica" && (below & NEWS[side]) !== 0) {
        return this.#resolve(at, row, "kind", entryOf(row.alpha)!, entryOf(row.beta)!);
      }
    }
    this.#set(side, row.path, old, wanted);
  }

  /** Both sides have something of their own: ask the policy. */
  #resolve(at: number, row: Row, reason: "both-changed" | "kind", alpha: Entry, beta: Entry): void {
    const { mode } = this.#input;
    const policy = this.#policyFor(row.path);
    const winner = conflictWinner(mode, policy, alpha, beta, this.#input.restored);
    if (winner === undefined) return this.#conflict(row, reason);
    if (winner === "beta" && mode === "one-way-safe") {
      this.#frozen = row.path;
      return;
    }
    const loser = otherSide(winner);
    const old = loser === "alpha" ? alpha : beta;
    const wanted = winner === "alpha" ? alpha : beta;
    const below = this.#survey.below[at]!;
    if (old.kind === "dir" && (below & HOLD[loser]) !== 0) return this.#conflict(row, "untracked");
    if (policy !== "copy" && (old.kind !== "dir" || (below & NEWS[loser]) === 0)) {
      this.#set(loser, row.path, old, wanted);
      // Of the loser's directory nothing is new: its known entries are rows that go as deletions of the winner.
      if (old.kind !== "dir") this.#won = { path: row.path, side: winner };
      return;
    }
    const to = this.#freeName(row.path, loser, old, at);
    if (to === undefined) return this.#conflict(row, reason);
    this.#moves.push({ side: loser, from: row.path, to, count: this.#survey.countWithin(at, loser), aside: true });
    this.#set(loser, row.path, undefined, wanted);
    this.#won = { path: row.path, side: winner };
  }

  #policyFor(path: RelPath): ConflictPolicy {
    const chosen = this.#conflictPaths;
    if (chosen === undefined || chosen.has("")) return this.#input.conflict;
    for (let up = path; up !== ""; up = parentOf(up)) if (chosen.has(up)) return this.#input.conflict;
    return "leave";
  }

  /** A name for the loser that neither side uses; undefined when every try was taken. */
  #freeName(path: RelPath, side: Side, entry: Entry, at: number): RelPath | undefined {
    const print = entry.kind === "dir" ? this.#printOfTree(at, side) : fingerprint(entry);
    // Without a sum the size is the best that both sides can agree on.
    const digits = print ?? shortHash(String(entry.kind === "file" ? entry.size : 0));
    const kept = this.#keptCopy(path, side, entry, digits);
    if (kept !== undefined) {
      this.#copyPaths.add(kept);
      this.#keptCopies.set(kept, side);
      return kept;
    }
    for (let attempt = 1; attempt <= COPY_NAMES_MAX; attempt++) {
      const to = copyPath(path, side, digits, attempt);
      const { lookup } = this.#input;
      if (this.#copyPaths.has(to) || lookup.has("alpha", to) || lookup.has("beta", to)) continue;
      this.#copyPaths.add(to);
      return to;
    }
    return undefined;
  }

  /**
   * Where the winner's side keeps the loser's very content as a copy of this path that this side does not know yet. So it
   * is where the loser came to that side, lost there to a third one, and the answer to its coming was lost: beside that
   * copy, a second one would hold nothing new. A copy that both sides knew is no such place: who removes it on one of them
   * does not mean what goes there now.
   */
  #keptCopy(path: RelPath, side: Side, entry: Entry, digits: string): RelPath | undefined {
    if (entry.kind === "dir") return undefined;
    for (const put of ["alpha", "beta"] as const) {
      for (let attempt = 1; attempt <= COPY_NAMES_MAX; attempt++) {
        const to = copyPath(path, put, digits, attempt);
        const row = this.#survey.rowAt(to);
        if (row === undefined) break;
        const there = entryOf(row[otherSide(side)]);
        const isNew = row.ancestor === undefined && row[side].state === "absent" && there !== undefined;
        if (isNew && compareContent(there, entry) === "same" && !this.#copyPaths.has(to)) return to;
      }
    }
    return undefined;
  }

  #printOfTree(at: number, side: Side): string {
    const { rows } = this.#survey;
    const path = rows[at]!.path;
    let print = "";
    for (let next = at; next < rows.length && isWithin(rows[next]!.path, path); next++) {
      const entry = entryOf(rows[next]![side]);
      if (entry !== undefined) print = shortHash(`${print} ${rows[next]!.path} ${fingerprint(entry) ?? ""}`);
    }
    return print;
  }

  #conflict(row: Row, reason: Conflict["reason"]): void {
    this.#frozen = row.path;
    const { path, ancestor } = row;
    this.#conflicts.push({ path, reason, ancestor, alpha: entryOf(row.alpha), beta: entryOf(row.beta) });
  }

  /** Nothing is agreed at the path any more, nor below it, unless something there could not be observed. */
  #forget(at: number, row: Row): void {
    if ((this.#survey.below[at]! & (HOLD.alpha | HOLD.beta)) === 0) this.#agree(row, undefined);
  }

  #agree(row: Row, entry: Entry | undefined): void {
    if (!sameEntry(row.ancestor, entry, this.#input.preserve)) this.#agreements.push({ path: row.path, entry });
  }

  /** Plans the way from `old` to `wanted` on one side; nothing when they are equal. */
  #set(side: Side, path: RelPath, old: Entry | undefined, wanted: Entry | undefined): void {
    if (wanted === undefined) {
      if (old !== undefined) this.#change({ side, path, old, new: undefined, action: "remove" });
      return;
    }
    // Files that need sums to be told apart have them by now, so without one it is the side's own content.
    if (old === undefined || compareContent(old, wanted) === "differs") {
      return this.#change({ side, path, old, new: wanted, action: "content" });
    }
    if (sameMetadata(old, wanted, this.#input.preserve)) return;
    const relinked = this.#input.preserve.hardlinks && linkOf(old) !== linkOf(wanted);
    // A file that leaves its hard-link group becomes a new file from its own bytes.
    if (relinked) this.#change({ side, path, old, new: wanted, action: "content", from: path });
    else this.#change({ side, path, old, new: wanted, action: "metadata" });
  }

  #change(change: Change): void {
    const { side, path, old, new: wanted } = change;
    if (!this.#input.preserve.hardlinks) {
      this.#changes.push(change);
      return;
    }
    this.#wanted[side].set(path, wanted);
    // Who applies it compares it with what is there, which may be the name of another file all the same.
    this.#changes.push(old === undefined ? change : { ...change, old: entryOf(this.#held![side]) });
  }
}

function linkOf(entry: Entry | undefined): RelPath | undefined {
  return entry?.kind === "file" ? entry.linkTo : undefined;
}

/** Nothing of its own, as far as a deletion is concerned: unchanged, or a directory with other metadata. */
function isKnown(entry: Entry, compared: number): boolean {
  return compared === SAME || (compared === METADATA && entry.kind === "dir");
}
