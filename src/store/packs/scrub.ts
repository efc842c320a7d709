/** Verifies chunks at rest, a stretch at a time. */
import type { Clock } from "#platform/host.ts";
import type { ChunkId } from "#sync/chunk/chunk-id.ts";
import { SynclineError } from "#model/error.ts";
import type { ScrubResult } from "#store/chunk-store.ts";
import type { Appender } from "#store/packs/appender.ts";
import type { Catalog, Pack } from "#store/packs/catalog.ts";
import type { Place } from "#store/packs/chunk-table.ts";
import { freshenSidecar } from "#store/packs/open-packs.ts";
import type { PackFiles } from "#store/packs/pack-files.ts";
import type { Rows } from "#store/packs/pack-format.ts";
import type { PackReader } from "#store/packs/pack-reader.ts";

/** Bytes that are read in one turn of the event loop; hashing them takes some 5 ms. */
const BYTES_PER_TURN = 8 << 20;

type Parts = {
  readonly files: PackFiles;
  readonly catalog: Catalog;
  readonly appender: Appender;
  readonly reader: PackReader;
  readonly clock: Clock;
};

/** The cursor is "pack number:offset" of the first record that was not looked at. */
export async function scrubPacks(
  parts: Parts,
  cursor: string | undefined,
  budgetBytes: number,
  signal: AbortSignal,
): Promise<ScrubResult> {
  const from = readCursor(cursor);
  const damaged: ChunkId[] = [];
  let checkedBytes = 0;
  let sinceTurn = 0;
  for (const pack of parts.catalog.packs()) {
    const { number } = pack.header;
    if (number < from.number) continue;
    const places = placesIn(parts, pack, number === from.number ? from.offset : 0);
    for (const { entry, place } of places) {
      signal.throwIfAborted();
      if (checkedBytes >= budgetBytes) return { cursor: `${number}:${place.offset}`, checkedBytes, damaged };
      if (sinceTurn >= BYTES_PER_TURN) {
        sinceTurn = 0;
        await parts.clock.sleep(0, signal);
      }
      const id = await findDamage(parts, entry, pack, place);
      if (id !== undefined) damaged.push(id);
      checkedBytes += place.recordBytes;
      sinceTurn += place.recordBytes;
    }
    await freshenSidecar(parts.files, parts.catalog, pack);
  }
  return { cursor: undefined, checkedBytes, damaged };
}

function readCursor(cursor: string | undefined): { number: number; offset: number } {
  if (cursor === undefined) return { number: 0, offset: 0 };
  const match = /^(\d{1,10}):(\d{1,10})$/.exec(cursor);
  if (match !== null) return { number: Number(match[1]), offset: Number(match[2]) };
  throw new SynclineError({ code: "USAGE", op: "scrub", message: `"${cursor}" is no cursor of a scrub` });
}

/** The chunks of a pack from `offset` on that are in its file, in order. */
function placesIn({ catalog, appender }: Parts, pack: Pack, offset: number): { entry: number; place: Place }[] {
  const { table } = catalog;
  const end = appender.readableBytes(pack);
  const found: { entry: number; place: Place }[] = [];
  for (let entry = 0; entry < table.end; entry++) {
    if (!table.isUsed(entry)) continue;
    const place = table.place(entry);
    if (place.slot === pack.slot && place.offset >= offset && place.offset < end) found.push({ entry, place });
  }
  return found.sort((a, b) => a.place.offset - b.place.offset);
}

/** The id of a chunk that was found damaged now. */
async function findDamage(
  { catalog, files, reader }: Parts,
  entry: number,
  pack: Pack,
  place: Place,
): Promise<ChunkId | undefined> {
  if (!reader.isStillAt(entry, pack, place)) return undefined;
  const record = await reader.record(pack, place, "scrub");
  if (record !== undefined && (await reader.plain(record)) !== undefined) return undefined;
  const id = (record?.header.id.toHex() as ChunkId | undefined) ?? (await nameOf(files, pack, place));
  // Moved, removed or healed while it was read.
  if (!reader.isStillAt(entry, pack, place)) return undefined;
  catalog.damage(entry, id);
  return id;
}

/** The id of a record whose header cannot be read. */
async function nameOf(files: PackFiles, pack: Pack, place: Place): Promise<ChunkId | undefined> {
  const rows: Rows | undefined = (await files.readSidecar(pack.header.number))?.rows;
  if (rows === undefined) return undefined;
  for (let index = 0; index < rows.count; index++) {
    const row = rows.at(index);
    if (row.offset === place.offset) return row.id.toHex() as ChunkId;
  }
  return undefined;
}
