/** Are unfinished uploads what was written: their rows, their parts, and the chunks that these name? */
import type { Findings } from "#hub/check/findings.ts";
import type { UploadRow, UploadRows } from "#hub/uploads/upload-rows.ts";
import { SynclineError } from "#model/error.ts";
import { printablePath } from "#model/path.ts";
import type { ChunkStore } from "#store/chunk-store.ts";

const ORPHANS_SHOWN = 100;

/** @returns how many were looked at */
export async function checkUploads(rows: UploadRows, chunks: ChunkStore, findings: Findings, signal: AbortSignal): Promise<number> {
  let count = 0;
  const onDamaged = (id: string): void => findings.add("row", `upload ${id}`, "it is not what was written");
  for await (const row of rows.open(onDamaged)) {
    signal.throwIfAborted();
    count++;
    await checkParts(rows, row, chunks, findings);
  }
  for (const id of await rows.orphans(ORPHANS_SHOWN)) {
    findings.add("upload", `upload ${id}`, "there are parts of it, and there is no such upload");
  }
  return count;
}

async function checkParts(rows: UploadRows, row: UploadRow, chunks: ChunkStore, findings: Findings): Promise<void> {
  const where = `upload ${row.id} to ${printablePath(row.path)}`;
  let received = 0;
  try {
    for await (const part of rows.parts(row.id)) {
      received += part.size;
      const bytes = part.chunks.reduce((sum, { length }) => sum + length, 0);
      if (bytes !== part.size) findings.add("upload", where, `part ${part.number} has ${part.size} bytes, and chunks of ${bytes}`);
      using pin = chunks.pin();
      const there = pin.has(part.chunks.map(({ id }) => id));
      const lacking = there.filter((isThere) => !isThere).length;
      if (lacking > 0) findings.add("chunk", where, `${lacking} of ${there.length} chunks of part ${part.number} missing or damaged`);
    }
  } catch (error) {
    if (!(error instanceof SynclineError) || error.code !== "STATE") throw error;
    findings.add("row", where, error.message);
    return;
  }
  if (received === row.received) return;
  findings.add("upload", where, `it says that ${row.received} bytes have come, and its parts have ${received}`);
}
