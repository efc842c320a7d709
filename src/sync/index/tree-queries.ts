/** The tables in which trees lie, and every query on them. */
import { type Sql, checkBlob } from "#sync/index/sql.ts";
import { Page } from "#sync/index/tree-pages.ts";

/**
 * Pages and blocks have row ids although they have another key: comparing keys beside a large blob would read
 * all of the blob.
 */
export const TREE_SCHEMA = `
  CREATE TABLE dir (
    id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, name BLOB NOT NULL, UNIQUE (parent, name)
  );
  CREATE TABLE page (
    id INTEGER PRIMARY KEY, dir INTEGER NOT NULL, first BLOB NOT NULL, count INTEGER NOT NULL,
    sum INTEGER NOT NULL, data BLOB NOT NULL, UNIQUE (dir, first)
  );
  CREATE TABLE tree (container INTEGER PRIMARY KEY, root INTEGER NOT NULL, count INTEGER NOT NULL);`;

const SUBTREE = `WITH RECURSIVE
  sub (id) AS (SELECT ? UNION ALL SELECT dir.id FROM dir JOIN sub ON dir.parent = sub.id)`;

export type PageRow = { first: Uint8Array; count: number; sum: number; data: Uint8Array };
export type DirRow = { id: number; name: Uint8Array };

/** The page of a row. @throws {SynclineError} STATE when it is not what was written */
export function openPage(row: PageRow): Page {
  checkBlob(row);
  return new Page(row.data, row.count);
}

/** Prepares everything that trees ask of the database. */
export function treeQueries(sql: Sql) {
  return {
    dir: sql.query<{ id: number }, [number, Uint8Array]>("SELECT id FROM dir WHERE parent = ? AND name = ?"),
    dirs: sql.query<DirRow, [number, Uint8Array, number]>(
      "SELECT id, name FROM dir WHERE parent = ? AND name > ? ORDER BY name LIMIT ?",
    ),
    addDir: sql.query<null, [number, Uint8Array]>("INSERT INTO dir (parent, name) VALUES (?, ?)"),
    moveDir: sql.query<null, [number, Uint8Array, number]>(
      "UPDATE dir SET parent = ?, name = ? WHERE id = ?",
    ),
    dropDir: sql.query<null, [number]>("DELETE FROM dir WHERE id = ?"),
    inUse: sql.query<{ used: number }, [number, number]>(
      "SELECT EXISTS (SELECT 1 FROM page WHERE dir = ?) OR EXISTS (SELECT 1 FROM dir WHERE parent = ?) AS used",
    ),
    pageOf: sql.query<PageRow, [number, Uint8Array]>(
      "SELECT first, count, sum, data FROM page WHERE dir = ? AND first <= ? ORDER BY first DESC LIMIT 1",
    ),
    pageBefore: sql.query<PageRow, [number, Uint8Array]>(
      "SELECT first, count, sum, data FROM page WHERE dir = ? AND first < ? ORDER BY first DESC LIMIT 1",
    ),
    nextFirst: sql.query<{ first: Uint8Array }, [number, Uint8Array]>(
      "SELECT first FROM page WHERE dir = ? AND first > ? ORDER BY first LIMIT 1",
    ),
    firstPages: sql.query<PageRow, [number, number]>(
      "SELECT first, count, sum, data FROM page WHERE dir = ? ORDER BY first LIMIT ?",
    ),
    morePages: sql.query<PageRow, [number, Uint8Array, number]>(
      "SELECT first, count, sum, data FROM page WHERE dir = ? AND first > ? ORDER BY first LIMIT ?",
    ),
    putPage: sql.query<null, [number, Uint8Array, number, number, Uint8Array]>(
      `INSERT INTO page (dir, first, count, sum, data) VALUES (?, ?, ?, ?, ?) ON CONFLICT (dir, first)
       DO UPDATE SET count = excluded.count, sum = excluded.sum, data = excluded.data`,
    ),
    dropPage: sql.query<null, [number, Uint8Array]>("DELETE FROM page WHERE dir = ? AND first = ?"),
    countPages: sql.query<{ pages: number; records: number }, [number]>(
      "SELECT count(*) AS pages, total(count) AS records FROM page WHERE dir = ?",
    ),
    dropPages: sql.query<null, [number]>("DELETE FROM page WHERE dir = ?"),
    countSubtree: sql.query<{ records: number }, [number]>(
      `${SUBTREE} SELECT total(count) AS records FROM sub JOIN page ON page.dir = sub.id`,
    ),
    dropSubtreePages: sql.query<null, [number]>(`${SUBTREE} DELETE FROM page WHERE dir IN sub`),
    dropSubtreeDirs: sql.query<null, [number]>(`${SUBTREE} DELETE FROM dir WHERE id IN sub`),
    tree: sql.query<{ root: number; count: number }, [number]>(
      "SELECT root, count FROM tree WHERE container = ?",
    ),
    putTree: sql.query<null, [number, number, number]>(
      "INSERT OR REPLACE INTO tree (container, root, count) VALUES (?, ?, ?)",
    ),
    allPages: sql.query<PageRow & { dir: number }, [number, Uint8Array, number]>(
      "SELECT dir, first, count, sum, data FROM page WHERE (dir, first) > (?, ?) ORDER BY dir, first LIMIT ?",
    ),
  };
}

export type TreeQueries = ReturnType<typeof treeQueries>;
