/** Rows of one directory in SQLite, in order: its pages, its subdirectories, and both merged. */
import { compareNames, decodeName, type RelPath } from "#model/path.ts";
import { checkBlob } from "#sync/index/sql.ts";
import { NO_NAME } from "#sync/index/tree-pages.ts";
import type { DirRow, PageRow, TreeQueries } from "#sync/index/tree-queries.ts";
import { ByteReader } from "#sync/wire/bytes.ts";

/**
 * Pages fetched by one query while reading a directory; bounds the memory and spares most directories a
 * second.
 */
export const PAGES_PER_QUERY = 8;
/** Subdirectories fetched by one query while walking. */
const DIRS_PER_QUERY = 512;

/** The pages of a directory in order. */
export function* pageRows(sql: TreeQueries, dir: number): Generator<PageRow, undefined> {
  let rows = sql.firstPages.all(dir, PAGES_PER_QUERY);
  for (;;) {
    yield* rows;
    if (rows.length < PAGES_PER_QUERY) return undefined;
    rows = sql.morePages.all(dir, rows.at(-1)!.first, PAGES_PER_QUERY);
  }
}

/** The subdirectories of a directory in order. */
function* subdirRows(sql: TreeQueries, dir: number): Generator<DirRow, undefined> {
  let after = NO_NAME;
  for (;;) {
    const rows = sql.dirs.all(dir, after, DIRS_PER_QUERY);
    yield* rows;
    if (rows.length < DIRS_PER_QUERY) return undefined;
    after = rows.at(-1)!.name;
  }
}

/**
 * Goes through a directory in order, merging its records with its subdirectories, which need not have
 * records.
 */
export class NodeCursor {
  readonly path: RelPath;
  /** The node that next() found: its record, its directory, or both. */
  name = "";
  record: Uint8Array | undefined;
  dir: number | undefined;
  readonly #pages: Generator<PageRow, undefined>;
  readonly #subdirs: Generator<DirRow, undefined>;
  readonly #reader = new ByteReader(NO_NAME);
  #nextName: string | undefined;
  #subdir: { id: number; name: string } | undefined;

  constructor(sql: TreeQueries, path: RelPath, dir: number) {
    this.path = path;
    this.#pages = pageRows(sql, dir);
    this.#subdirs = subdirRows(sql, dir);
    this.#readName();
    this.#readSubdir();
  }

  /** Moves on; false at the end. */
  next(): boolean {
    const name = this.#nextName;
    const subdir = this.#subdir;
    const order = name === undefined ? 1 : subdir === undefined ? -1 : compareNames(name, subdir.name);
    this.record = undefined;
    this.dir = undefined;
    if (order >= 0 && subdir !== undefined) {
      this.name = subdir.name;
      this.dir = subdir.id;
      this.#readSubdir();
    }
    if (order <= 0 && name !== undefined) {
      this.name = name;
      this.record = this.#reader.bytes();
      this.#readName();
    }
    return this.record !== undefined || this.dir !== undefined;
  }

  #readName(): void {
    if (this.#reader.atEnd) {
      const row = this.#pages.next().value;
      if (row !== undefined) checkBlob(row);
      this.#reader.reset(row?.data ?? NO_NAME);
    }
    this.#nextName = this.#reader.atEnd ? undefined : this.#reader.string();
  }

  #readSubdir(): void {
    const row = this.#subdirs.next().value;
    this.#subdir = row === undefined ? undefined : { id: row.id, name: decodeName(row.name) };
  }
}
