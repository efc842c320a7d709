/**
 * What was said of an old version after others had taken its place: its tags, over S3. The row of a version never changes
 * (digests and views of the past are made of it), so it lies beside it, with a number as locks have one. It counts for the
 * rows that were there when it was said; one that shows the version again later has it from here, or says it anew.
 */
import { type Attributes, againOf, attributesFault, decodeAttributes, encodeAttributes } from "#hub/attributes.ts";
import { lastMark } from "#hub/meta/lock-rows.ts";
import { damagedRow, hash48 } from "#hub/meta/rows.ts";
import { ListText } from "#hub/meta/texts.ts";
import type { SpaceId, Version } from "#hub/space.ts";
import type { Sql, SqlRow } from "#platform/sql/database.ts";

/** `at`: the sequence of the space when it was said. Attributes are all that the version has since, but the hub's own. */
export type LaterAttributes = { readonly sequence: number; readonly attributes: Attributes; readonly at: number };
export type NumberedLater = LaterAttributes & { readonly number: number };

type Row = SqlRow & {
  readonly seq: number;
  readonly attributes: Uint8Array | null;
  readonly at: number;
  readonly number: number;
  readonly sum: number;
};

const COLUMNS = "seq, attributes, at, number, sum";
const SOME = new ListText(`SELECT ${COLUMNS} FROM later_attributes WHERE space_id = ? AND seq IN (%)`);
const AFTER = `SELECT ${COLUMNS} FROM later_attributes INDEXED BY later_attributes_number
  WHERE space_id = ? AND number > ? ORDER BY number LIMIT ?`;
const SAVE = `INSERT INTO later_attributes (space_id, seq, attributes, at, number, sum) VALUES (?, ?, ?, ?, ?, ?)
  ON CONFLICT (space_id, seq) DO UPDATE SET attributes = excluded.attributes, at = excluded.at, number = excluded.number,
    sum = excluded.sum`;
const NOTHING = new Uint8Array(0);

const sumOf = (space: SpaceId, { seq, at, number }: Pick<Row, "seq" | "at" | "number">, bytes: Uint8Array | null): number =>
  hash48(Buffer.from(`${space} ${seq} ${at} ${number}`), bytes ?? NOTHING);

/** @throws {SynclineError} STATE for a row that is not what was written */
function laterOf(space: SpaceId, row: Row): NumberedLater {
  const { seq: sequence, attributes, at, number } = row;
  try {
    if (sumOf(space, row, attributes) === row.sum) return { sequence, attributes: decodeAttributes(attributes), at, number };
  } catch {
    // Told below.
  }
  throw damagedRow(`what was said later of version ${sequence}`, undefined);
}

/** The versions as they are since, each with its attribute that the hub gave it. */
export async function withLater(sql: Sql, space: SpaceId, versions: readonly Version[]): Promise<Version[]> {
  const names = versions.map(nameOf);
  const found = new Map<number, LaterAttributes>();
  for (const { text, values } of SOME.pieces([space], [...new Set(names)])) {
    for (const row of await sql.all<Row>(text, values)) found.set(row.seq, laterOf(space, row));
  }
  if (found.size === 0) return [...versions];
  return versions.map((version, index) => {
    const later = found.get(names[index]!);
    if (later === undefined || version.sequence > later.at || version.entry === undefined) return version;
    const own = Object.entries(version.attributes).filter(([name]) => name.startsWith("version."));
    return { ...version, attributes: { ...later.attributes, ...Object.fromEntries(own) } };
  });
}

const nameOf = ({ attributes, sequence }: Version): number => againOf(attributes) ?? sequence;

/** By number, those that changed since. */
export async function laterAfter(sql: Sql, space: SpaceId, after: number, limit: number): Promise<NumberedLater[]> {
  return (await sql.all<Row>(AFTER, [space, after, limit])).map((row) => laterOf(space, row));
}

/** With the next number of the space, whose row must be locked. */
export async function insertLater(sql: Sql, space: SpaceId, later: LaterAttributes): Promise<void> {
  await saveLater(sql, space, { ...later, number: (await lastMark(sql, space)) + 1 });
}

/** @throws {Error} for what no version can have */
export async function saveLater(sql: Sql, space: SpaceId, { sequence, attributes, at, number }: NumberedLater): Promise<void> {
  const fault = attributesFault(attributes);
  if (fault !== undefined) throw new Error(fault);
  const bytes = encodeAttributes(attributes);
  await sql.run(SAVE, [space, sequence, bytes, at, number, sumOf(space, { seq: sequence, at, number }, bytes)]);
}
