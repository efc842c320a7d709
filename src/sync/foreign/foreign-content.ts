/** Reads files of a foreign system, each provably the one that the index knows, as far as the system lets that be seen. */
import type { Sum } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import { Summer } from "#sync/chunk/sum.ts";
import { type ForeignContext, doubtSpanMs, isError } from "#sync/foreign/foreign-context.ts";
import { type FileRecord, expectedOf, isFile } from "#sync/foreign/foreign-record.ts";

/** A reading that a lost connection cuts off goes on from there this often, where the system reads from an offset. */
const RESUMES_MAX = 4;
const RESUME_PAUSE_MS = 250;

/** A file's bytes, exactly as many as the record says; anything else rejects with STALE. */
export async function* readForeign(
  { files, abilities, host }: Pick<ForeignContext, "files" | "abilities" | "host">,
  path: RelPath,
  record: FileRecord,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const expect = expectedOf(path, record);
  let offset = 0;
  for (let resumes = 0; ; resumes++) {
    try {
      for await (const part of files.read(path, { offset, expect }, signal)) {
        signal.throwIfAborted();
        offset += part.length;
        if (offset > record.entry.size) throw stale(path);
        yield part;
      }
      if (offset !== record.entry.size) throw stale(path);
      return;
    } catch (error) {
      if (!isError(error, "LINK_LOST") || !abilities.ranges || resumes === RESUMES_MAX) throw error;
      await host.clock.sleep(RESUME_PAUSE_MS * 2 ** resumes, signal);
    }
  }
}

/** Reads a file whole and notes its sum. Rejects with STALE when another file is there. */
export async function hashForeign(
  context: ForeignContext,
  path: RelPath,
  record: FileRecord,
  signal: AbortSignal,
): Promise<Sum> {
  const readMs = context.host.clock.nowMs();
  const summer = new Summer(context.seeds);
  for await (const part of readForeign(context, path, record, signal)) summer.update(part);
  const sum = summer.digest();
  learnSum(context, path, record, sum, readMs);
  return sum;
}

/**
 * Keeps what a file was found to hold when it was read from `readMs` on. An edit that size and time had hidden becomes news.
 */
export function learnSum(
  context: ForeignContext,
  path: RelPath,
  { tag, mtimeNs, entry }: FileRecord,
  sum: Sum,
  readMs: number,
): void {
  const { index, store, log, abilities } = context;
  const now = index.get(path);
  if (!isFile(now) || now.tag !== tag || now.mtimeNs !== mtimeNs || now.entry.size !== entry.size) return;
  const isSettled = now.doubtMs === undefined || readMs - now.doubtMs > doubtSpanMs(abilities);
  const isNews = now.entry.sum !== undefined && now.entry.sum !== sum;
  if (now.entry.sum === sum && isSettled === (now.doubtMs === undefined)) return;
  store.transaction({ durable: isNews }, () => {
    index.set(path, { ...now, entry: { ...now.entry, sum }, doubtMs: isSettled ? undefined : now.doubtMs });
    if (isNews) log.append([path]);
  });
}

export function stale(path: RelPath): SynclineError {
  const message = "it changed while it was read";
  return new SynclineError({ code: "STALE", op: "read", path, message, retryable: true });
}
