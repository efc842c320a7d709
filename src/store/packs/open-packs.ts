/**
 * Opens the directory of packs as the last process left it, whether it ended well or not.
 *
 * What a sidecar covers is believed; the rest of each pack is read. What is found there is synced before it counts,
 * because the process that wrote it may have ended before its own sync. The last pack is cut behind its last whole
 * record; it goes on taking chunks where the process before has left it in order. Otherwise that one may have died of a
 * disk that had refused just this file, and nothing that is written to it would be certain.
 */
import { SynclineError } from "#model/error.ts";
import { type Fd, FsError, isCode } from "#platform/file-system.ts";
import type { ChunkId } from "#sync/chunk/chunk-id.ts";
import { Catalog, type Pack } from "#store/packs/catalog.ts";
import { type PackFiles, type PackNames, chunkDiskError } from "#store/packs/pack-files.ts";
import { HEADER_BYTES, type PackHeader, Rows, type Sidecar, decodePackHeader, recordBytesOf } from "#store/packs/pack-format.ts";
import { scanPack } from "#store/packs/pack-scan.ts";

/** What the last process left, for the log. */
export type Recovery = {
  readonly packs: number;
  readonly chunks: number;
  /** Bytes of the packs that were read because no sidecar covered them. */
  readonly scannedBytes: number;
  /** Of the last pack: what was being written when the process ended. */
  readonly cutBytes: number;
  /** Chunks, or places where one must have been, that were found damaged now. */
  readonly damaged: number;
  /** Numbers of packs whose header is gone; they were renamed to `.unreadable` and hold chunks that are missing now. */
  readonly unreadable: readonly number[];
  /** False where the system cannot keep a second process out. */
  readonly isLocked: boolean;
};

/** The pack that goes on. */
export type LastPack = { readonly pack: Pack; readonly fd: Fd; readonly rows: Rows };

type Counts = { scannedBytes: number; cutBytes: number; damaged: number; unreadable: number[] };

export async function loadCatalog(
  files: PackFiles,
): Promise<{ catalog: Catalog; last: LastPack | undefined; nextNumber: number; recovery: Recovery }> {
  const catalog = new Catalog();
  const counts: Counts = { scannedBytes: 0, cutBytes: 0, damaged: 0, unreadable: [] };
  try {
    const names = files.names();
    await files.syncNames();
    for (const index of names.indexes) if (!names.packs.includes(index)) files.removeIndex(index);
    let last: LastPack | undefined;
    for (const number of names.packs) {
      last = await loadPack(files, catalog, number, number === names.packs.at(-1), counts);
    }
    const recovery = { ...counts, packs: catalog.packs().length, chunks: catalog.table.count, isLocked: files.isLocked };
    return { catalog, last, nextNumber: highest(names) + 1, recovery };
  } catch (error) {
    throw chunkDiskError("open the packs", error);
  }
}

/** A number is never given twice: what was set aside keeps its own. */
function highest({ packs, indexes, unreadable }: PackNames): number {
  let max = 0;
  for (const list of [packs, indexes, unreadable]) for (const number of list) max = Math.max(max, number);
  return max;
}

async function loadPack(
  files: PackFiles,
  catalog: Catalog,
  number: number,
  isLast: boolean,
  counts: Counts,
): Promise<LastPack | undefined> {
  const size = files.size(number);
  const found = await readSidecar(files, number);
  const header = await readHeader(files, number, found);
  if (header === undefined) {
    // A process that ended while it made the pack: the header is durable before the first record is written.
    if (size <= HEADER_BYTES) {
      files.remove(number);
      await files.syncNames();
    } else {
      await files.setAside(number);
      counts.unreadable.push(number);
    }
    return undefined;
  }
  const sidecar = found?.header.id.toHex() === header.id.toHex() ? found : undefined;
  const rows = sidecar?.rows ?? new Rows();
  const from = sidecar?.coveredBytes ?? HEADER_BYTES;
  let end = Math.max(HEADER_BYTES, Math.min(from, size));
  const pack = catalog.addPack(header, HEADER_BYTES);
  if (size > from && sidecar?.isSealed !== true) {
    const scan = await scanPack(files, header, { from, size, isLast }, rows);
    counts.scannedBytes += size - from;
    counts.damaged += scan.damaged;
    // What could not be read must not be cut off: it may be whole, and the disk may let us read it another time.
    pack.isPartlyRead = scan.isPartial;
    const isCut = isLast && !scan.isPartial;
    end = isCut ? scan.end : size;
    if (isCut) counts.cutBytes += size - scan.end;
    pack.isStale = true;
  }
  const isInOrder = sidecar?.isSealed === false && sidecar.coveredBytes === size;
  if (isLast && rows.count === 0 && !isInOrder && !pack.isPartlyRead) {
    catalog.dropPack(pack);
    files.remove(number);
    await files.syncNames();
    return undefined;
  }
  if (isLast || pack.isStale) await files.syncPack(number);
  catalog.resize(pack, end);
  fill(catalog, pack, rows, counts);
  if (isLast && isInOrder) {
    const fd = reopen(files, number);
    if (fd !== undefined) return { pack, fd, rows };
  }
  if (size > end && isLast && !pack.isPartlyRead) await cut(files, number, end);
  pack.isSealed = true;
  if (pack.isStale && !pack.isPartlyRead) await writeFresh(files, catalog, pack, rows);
  return undefined;
}

async function readSidecar(files: PackFiles, number: number): Promise<Sidecar | undefined> {
  const sidecar = await files.readSidecar(number);
  return sidecar !== undefined && sidecar.coveredBytes >= HEADER_BYTES ? sidecar : undefined;
}

/**
 * Undefined when the pack is not one. Where the disk does not let us read it that cannot be said, and nothing is done.
 * @throws {FsError} EIO, where no sidecar knows what the header says
 */
async function readHeader(
  files: PackFiles,
  number: number,
  sidecar: Sidecar | undefined,
): Promise<PackHeader | undefined> {
  const bytes = new Uint8Array(HEADER_BYTES);
  let count = 0;
  try {
    count = await files.read(number, bytes, 0);
  } catch (error) {
    if (!isCode(error, "EIO") || sidecar === undefined) throw error;
  }
  const header = decodePackHeader(bytes.subarray(0, count));
  if (header === "newer") {
    throw new SynclineError({
      code: "VERSION",
      op: "open the packs",
      message: `pack ${number} was written by a newer version of this program`,
      hint: "update Syncline on this host to the version that was last used here",
    });
  }
  if (header !== undefined && header.number === number) return header;
  // The sidecar knows what the header said.
  return sidecar?.header;
}

/** Takes what the rows say into the catalog. */
function fill(catalog: Catalog, pack: Pack, rows: Rows, counts: Counts): void {
  for (let index = 0; index < rows.count; index++) {
    const row = rows.at(index);
    const isCutOff = row.offset + recordBytesOf(row.storedBytes) > pack.bytes;
    if (!row.damaged && !isCutOff) {
      catalog.place(pack, row);
      continue;
    }
    if (isCutOff) counts.damaged++;
    if (isCutOff) pack.isStale = true;
    if (catalog.table.findBytes(row.id) < 0) catalog.noteDamaged(row.id.toHex() as ChunkId);
  }
}

/** Undefined when the disk does not let anybody write: what is there can still be read. */
function reopen(files: PackFiles, number: number): Fd | undefined {
  try {
    return files.openToAppend(number);
  } catch (error) {
    if (error instanceof FsError) return undefined;
    throw error;
  }
}

/** Where the disk refuses, what lies behind is whole or no record at all. */
async function cut(files: PackFiles, number: number, end: number): Promise<void> {
  const fd = reopen(files, number);
  if (fd === undefined) return;
  try {
    files.fs.truncate(fd, end);
    await files.fs.sync(fd);
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
  } finally {
    files.fs.close(fd);
  }
}

/** Writes the sidecar of a complete pack anew where it says something else than the catalog does. */
export async function freshenSidecar(files: PackFiles, catalog: Catalog, pack: Pack): Promise<void> {
  if (!pack.isSealed || !pack.isStale || pack.isPartlyRead) return;
  const { header, bytes: size } = pack;
  const found = await files.readSidecar(header.number);
  const sidecar = found?.header.id.toHex() === header.id.toHex() ? found : undefined;
  const rows = sidecar?.rows ?? new Rows();
  const from = sidecar?.coveredBytes ?? HEADER_BYTES;
  try {
    // The one that is there may be from before the pack was complete.
    if (from < size && (await scanPack(files, header, { from, size, isLast: false }, rows)).isPartial) return;
  } catch (error) {
    if (error instanceof FsError) return;
    throw error;
  }
  await writeFresh(files, catalog, pack, rows);
}

/** @param rows all of the pack */
async function writeFresh(files: PackFiles, catalog: Catalog, pack: Pack, rows: Rows): Promise<void> {
  const kept = catalog.rowsToKeep(pack, rows, rows.count);
  pack.isStale = false;
  const sidecar = { header: pack.header, coveredBytes: pack.bytes, isSealed: true, rows: kept };
  if (!(await files.writeSidecar(sidecar))) pack.isStale = true;
}
