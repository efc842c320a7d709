/**
 * What the controller remembers of one pair between cycles and runs: the ancestor, what still differs from it on
 * either side, how far each side's observations were consumed, and which changes were on their way when it stopped.
 */
import { assert } from "#model/error.ts";
import { type Entry, type FileEntry, compareContent, sameEntry, type Preserve } from "#model/entry.ts";
import { type RelPath, comparePaths, isWithin, parentOf } from "#model/path.ts";
import type { Problem } from "#model/observation.ts";
import type { Conflict, Side } from "#model/plan.ts";
import type { OpenReply, SumSeeds } from "#sync/endpoint/endpoint.ts";
import { entryCodec } from "#sync/index/record-codecs.ts";
import type { Store, Table, Tree } from "#sync/index/store.ts";
import { otherSide } from "#sync/plan/rows.ts";
import { Ancestor } from "#sync/session/ancestor.ts";
import { InFlightChanges } from "#sync/session/in-flight.ts";
import { RefusedPlaces } from "#sync/session/refused-places.ts";
import { type Held, type InFlight, savedPending, writePending } from "#sync/session/state-records.ts";
import { type SideMark, plannedMark, savedMark, writeMark } from "#sync/session/side-mark.ts";
import { ByteReader, ByteWriter } from "#sync/wire/bytes.ts";
import type { Random } from "#platform/host.ts";

export const SIDES: readonly Side[] = ["alpha", "beta"];

/** Can `held` be what was agreed, but for metadata? What is filtered out is not known to be anything else. */
function isStill(agreed: Entry, held: Held): boolean {
  return held.state === "ignored" || (held.state === "present" && compareContent(agreed, held.entry) !== "differs");
}

export class SessionState {
  readonly store: Store;
  readonly ancestor: Tree<Entry>;
  readonly pending: Record<Side, Map<RelPath, Held>> = { alpha: new Map(), beta: new Map() };
  readonly seeds: SumSeeds;
  /** Saved together with what was observed up to them, never before. */
  readonly marks: Record<Side, SideMark | undefined>;
  readonly #agreed: Ancestor;
  readonly #meta: Table;
  readonly inFlight: InFlightChanges;
  readonly #savedPending: Record<Side, Table>;
  /** Entries on each side, and where its last scan could not look; known after the first scan. */
  readonly entries: Record<Side, number> = { alpha: 0, beta: 0 };
  readonly unknown: Record<Side, readonly Problem[]> = { alpha: [], beta: [] };
  readonly refused: RefusedPlaces;
  /** Where the moves of the last plan were to go that a side refused; see MoveHints. */
  apart: Record<Side, Set<RelPath>> = { alpha: new Set(), beta: new Set() };
  /** Conflicts of the last plan, for whoever asks. */
  lastConflicts: readonly Conflict[] = [];
  #saved = "";
  /** Ignored paths by rules that have changed since, which the ancestor knows. */
  readonly #outdated: Record<Side, Set<RelPath>> = { alpha: new Set(), beta: new Set() };
  /** Sequences whose observations are stored durably, so that the endpoints' logs may forget them. */
  readonly savedSeq: Record<Side, number>;
  /** Of a side that tells while it is still scanned: the sequence that it was at before. */
  readonly #toldAfter: Record<Side, number> = { alpha: 0, beta: 0 };
  /** Is nothing stored of what was observed, so that whoever starts from here compares everything? */
  #comparesAll: boolean;

  /** @param seeds those that a side names content by; with others than last time nothing is remembered. Undefined: our own */
  constructor(store: Store, random: Random, seeds?: SumSeeds) {
    this.store = store;
    this.ancestor = store.tree("ancestor", entryCodec);
    this.#meta = store.table("meta");
    this.refused = new RefusedPlaces(store);
    this.inFlight = new InFlightChanges(store.log("in-flight"), () => this.#savePlanned());
    this.#savedPending = { alpha: store.table("pending-alpha"), beta: store.table("pending-beta") };
    const known = this.#meta.get("seeds");
    this.seeds = seeds ?? this.#loadSeeds(random);
    this.#agreed = new Ancestor(this.ancestor, this.#number("files"));
    this.marks = { alpha: savedMark(store, "alpha"), beta: savedMark(store, "beta") };
    for (const side of SIDES) this.#loadPending(side);
    this.savedSeq = { alpha: this.marks.alpha?.seq ?? 0, beta: this.marks.beta?.seq ?? 0 };
    this.#comparesAll = SIDES.every((side) => this.savedSeq[side] === 0);
    this.#saved = this.#fingerprint();
    if (seeds !== undefined) this.#adoptSeeds(known, seeds);
  }

  /** Sums of other seeds say nothing, so what was agreed by them is forgotten with them. */
  #adoptSeeds(known: Uint8Array | undefined, seeds: SumSeeds): void {
    const bytes = new Uint8Array(16);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, seeds.a);
    view.setBigUint64(8, seeds.b);
    if (known !== undefined && Buffer.compare(known, bytes) === 0) return;
    if (known !== undefined) this.reset();
    this.store.transaction({ durable: true }, () => this.#meta.set("seeds", bytes));
  }

  /** The side that lost its memory, until everything has been compared: what it holds may be old. Outlives the process. */
  get restored(): Side | undefined {
    return SIDES.find((side) => this.#meta.get(`restored-${side}`) !== undefined);
  }

  set restored(restored: Side | undefined) {
    if (restored === this.restored) return;
    this.store.transaction({ durable: true }, () => {
      for (const side of SIDES) this.#meta.delete(`restored-${side}`);
      if (restored !== undefined) this.#meta.set(`restored-${restored}`, Buffer.from("1"));
    });
  }

  /** Files in the ancestor. */
  get files(): number {
    return this.#agreed.files;
  }

  get comparesAll(): boolean {
    return this.#comparesAll;
  }

  /** What a change was to bring, path by path. */
  sent(change: InFlight): InFlight[] {
    const { side, path: to, from } = change;
    if (from === undefined) return [change];
    return [...this.ancestor.walk(from)].map(([path, entry]) => ({ side, path: to + path.slice(from.length), entry }));
  }

  /** What was on its way to `side`, as far as its outcome is not known. */
  sentTo(side: Side): InFlight[] {
    return this.inFlight.unsettled.flatMap((change) => (change.side === side ? this.sent(change) : []));
  }

  /** Cheap: what is pending only changes together with marks or with a change that was saved. */
  #fingerprint(): string {
    const { alpha, beta } = this.marks;
    return [alpha?.epoch, alpha?.seq, beta?.epoch, beta?.seq, this.pending.alpha.size, this.pending.beta.size].join(" ");
  }

  /** Has anything been observed or agreed since the last save? */
  unsaved(): boolean {
    return this.#saved !== this.#fingerprint();
  }

  #loadSeeds(random: Random): SumSeeds {
    const saved = this.#meta.get("seeds");
    const bytes = saved ?? random.bytes(16);
    if (saved === undefined) this.store.transaction({ durable: true }, () => this.#meta.set("seeds", bytes));
    const view = new DataView(bytes.buffer, bytes.byteOffset, 16);
    return { a: view.getBigUint64(0), b: view.getBigUint64(8) };
  }

  #number(name: string): number {
    const bytes = this.#meta.get(name);
    return bytes === undefined ? 0 : new ByteReader(bytes).varint();
  }

  #saveMark(side: Side, seq = this.marks[side]?.seq ?? 0): void {
    const mark = this.marks[side];
    if (mark !== undefined) writeMark(this.#meta, `mark-${side}`, { ...mark, seq });
  }

  /** What `side` holds at `path`: what was observed, or else what the ancestor says. */
  held(side: Side, path: RelPath): Held {
    const own = this.pending[side].get(path);
    if (own !== undefined) return own;
    const entry = this.ancestorOf(path);
    return entry === undefined ? { state: "absent" } : { state: "present", entry };
  }

  /** Records an observation; what equals the ancestor is not pending. */
  observe(side: Side, path: RelPath, held: Held, preserve: Preserve): void {
    if (held.state === "ignored") {
      const before = this.held(side, path);
      this.#loseSight(side, path);
      const isAsked = before.state === "present" && !this.inFlight.cameFrom(side, path) && this.ancestorOf(path) === undefined;
      if (isAsked && this.#isOtherKind(side, path, before.entry)) {
        this.pending[side].delete(path);
        return;
      }
    } else if (this.pending[side].get(path)?.state === "ignored") this.#seenAgain(side, path);
    if (held.state !== "ignored") {
      const entry = held.state === "present" ? held.entry : undefined;
      if (sameEntry(this.ancestorOf(path), entry, preserve)) {
        this.pending[side].delete(path);
        return;
      }
    }
    this.pending[side].set(path, held);
  }

  /** The content of what `side` holds at `path` has become known; as observe(), but cheap for what is pending anyway. */
  learned(side: Side, path: RelPath, entry: Entry, preserve: Preserve): void {
    const held: Held = { state: "present", entry };
    if (this.pending[side].has(path)) this.pending[side].set(path, held);
    else this.observe(side, path, held, preserve);
  }

  /**
   * `side` now holds `entry` at `path`. That is agreed only if the other side holds the same; otherwise (one half of a
   * merge, say) it is remembered as what this side holds.
   *
   * @returns whether a directory of this side is gone from there: see removedDirs()
   */
  achieved(side: Side, path: RelPath, entry: Entry | undefined, preserve: Preserve): boolean {
    const isDirGone = entry?.kind !== "dir" && this.#emptied(side, path, preserve);
    const other = this.held(otherSide(side), path);
    const there = other.state === "present" ? other.entry : undefined;
    if (other.state !== "ignored" && sameEntry(there, entry, preserve)) {
      this.setAncestor(path, entry);
      this.pending.alpha.delete(path);
      this.pending.beta.delete(path);
      return isDirGone;
    }
    if (entry?.kind === "file" && this.#isAlikeButLinked(path, entry, there, preserve)) this.rebase(path, entry, preserve);
    this.observe(side, path, entry === undefined ? { state: "absent" } : { state: "present", entry }, preserve);
    return isDirGone;
  }

  /**
   * Is it the same there, but for being a name of a file that has other names, which the sides have not in common? Then it
   * is agreed as it is here: where it goes later, that is a removal. Not where it was agreed to be such a name of the same
   * content: then this is one half of parting it from the others.
   */
  #isAlikeButLinked(path: RelPath, entry: FileEntry, there: Entry | undefined, preserve: Preserve): boolean {
    const agreed = this.ancestorOf(path);
    if (agreed?.kind === "file" && agreed.linkTo !== undefined && compareContent(agreed, entry) === "same") return false;
    return there?.kind === "file" && sameEntry({ ...there, linkTo: entry.linkTo }, entry, preserve);
  }

  /**
   * Where `side` holds no directory any more, whatever was agreed on in it went before. Of what was never agreed on
   * removedDirs() sees to that. Returns whether there was a directory.
   */
  #emptied(side: Side, dir: RelPath, preserve: Preserve): boolean {
    const before = this.held(side, dir);
    if (before.state !== "present" || before.entry.kind !== "dir") return false;
    const known = this.ancestor.children(dir).length === 0 ? [] : [...this.ancestor.walk(dir)].map(([path]) => path);
    for (const below of known) if (below !== dir) this.observe(side, below, { state: "absent" }, preserve);
    return true;
  }

  /**
   * `side` has no directories at these paths any more, and what it had told of in them, and was never agreed on, has gone. It
   * need not have told so, where a rule began to hide it before, or where a person removed a loser before it was put aside.
   * All of a group at once, as it costs a look at all that is pending; nothing of the group that comes later is in them.
   */
  removedDirs(side: Side, dirs: ReadonlySet<RelPath>, preserve: Preserve): void {
    if (dirs.size === 0) return;
    const isIn = (path: RelPath): boolean => path !== "" && (dirs.has(parentOf(path)) || isIn(parentOf(path)));
    for (const [path, { state }] of [...this.pending[side]]) {
      if (state !== "absent" && isIn(path)) this.observe(side, path, { state: "absent" }, preserve);
    }
  }

  ancestorOf(path: RelPath): Entry | undefined {
    return this.#agreed.at(path);
  }

  setAncestor(path: RelPath, entry: Entry | undefined): void {
    this.#agreed.set(path, entry);
  }

  /** As Ancestor.inBatch(). */
  inBatch(body: () => void): void {
    this.#agreed.inBatch(body);
  }

  /** `side` renamed a subtree as the other side had done before: it is renamed in the ancestor too. */
  moved(side: Side, from: RelPath, to: RelPath, preserve: Preserve): void {
    this.#agreed.flush();
    const other = otherSide(side);
    // Something else was agreed at its new place once, and went from this side since.
    for (const [path] of [...this.ancestor.walk(to)]) this.rebase(path, undefined, preserve);
    // Also what was never agreed: in a mirror a rename of beta's own is taken back.
    const paths = new Set([...this.ancestor.walk(from)].map(([path]) => path));
    for (const path of this.pending[side].keys()) if (isWithin(path, from)) paths.add(path);
    const subtree = [...paths].map((path) => {
      const now = to + path.slice(from.length);
      return { path, now, mine: this.held(side, path), theirs: this.held(other, now) };
    });
    this.ancestor.moveSubtree(from, to);
    for (const { path, now, mine, theirs } of subtree) {
      this.pending[side].delete(path);
      this.pending[other].delete(path);
      // What was agreed at the old place goes along only as far as it is what moved. In a mirror something else can
      // have been agreed there, and at the new place no side ever held that.
      const agreed = this.ancestorOf(now);
      if (agreed !== undefined && !isStill(agreed, mine)) this.setAncestor(now, undefined);
      this.observe(side, now, mine, preserve);
      this.observe(other, now, theirs, preserve);
      if (this.ancestorOf(now) === undefined) this.#agreeAlike(now, preserve);
    }
  }

  /** Nothing is agreed at `path`; both sides may hold the same there. */
  #agreeAlike(path: RelPath, preserve: Preserve): void {
    const [alpha, beta] = SIDES.map((side) => this.held(side, path));
    if (alpha!.state !== "present" || beta!.state !== "present") return;
    if (sameEntry(alpha!.entry, beta!.entry, preserve)) this.rebase(path, alpha!.entry, preserve);
  }

  /**
   * `side` alone renamed a subtree: a conflict's loser that was put aside. Nothing is agreed any more where it was:
   * otherwise the winner's unchanged entries there would look deleted by the loser.
   */
  movedAside(side: Side, from: RelPath, to: RelPath, preserve: Preserve): void {
    this.#agreed.flush();
    const paths = new Set([...this.ancestor.walk(from)].map(([path]) => path));
    for (const path of this.pending[side].keys()) if (isWithin(path, from)) paths.add(path);
    for (const path of paths) {
      this.rebase(path, undefined, preserve);
      const held = this.held(side, path);
      this.pending[side].delete(path);
      if (held.state !== "absent") this.observe(side, to + path.slice(from.length), held, preserve);
    }
  }

  /** Nothing is agreed at `path` or below any more. A side that ignores the path knows nothing of what is below. */
  forget(path: RelPath, preserve: Preserve): void {
    const agreed = this.ancestorOf(path);
    const covered = [...this.ancestor.walk(path)].map(([below]) => below);
    for (const below of covered) this.rebase(below, undefined, preserve);
    if (covered.length === 0) this.rebase(path, undefined, preserve);
    for (const side of SIDES) {
      if (this.held(side, path).state !== "ignored") continue;
      for (const below of covered) if (below !== path) this.pending[side].delete(below);
      if (agreed !== undefined && this.#isOtherKind(side, path, agreed)) this.pending[side].delete(path);
    }
  }

  /**
   * Is one a directory and the other not: `entry`, which `side` filters out, and what the other side holds there? Rules
   * tell those apart, so the path may be free for the other's once `entry` has gone, and nobody would say that it has.
   * It then counts as absent: `side` is asked, and says what it ignores or what stands in the way.
   */
  #isOtherKind(side: Side, path: RelPath, entry: Entry): boolean {
    const there = this.held(otherSide(side), path);
    return there.state === "present" && (there.entry.kind === "dir") !== (entry.kind === "dir");
  }

  /** What is below an ignored path will be reported anew, should that ever end, but not what went meanwhile. */
  #loseSight(side: Side, path: RelPath): void {
    const before = this.held(side, path);
    if (before.state !== "present" || before.entry.kind !== "dir") return;
    for (const below of this.pending[side].keys()) {
      if (below !== path && isWithin(below, path)) this.pending[side].delete(below);
    }
  }

  /** An ignored path is seen again. What it held is reported after it; of the rest it is known that it has gone. */
  #seenAgain(side: Side, path: RelPath): void {
    for (const [below] of this.ancestor.walk(path)) {
      if (below !== path) this.pending[side].set(below, { state: "absent" });
    }
  }

  /**
   * The ignore file of `dir` changed on a side: what it ignored may be seen again. An ignored path that is gone by now
   * will not be reported, so what is not known to the ancestor counts as absent until somebody says otherwise. What is
   * known to it waits for forgetOutdated().
   */
  rulesChanged(side: Side, dir: RelPath): void {
    for (const [path, held] of this.pending[side]) {
      if (held.state !== "ignored" || !isWithin(path, dir) || this.inFlight.cameFrom(side, path)) continue;
      if (this.ancestor.get(path) === undefined) this.pending[side].delete(path);
      else this.#outdated[side].add(path);
    }
  }

  /**
   * Paths that were agreed on, were ignored after that by rules which have changed since, and were not reported: nobody
   * ever would say that one has gone. Nothing is agreed there any more, as where the rules stayed, and then they count as
   * absent, which is no deletion. Call when the scan that told of the rules has ended, before anything is saved.
   */
  forgetOutdated(preserve: Preserve): void {
    const outdated = SIDES.flatMap((side) => {
      const paths = [...this.#outdated[side]].filter((path) => this.pending[side].get(path)?.state === "ignored");
      this.#outdated[side].clear();
      return paths.map((path) => ({ side, path }));
    });
    if (outdated.length === 0) return;
    this.store.transaction({ durable: false }, () => {
      for (const { side, path } of outdated) {
        this.forget(path, preserve);
        this.pending[side].delete(path);
      }
      this.save(false);
    });
  }

  /**
   * `side` reports `entry`. What the other side filters out there was judged as the directory, or as what is none, that
   * was there before, and rules tell those apart; nobody else would ever say that the path is free by now. So it is
   * asked again. Only where nothing is agreed: elsewhere to count as absent would be a deletion.
   */
  kindReported(side: Side, path: RelPath, entry: Entry): void {
    const other = otherSide(side);
    if (this.pending[other].size === 0) return;
    if (this.pending[other].get(path)?.state !== "ignored" || this.ancestorOf(path) !== undefined) return;
    if (this.inFlight.cameFrom(other, path)) return;
    const before = this.held(side, path);
    const isSameKind = before.state === "present" && (before.entry.kind === "dir") === (entry.kind === "dir");
    if (!isSameKind) this.pending[other].delete(path);
  }

  /**
   * `side` had sent `sent`, which did not arrive. Something of the other kind stands in its place there, and of that
   * nobody has said yet that `side` filters it out, too: it is asked again.
   */
  judgedAs(side: Side, path: RelPath, sent: Entry): void {
    const isAsked = this.pending[side].get(path)?.state === "ignored" && this.ancestorOf(path) === undefined;
    if (isAsked && this.#isOtherKind(side, path, sent)) this.pending[side].delete(path);
  }

  /**
   * Nothing is ignored in a directory that a side does not have. Nobody reports that what was ignored there went with
   * it, and remembered it would keep the other side's directory for good. What that side in turn refused from there,
   * or ignores there, is seen when its directory is removed. Only where nothing is agreed, as in kindReported().
   */
  forgetIgnoredOfGone(): void {
    for (const side of SIDES) {
      for (const [path, held] of this.pending[side]) {
        if (held.state !== "ignored" || this.ancestorOf(path) !== undefined) continue;
        const dir = parentOf(path);
        if (dir !== "" && SIDES.some((one) => this.#isNoDir(one, dir))) this.pending[side].delete(path);
      }
    }
  }

  #isNoDir(side: Side, path: RelPath): boolean {
    const held = this.held(side, path);
    return held.state === "absent" || (held.state === "present" && held.entry.kind !== "dir");
  }

  /** Moves the ancestor of one path without losing what either side holds there. */
  rebase(path: RelPath, entry: Entry | undefined, preserve: Preserve): void {
    const held = SIDES.map((side) => this.held(side, path));
    this.setAncestor(path, entry);
    SIDES.forEach((side, at) => this.observe(side, path, held[at]!, preserve));
  }

  /** Nothing is agreed at the path any more, nor below it: what both sides hold there is theirs alone. */
  disagree(path: RelPath, preserve: Preserve): void {
    for (const one of [path, ...[...this.ancestor.walk(path)].map(([below]) => below)]) this.rebase(one, undefined, preserve);
  }

  /**
   * All that is known of how far `side` was consumed. Ahead of what was saved of it are the changes in flight: one that had
   * sent them and has forgotten it since must not be believed that it removed them.
   */
  knownMarks(side: Side): SideMark[] {
    return [this.marks[side], plannedMark(this.store, side)].filter((mark) => mark !== undefined);
  }

  #loadPending(side: Side): void {
    for (const { path, held } of savedPending(this.#savedPending[side])) this.pending[side].set(path, held);
  }

  /**
   * As save(), in the middle of a first copy and without what is pending, which a large one has much of: whoever starts
   * from there asks both sides for everything, and still knows of which roots, and under which filters, the ancestor is.
   */
  saveProgress(): void {
    const { alpha, beta } = this.marks;
    const isFirst = this.#comparesAll && alpha !== undefined && beta !== undefined;
    assert(isFirst, "nothing is stored that would not be asked for again");
    this.#saveFiles();
    for (const side of SIDES) this.#saveMark(side, 0);
  }

  /** From where what is in flight was planned; in a first copy also where what is agreed came from. */
  #savePlanned(): void {
    for (const side of SIDES) {
      const mark = this.marks[side];
      if (mark === undefined) continue;
      writeMark(this.#meta, `planned-${side}`, { ...mark, seq: Math.max(mark.seq, this.#toldAfter[side]) });
    }
  }

  /**
   * What `side` tells is sent before its scan has ended. Whoever starts from what is saved until then asks for everything,
   * and knows the side again from one that was put back to before it was there.
   */
  tellsWhileScanned(side: Side, { rootId, filterHash, epoch, lastSeq }: OpenReply): void {
    this.marks[side] ??= { rootId, filterHash, epoch, seq: 0 };
    this.#toldAfter[side] = Math.max(1, lastSeq);
  }

  #saveFiles(): void {
    const w = new ByteWriter();
    w.varint(this.files);
    this.#meta.set("files", w.finish());
  }

  /** Writes what must go together with ancestor changes. Call inside a transaction of that durability. */
  save(durable: boolean): void {
    this.#saved = this.#fingerprint();
    this.#comparesAll = SIDES.every((side) => (this.marks[side]?.seq ?? 0) === 0);
    this.#saveFiles();
    for (const side of SIDES) {
      this.#saveMark(side);
      if (this.marks[side] !== undefined) this.#meta.delete(`planned-${side}`);
      if (durable) this.savedSeq[side] = this.marks[side]?.seq ?? 0;
      writePending(this.#savedPending[side], this.pending[side]);
    }
  }

  /** Forgets what was agreed: a side lost its memory, so everything is compared anew and nothing is deleted. */
  reset(): void {
    this.store.transaction({ durable: true }, () => {
      this.#agreed.clear();
      for (const side of SIDES) {
        this.pending[side].clear();
        this.#outdated[side].clear();
        this.marks[side] = undefined;
        this.#toldAfter[side] = 0;
        this.#meta.delete(`mark-${side}`);
        this.#meta.delete(`planned-${side}`);
      }
      this.inFlight.clear();
      this.save(true);
    });
  }

  /** Files that both sides hold alike, as far as it is known; the ancestor may have more that a side changed since. */
  sameFiles(): number {
    let differing = 0;
    const { alpha, beta } = this.pending;
    for (const path of alpha.keys()) if (this.#isLost(path)) differing++;
    for (const path of beta.keys()) if (!alpha.has(path) && this.#isLost(path)) differing++;
    return this.files - differing;
  }

  /** Was a file agreed on that a side now holds otherwise? */
  #isLost(path: RelPath): boolean {
    const agreed = this.ancestorOf(path);
    if (agreed?.kind !== "file") return false;
    return SIDES.some((side) => {
      const held = this.pending[side].get(path);
      if (held === undefined) return false;
      return held.state !== "present" || compareContent(agreed, held.entry) !== "same";
    });
  }

  /** Paths where at least one side differs from the ancestor, in path order. */
  touched(): RelPath[] {
    const paths: RelPath[] = [...this.pending.alpha.keys()];
    for (const path of this.pending.beta.keys()) if (!this.pending.alpha.has(path)) paths.push(path);
    return this.sortPaths(paths);
  }

  /** Scans mostly report in order already, and checking that is much cheaper than sorting a million paths. */
  sortPaths(paths: RelPath[]): RelPath[] {
    let sorted = true;
    for (let at = 1; at < paths.length && sorted; at++) sorted = comparePaths(paths[at - 1]!, paths[at]!) < 0;
    return sorted ? paths : paths.sort(comparePaths);
  }
}
