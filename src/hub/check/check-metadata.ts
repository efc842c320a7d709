/**
 * Is the whole database what was written, and does it agree with itself? Nobody may write while it is looked at: give it
 * the database of a hub that is not running, or a copy (Database.copyTo).
 */
import { decodeAttributes } from "#hub/attributes.ts";
import { type SumsRow, sumsOfRow } from "#hub/meta/content-sums.ts";
import { decodeManifest } from "#hub/meta/manifests.ts";
import { SPACE_COLUMNS, type SpaceRow, VERSION_COLUMNS, type VersionRow, decodeEntry, spaceOf, versionOf } from "#hub/meta/rows.ts";
import { storedBytes } from "#hub/encrypted-content.ts";
import { checkMarks } from "#hub/check/check-marks.ts";
import type { Findings } from "#hub/check/findings.ts";
import type { Space, Version } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, compareBytes, decodeName, encodeName, parentOf, printablePath } from "#model/path.ts";
import type { Database, SqlRow } from "#platform/sql/database.ts";
import type { ContentId } from "#sync/chunk/chunk-id.ts";
import type { Manifest } from "#sync/chunk/manifest.ts";

const ROWS = 2000;

const SPACES = `SELECT ${SPACE_COLUMNS} FROM spaces ORDER BY id`;
const JOURNAL = `SELECT ${VERSION_COLUMNS} FROM versions WHERE space_id = ? AND seq > ? ORDER BY seq LIMIT ?`;
/** Each version with what it replaced, what replaced it, and its commit; one statement for a stretch of the journal. */
const NEIGHBOURS = `SELECT v.seq AS seq,
    CASE WHEN v.previous = 0 THEN 1 WHEN p.path = v.path AND p.replaced = v.seq THEN 1 ELSE 0 END AS follows,
    CASE WHEN v.replaced IS NULL THEN 1 WHEN n.path = v.path AND n.previous = v.seq THEN 1 ELSE 0 END AS precedes,
    CASE WHEN c.seq <= v.seq AND c.last_seq >= v.seq THEN 1 ELSE 0 END AS committed
  FROM versions v
  LEFT JOIN versions p ON p.space_id = v.space_id AND p.seq = v.previous
  LEFT JOIN versions n ON n.space_id = v.space_id AND n.seq = v.replaced
  LEFT JOIN commits c ON c.space_id = v.space_id AND c.seq = v.commit_seq
  WHERE v.space_id = ? AND v.seq > ? AND v.seq <= ?`;
const CURRENT = `SELECT ${VERSION_COLUMNS} FROM versions INDEXED BY versions_current
  WHERE space_id = ? AND present = ? AND replaced IS NULL AND path > ? ORDER BY path LIMIT ?`;
const ALIVE = `SELECT 1 AS one FROM versions INDEXED BY versions_current
  WHERE space_id = ? AND present = 1 AND path = ? AND replaced IS NULL`;
const COMMITS = "SELECT seq, last_seq, time_ms, order_ms FROM commits WHERE space_id = ? AND seq > ? ORDER BY seq LIMIT ?";
const CONTENTS = `SELECT c.content AS content, length(m.manifest) AS bytes
  FROM (SELECT DISTINCT content FROM versions INDEXED BY versions_content
    WHERE content IS NOT NULL AND content > ? ORDER BY content LIMIT ?) c
  LEFT JOIN manifests m ON m.id = c.content ORDER BY c.content`;
const SUMS = `SELECT s.content, s.sums, s.sum,
    CASE WHEN EXISTS (SELECT 1 FROM versions v WHERE v.content = s.content) THEN 1 ELSE 0 END AS versions
  FROM content_sums s WHERE s.content > ? ORDER BY s.content LIMIT ?`;
const MANIFEST = "SELECT manifest FROM manifests WHERE id = ?";
const ONE_VERSION = `SELECT ${VERSION_COLUMNS} FROM versions INDEXED BY versions_content WHERE content = ? LIMIT 1`;
const SPACE_NAME = "SELECT name FROM spaces WHERE id = ?";
const FIRST = new Uint8Array(0);

/** Content that some version refers to, and where. */
export type CheckedContent = {
  readonly id: ContentId;
  /** Undefined: one chunk. */
  readonly manifest: Manifest | undefined;
  /** "space 3: a/b", of the first version that has it. */
  readonly where: () => Promise<string>;
};

export class MetadataCheck {
  readonly #db: Database;
  readonly #hubId: string;
  readonly #findings: Findings;
  readonly #signal: AbortSignal;

  constructor(db: Database, hubId: string, findings: Findings, signal: AbortSignal) {
    this.#db = db;
    this.#hubId = hubId;
    this.#findings = findings;
    this.#signal = signal;
  }

  /** @returns how many spaces and versions were looked at */
  async run(): Promise<{ spaces: number; versions: number }> {
    let versions = 0;
    const rows = await this.#db.all<SpaceRow>(SPACES);
    for (const row of rows) {
      const space = this.#spaceOf(row);
      if (space === undefined) continue;
      versions += await this.#checkJournal(space);
      await this.#checkCommits(space);
      await this.#checkTree(space);
    }
    await this.#checkSums();
    await checkMarks(this.#db, this.#findings, this.#signal);
    return { spaces: rows.length, versions };
  }

  #spaceOf(row: SpaceRow): Space | undefined {
    try {
      return spaceOf(row);
    } catch {
      this.#findings.add("row", `space ${row.id}`, "its settings are not what was written");
      return undefined;
    }
  }

  /** 1, 2, 3 … without gaps, every row whole, and each version where its neighbours say. */
  async #checkJournal(space: Space): Promise<number> {
    const findings = this.#findings;
    let last = 0;
    for (;;) {
      this.#signal.throwIfAborted();
      const rows = await this.#db.all<VersionRow>(JOURNAL, [space.id, last, ROWS]);
      if (rows.length === 0) break;
      const from = last;
      for (const row of rows) {
        if (row.seq !== last + 1) findings.add("journal", space.name, `sequences ${last + 1} to ${row.seq - 1} are missing`);
        last = row.seq;
        this.#versionOf(space, row);
      }
      type Fit = SqlRow & { seq: number; follows: number; precedes: number; committed: number };
      for (const fit of await this.#db.all<Fit>(NEIGHBOURS, [space.id, from, last])) {
        const at = `${space.name} #${fit.seq}`;
        if (fit.follows !== 1) findings.add("journal", at, "what it replaced is not the version before it");
        if (fit.precedes !== 1) findings.add("journal", at, "what replaced it is not the version after it");
        if (fit.committed !== 1) findings.add("commit", at, "its commit is missing");
      }
    }
    if (last !== space.sequence) {
      findings.add("journal", space.name, `the journal ends at ${last}, and the space is at ${space.sequence}`);
    }
    return last;
  }

  #versionOf(space: Space, row: VersionRow): Version | undefined {
    const at = `${space.name}:${printablePath(decodeName(row.path))} #${row.seq}`;
    try {
      const version = versionOf(row, this.#hubId);
      if ((version.entry !== undefined) === (row.present === 1)) return version;
    } catch (error) {
      if (!(error instanceof SynclineError)) throw error;
    }
    this.#findings.add("row", at, "it is not what was written");
    return undefined;
  }

  async #checkCommits(space: Space): Promise<void> {
    const findings = this.#findings;
    let seq = 0;
    let end = 0;
    let order = -Infinity;
    for (;;) {
      this.#signal.throwIfAborted();
      type Row = { seq: number; last_seq: number; time_ms: number; order_ms: number };
      const rows = await this.#db.all<Row>(COMMITS, [space.id, seq, ROWS]);
      if (rows.length === 0) break;
      for (const row of rows) {
        const at = `${space.name}, commit ${row.seq}`;
        if (row.seq !== end + 1 || row.last_seq < row.seq) findings.add("commit", at, "commits do not follow each other");
        if (row.order_ms < order || row.order_ms > row.time_ms) findings.add("commit", at, "its time runs back");
        seq = row.seq;
        end = row.last_seq;
        order = row.order_ms;
      }
    }
    if (end !== space.sequence) findings.add("commit", space.name, `commits end at ${end}, not at ${space.sequence}`);
  }

  /** Those of contents are whole, and of contents that are there. */
  async #checkSums(): Promise<void> {
    for (let after = FIRST; ; ) {
      this.#signal.throwIfAborted();
      const rows = await this.#db.all<SumsRow & { versions: number }>(SUMS, [after, ROWS]);
      for (const row of rows) {
        const at = `content ${row.content.toHex()}`;
        try {
          sumsOfRow(row);
        } catch (error) {
          if (!(error instanceof SynclineError)) throw error;
          this.#findings.add("row", at, "its sums are not what was written");
        }
        if (row.versions === 0) this.#findings.add("row", at, "it has sums, and no version has it");
      }
      if (rows.length < ROWS) return;
      after = new Uint8Array(rows.at(-1)!.content);
    }
  }

  /** Every entry lies in a directory, no path is there twice, and the counters are right. */
  async #checkTree(space: Space): Promise<void> {
    const findings = this.#findings;
    const dirs: { readonly path: RelPath; readonly end: Uint8Array }[] = [];
    let entries = 0;
    let bytes = 0;
    for await (const version of this.#current(space, 1)) {
      const { path, entry, attributes } = version;
      const name = encodeName(path);
      while (dirs.length > 0 && compareBytes(name, dirs.at(-1)!.end) >= 0) dirs.pop();
      const parent = parentOf(path);
      if (parent !== "" && dirs.at(-1)?.path !== parent) {
        findings.add("tree", `${space.name}:${printablePath(path)}`, "the directory that it lies in is not there");
      }
      // What is below "d" lies in ["d/", "d0"); "d.txt" comes before it.
      if (entry?.kind === "dir") dirs.push({ path, end: encodeName(`${path}0`) });
      entries++;
      bytes += storedBytes(entry, attributes);
    }
    const { usage } = space;
    if (usage.entries !== entries) findings.add("usage", space.name, `${usage.entries} entries are counted, ${entries} are there`);
    if (usage.bytes !== bytes) findings.add("usage", space.name, `${usage.bytes} bytes are counted, ${bytes} are there`);
    for await (const { path } of this.#current(space, 0)) {
      const alive = await this.#db.get(ALIVE, [space.id, encodeName(path)]);
      if (alive !== undefined) findings.add("tree", `${space.name}:${printablePath(path)}`, "it is there and removed");
    }
  }

  async *#current(space: Space, present: 0 | 1): AsyncGenerator<Version> {
    for (let after = FIRST; ; ) {
      this.#signal.throwIfAborted();
      const rows = await this.#db.all<VersionRow>(CURRENT, [space.id, present, after, ROWS]);
      for (const row of rows) {
        const version = this.#quietly(row);
        if (version !== undefined) yield version;
      }
      if (rows.length < ROWS) return;
      after = new Uint8Array(rows.at(-1)!.path);
    }
  }

  /** Undefined for a row that the walk over the journal has told of. */
  #quietly(row: VersionRow): Version | undefined {
    try {
      return versionOf(row, this.#hubId);
    } catch (error) {
      if (error instanceof SynclineError) return undefined;
      throw error;
    }
  }

  /** Every content that a version refers to, with its manifest; what is wrong with one is found on the way. */
  async *contents(): AsyncGenerator<CheckedContent> {
    for (let after = FIRST; ; ) {
      this.#signal.throwIfAborted();
      type Row = { content: Uint8Array; bytes: number | null };
      const rows = await this.#db.all<Row>(CONTENTS, [after, ROWS]);
      for (const { content, bytes } of rows) {
        const where = (): Promise<string> => this.#whereIs(content);
        const id = content.toHex() as ContentId;
        if (bytes === null) yield { id, manifest: undefined, where };
        else {
          const manifest = await this.#manifestOf(id, content);
          if (manifest !== undefined) yield { id, manifest, where };
        }
      }
      if (rows.length < ROWS) return;
      after = new Uint8Array(rows.at(-1)!.content);
    }
  }

  async #manifestOf(id: ContentId, content: Uint8Array): Promise<Manifest | undefined> {
    const row = await this.#db.get<{ manifest: Uint8Array }>(MANIFEST, [content]);
    const version = await this.#db.get<VersionRow>(ONE_VERSION, [content]);
    try {
      const manifest = decodeManifest(id, row?.manifest ?? FIRST);
      const entry = version === undefined ? undefined : decodeEntry(version.entry);
      if (manifest === undefined) throw missing(id);
      if (entry?.kind !== "file" || storedBytes(entry, decodeAttributes(version!.attributes)) === manifest.size) return manifest;
      this.#findings.add("manifest", await this.#whereIs(content), "the manifest of its content has another size");
    } catch (error) {
      if (!(error instanceof SynclineError)) throw error;
      this.#findings.add("manifest", await this.#whereIs(content), "the manifest of its content is damaged or gone");
    }
    return undefined;
  }

  async #whereIs(content: Uint8Array): Promise<string> {
    const row = await this.#db.get<VersionRow>(ONE_VERSION, [content]);
    if (row === undefined) return "nowhere";
    const space = await this.#db.get<{ name: string }>(SPACE_NAME, [row.space_id]);
    return `${space?.name ?? `space ${row.space_id}, which is being erased`}:${printablePath(decodeName(row.path))} #${row.seq}`;
  }
}

function missing(id: ContentId): SynclineError {
  return new SynclineError({ code: "STATE", op: "check", message: `the manifest of ${id} is gone` });
}
