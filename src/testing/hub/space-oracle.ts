/**
 * What must be true of a space, whoever did what to it: its journal has no gaps and gives the listing, what was
 * acknowledged is in it as it was, content is readable and right, and every removal has a cause.
 */
import { isEncrypted, storedBytes } from "#hub/encrypted-content.ts";
import type { JournalRecord, Version } from "#hub/space.ts";
import type { Entry } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, isWithin, parentOf } from "#model/path.ts";
import { type SumSeeds, sumOf } from "#sync/chunk/sum.ts";
import { type AgentLink, innerOf, outerOf } from "#testing/hub/agent-session.ts";
import type { Acknowledged } from "#testing/hub/door-person.ts";
import { type Believed, type HubProcess, SPACE, principal } from "#testing/hub/sim-hub.ts";
import { contentDigest } from "#testing/sim-content.ts";
import { IGNORE_FILE, Ignored, type Outline, textOf, viewOf } from "#testing/sim-oracle.ts";

const WHO = principal("user", "judge");
/** More than any life commits. */
const ROWS_MAX = 10_000;

export type SpaceState = { readonly records: readonly JournalRecord[]; readonly listing: readonly Version[] };

export async function stateOf({ spaces }: HubProcess, name = SPACE): Promise<SpaceState> {
  const listing = await listAt({ spaces }, undefined, name);
  const records: JournalRecord[] = [];
  for (;;) {
    const page = await spaces.journal(WHO, name, records.at(-1)?.sequence ?? 0, ROWS_MAX);
    if (page.length === 0) return { records, listing };
    records.push(...page);
  }
}

/** Records that two journals have in common before they part. */
export function sharedBy(one: readonly JournalRecord[], other: readonly JournalRecord[]): number {
  const isOther = (record: JournalRecord, at: number): boolean => {
    const there = other[at];
    // Two lives may have the same time here: a hub whose clock is behind its last commit goes on with that one's.
    return there?.path !== record.path || there.commit !== record.commit || there.origin.traceId !== record.origin.traceId;
  };
  const parts = one.findIndex(isOther);
  return parts < 0 ? one.length : parts;
}

function listAt({ spaces }: Pick<HubProcess, "spaces">, sequence: number | undefined, name = SPACE): Promise<Version[]> {
  const at = sequence === undefined ? undefined : { sequence };
  return spaces.list(WHO, name, { below: "", after: undefined, shallow: false, limit: ROWS_MAX, at });
}

/** @throws {Error} when the journal is not what the space's state came from; nothing may be committed meanwhile */
export async function judgeJournal(
  process: HubProcess,
  acknowledged: readonly Acknowledged[],
  points: ReadonlyMap<string, number>,
): Promise<void> {
  const { records, listing } = await stateOf(process);
  const space = await process.spaces.space(WHO, SPACE);
  if (space.sequence !== records.length) throw new Error(`sequence ${space.sequence}, but ${records.length} records`);
  const present = new Map<RelPath, Version>();
  const last = new Map<RelPath, JournalRecord>();
  const atPoints = new Map([...points].map(([name, sequence]) => [sequence, name]));
  for (const [at, record] of records.entries()) {
    const { path, sequence, previous, action, entry } = record;
    if (sequence !== at + 1) throw new Error(`record ${at + 1} of the journal has sequence ${sequence}`);
    if (previous !== (last.get(path)?.sequence ?? 0)) throw new Error(`${path} at ${sequence} replaces ${previous}`);
    if ((action === "remove") !== (entry === undefined)) throw new Error(`${path} at ${sequence}: ${action}`);
    last.set(path, record);
    if (entry === undefined) present.delete(path);
    else present.set(path, record);
    if (records[at + 1]?.commit !== record.commit) judgeTree(present, sequence);
    const point = atPoints.get(sequence);
    if (point !== undefined) await judgePoint(process, point, sequence, present);
  }
  const differs = difference(present, listing);
  if (differs !== undefined) throw new Error(`the journal does not give the listing at ${differs}`);
  judgeUsage(space.usage, listing);
  for (const one of acknowledged) judgeAcknowledged(one, records);
}

/** Every entry is in a directory. */
function judgeTree(present: ReadonlyMap<RelPath, Version>, sequence: number): void {
  for (const path of present.keys()) {
    const dir = parentOf(path);
    if (dir === "" || present.get(dir)?.entry?.kind === "dir") continue;
    throw new Error(`after ${sequence} ${path} is in no directory`);
  }
}

function difference(expected: ReadonlyMap<RelPath, Version>, listing: readonly Version[]): RelPath | undefined {
  const rest = new Map(expected);
  for (const { path, sequence } of listing) {
    if (rest.get(path)?.sequence !== sequence) return path;
    rest.delete(path);
  }
  return rest.keys().next().value;
}

function judgeUsage(usage: { bytes: number; entries: number }, listing: readonly Version[]): void {
  let bytes = 0;
  for (const { entry, attributes } of listing) bytes += storedBytes(entry, attributes);
  if (usage.bytes === bytes && usage.entries === listing.length) return;
  throw new Error(`usage ${JSON.stringify(usage)}, but ${bytes} bytes in ${listing.length} entries`);
}

async function judgePoint(process: HubProcess, name: string, sequence: number, present: Map<RelPath, Version>) {
  const listing = await listAt(process, sequence);
  const differs = difference(present, listing);
  if (differs !== undefined) throw new Error(`restore point ${name} at ${sequence} is wrong at ${differs}`);
  for (const { path, entry, content } of listing) {
    if (entry?.kind === "file" && content === undefined) throw new Error(`restore point ${name} lost ${path}`);
  }
}

function judgeAcknowledged({ sequence, path, what, expect, sum }: Acknowledged, records: readonly JournalRecord[]): void {
  const record = records[sequence - 1];
  const found = record?.entry?.kind === "file" ? record.entry.sum : undefined;
  if (record?.path !== path || found !== sum) throw new Error(`acknowledged ${what} of ${path} at ${sequence} is gone`);
  if (what === "several" || what === "restore" || what === "undo" || what === "move" || what === "decide") return;
  const before = record.previous === 0 ? undefined : records[record.previous - 1];
  const isMet =
    (expect.kind !== "absent" || before?.entry === undefined) &&
    (expect.kind !== "sequence" || record.previous === expect.sequence);
  if (!isMet) throw new Error(`${what} of ${path} at ${sequence} replaced ${record.previous}, not what it expected`);
}

/** Versions whose bytes cannot be had, or are wrong. Content that retention dropped is passed over. */
export async function unreadable(process: HubProcess, seeds: SumSeeds): Promise<string[]> {
  const { records, listing } = await stateOf(process);
  const current = new Set(listing.map(({ sequence }) => sequence));
  const known = new Map<string, string | undefined>();
  const found: string[] = [];
  for (const record of records) {
    const { entry, content, path, sequence } = record;
    if (entry?.kind !== "file") continue;
    if (content === undefined) {
      if (current.has(sequence)) found.push(`${path} at ${sequence}: the current version has no content`);
      continue;
    }
    const key = `${content.id} ${content.size} ${entry.sum}`;
    if (!known.has(key)) known.set(key, await faultOf(process, record, seeds));
    const fault = known.get(key);
    if (fault !== undefined) found.push(`${path} at ${sequence}: ${fault}`);
  }
  return found;
}

async function faultOf(process: HubProcess, version: Version, seeds: SumSeeds): Promise<string | undefined> {
  try {
    if (isEncrypted(version)) return await encryptedFault(process, version);
    const bytes = await bytesOf(process, version);
    if (version.entry?.kind !== "file" || bytes.length !== version.entry.size) return "of another size";
    return sumOf(bytes, seeds) === version.entry.sum ? undefined : "other bytes than it says";
  } catch (error) {
    if (error instanceof SynclineError) return `${error.code} ${error.message}`;
    throw error;
  }
}

/** Nobody can say whether they are the right bytes; all of them can be had, each chunk as it is named. */
async function encryptedFault({ spaces }: HubProcess, version: Version): Promise<string | undefined> {
  const reader = await spaces.openEncrypted(WHO, SPACE, version);
  const bytes = new Uint8Array(reader.size);
  const count = await reader.read(bytes, 0);
  return count === version.content!.size ? undefined : "of another size, encrypted";
}

async function bytesOf({ spaces }: HubProcess, version: Version): Promise<Uint8Array> {
  const reader = await spaces.open(WHO, SPACE, version);
  const bytes = new Uint8Array(reader.size);
  await reader.read(bytes, 0);
  return bytes;
}

/**
 * Why a host is not as its link promises, or undefined; everything must be readable.
 * @param mayDiffer paths in the link's root that are passed over
 */
export async function linkDifference(
  process: HubProcess,
  link: AgentLink,
  mayDiffer: (path: RelPath) => boolean = () => false,
): Promise<string | undefined> {
  const { replica, from, mode } = link;
  const tickNs = replica.host.disk.timestampNs;
  const view = viewOf(replica);
  const host = textOf(view, tickNs);
  const { texts: space, outline, encrypted } = await shownOf(process, link, tickNs);
  const isHidden = hiddenOn(view, outline, encrypted);
  for (const path of new Set([...host.keys(), ...space.keys()])) {
    const a = host.get(path);
    const b = space.get(path);
    const isOwn = mode === "one-way-safe" && (from === "host" ? b : a) !== undefined;
    if (a !== b && !isOwn && !mayDiffer(path) && !isHidden(path)) return `not the same at ${outerOf(link, path)}: ${replica.name} ${a} | space ${b}`;
  }
  return undefined;
}

/** What one side ignores, or cannot carry, is nobody's business; nor are directories that hold such. */
function hiddenOn(host: Outline, space: Outline, encrypted: readonly RelPath[]): (path: RelPath) => boolean {
  const [here, there] = [new Ignored(host), new Ignored(space)];
  const isBarred = barredBy(host, encrypted);
  if (!here.any && !there.any) return isBarred;
  const touched = [here.touched(), there.touched()];
  return (path) =>
    isBarred(path) || here.hides(path, space) || there.hides(path, host) || touched.some((paths) => paths.has(path));
}

/**
 * Where an encrypted file is, whatever the host has there, and what is above it: a directory that holds one stays. Where
 * the host has something else in the place of such a directory, none of it can come.
 */
function barredBy(host: Outline, encrypted: readonly RelPath[]): (path: RelPath) => boolean {
  const barred = encrypted.map((path) => {
    for (let cut = path.indexOf("/"); cut >= 0; cut = path.indexOf("/", cut + 1)) {
      const above = host.get(path.slice(0, cut));
      if (above !== undefined && above.entries === undefined) return path.slice(0, cut);
    }
    return path;
  });
  return (path) => barred.some((one) => isWithin(path, one) || isWithin(one, path));
}

/** Which paths of a link one of its sides ignores. */
export async function hiddenFrom(process: HubProcess, link: AgentLink): Promise<(path: RelPath) => boolean> {
  const { outline, encrypted } = await shownOf(process, link, 1n);
  return hiddenOn(viewOf(link.replica), outline, encrypted);
}

type Shown = { readonly texts: Map<RelPath, string>; readonly outline: Outline; readonly encrypted: readonly RelPath[] };

async function shownOf(process: HubProcess, link: AgentLink, tickNs: bigint): Promise<Shown> {
  const out = new Map<RelPath, string>();
  const outline = new Map<RelPath, { entries?: unknown; content?: { toBytes(): Uint8Array } }>();
  const encrypted: RelPath[] = [];
  for (const version of await listAt(process, undefined)) {
    const path = innerOf(link, version.path);
    const { entry } = version;
    if (path === undefined || entry === undefined) continue;
    if (entry.kind === "file" && isEncrypted(version)) {
      encrypted.push(path);
      continue;
    }
    outline.set(path, entry.kind === "dir" ? { entries: true } : {});
    if (entry.kind === "symlink") out.set(path, `symlink ${entry.target}`);
    else if (entry.kind !== "file") out.set(path, `dir ${"mode" in entry ? entry.mode.toString(8) : ""}`);
    else {
      const bytes = await bytesOf(process, version);
      if (path.endsWith(IGNORE_FILE)) outline.set(path, { content: { toBytes: () => bytes } });
      const digest = contentDigest(bytes);
      const timeNs = entry.mtimeNs - (entry.mtimeNs % tickNs);
      out.set(path, `file ${entry.mode.toString(8)} ${entry.size} ${digest} ${timeNs}`);
    }
  }
  return { texts: out, outline, encrypted };
}

/** A session changes only what it saw: nothing that somebody committed meanwhile is replaced or removed unseen. */
export function unseen(records: readonly JournalRecord[], believed: readonly Believed[]): string | undefined {
  // What a move took away, and what it brought, was not asked for by that path: there the same run may have wanted
  // something else, in vain (seed 930000636).
  const own = records.filter(({ action }, at) => action !== "move" && !isMovedAway(records, at));
  const made = Map.groupBy(own, ({ origin, path }) => `${origin.runId} ${path}`);
  const asked = Map.groupBy(believed, ({ runId, path }) => `${runId} ${path}`);
  for (const [key, [ask, again]] of asked) {
    const [record, another] = made.get(key) ?? [];
    // Of several changes of one path in one run the first makes what the second sees.
    if (ask === undefined || again !== undefined || record === undefined || another !== undefined) continue;
    const before = record.previous === 0 ? undefined : records[record.previous - 1]!.entry;
    if (factsOf(before) === factsOf(ask.old)) continue;
    return `run ${ask.runId} saw ${factsOf(ask.old)} at ${ask.path} and changed ${factsOf(before)}`;
  }
  return undefined;
}

/** No host replaces, removes or moves what is encrypted: it has never seen it. */
export function encryptedTaken(records: readonly JournalRecord[], links: readonly AgentLink[]): string | undefined {
  for (const { path, sequence, previous, origin } of records) {
    const was = previous === 0 ? undefined : records[previous - 1];
    const link = links.find(({ name }) => origin.actor === `agent:${name}`);
    if (link === undefined || was?.entry?.kind !== "file" || !isEncrypted(was)) continue;
    return `${link.name} took the place of ${path}, which was encrypted, at ${sequence}`;
  }
  return undefined;
}

/** A move takes its source away in the record before its own. */
function isMovedAway(records: readonly JournalRecord[], at: number): boolean {
  return records[at + 1]?.action === "move" && records[at + 1]?.from === records[at]!.path;
}

function factsOf(entry: Entry | undefined): string {
  if (entry?.kind === "file") return `file ${entry.size} ${entry.mode} ${entry.sum}`;
  return entry?.kind === "symlink" ? `symlink ${entry.target}` : String(entry?.kind);
}

/**
 * No phantom deletions in the space: what an agent removed there is gone from its host by somebody's hand, or by a power
 * loss.
 * @param gone by agent, every path of its root that a person or a power loss ever took away
 */
export function phantomInSpace(
  records: readonly JournalRecord[],
  links: readonly AgentLink[],
  gone: ReadonlyMap<string, ReadonlySet<RelPath>>,
): string | undefined {
  for (const [at, { action, path, origin, sequence }] of records.entries()) {
    const link = links.find(({ name }) => origin.actor === `agent:${name}`);
    if (action !== "remove" || link === undefined || link.mode === "one-way-replica") continue;
    if (isMovedAway(records, at)) continue;
    const inner = innerOf(link, path);
    const causes = gone.get(link.name)!;
    if (inner !== undefined && [...causes].some((cause) => isWithin(inner, cause))) continue;
    return `${link.name} removed ${path} from the space at ${sequence}, and nobody on it had`;
  }
  return undefined;
}

/**
 * No phantom deletions on hosts: what a session removed there was removed from the space before.
 * @param records since when nothing of what was removed had been planned
 */
export function phantomOnHost(
  records: readonly JournalRecord[],
  link: AgentLink,
  removed: ReadonlySet<RelPath>,
): string | undefined {
  if (link.mode === "one-way-replica") return undefined;
  const gone = new Set(records.flatMap(({ action, path }) => (action === "remove" ? [path] : [])));
  for (const path of removed) {
    if (!gone.has(outerOf(link, path))) return `a session removed ${path} from ${link.name}, and nobody from the space`;
  }
  return undefined;
}
