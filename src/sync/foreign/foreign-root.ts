/**
 * Which place is the root, really? The marker's id where we may write, the address where we may not. A bucket that was
 * emptied or named wrongly, or another server behind the same name, must never look like a deletion of everything.
 */
import { type ErrorCode, SynclineError } from "#model/error.ts";
import { PRIVATE_DIR, type RelPath, joinPath } from "#model/path.ts";
import type { OpenRequest } from "#sync/endpoint/endpoint.ts";
import { isError } from "#sync/foreign/foreign-context.ts";
import type { ForeignFiles } from "#sync/foreign/foreign-files.ts";

/**
 * Directories that may be ours in a foreign root, the first where the system lets it have that name: our own hub's doors do
 * not, because there it would be a directory of the space.
 */
export const AREAS: readonly RelPath[] = [PRIVATE_DIR, ".syncline-area"];
const MARKER = "root";
/** How a system refuses a name that it does not want. */
const REFUSALS: readonly ErrorCode[] = ["UNSUPPORTED", "DENIED", "NOT_FOUND"];
/** A marker is one short line; anything longer is not ours. */
const MARKER_BYTES_MAX = 256;

export type ForeignRoot = {
  readonly rootId: string;
  /** Our directory in it. */
  readonly area: RelPath;
};

/**
 * Finds out who the root is, makes and marks it when it is new and may be, and refuses one that is not the expected.
 *
 * @returns `missing` when there is none, and it must not be made now: it counts as empty
 * @param bareId what identifies the address
 * @param newId 32 hex digits for a root that is marked now
 */
export async function identifyForeignRoot(
  files: ForeignFiles,
  request: Pick<OpenRequest, "writable" | "createRoot" | "expectRootId">,
  bareId: string,
  newId: string,
  signal: AbortSignal,
): Promise<ForeignRoot | "missing"> {
  const { writable, createRoot, expectRootId } = request;
  const there = await files.stat("", signal);
  if (there !== undefined && there.kind !== "dir") throw missing(files.label, "it is no directory");
  if (there === undefined) {
    if (expectRootId !== undefined) throw missing(files.label, "it is not there any more");
    if (!createRoot) throw missing(files.label, "it does not exist");
    if (!writable) return "missing";
    await files.makeDir("", undefined, signal);
  }
  const marked = await findMarker(files, signal);
  if (expectRootId !== undefined && expectRootId !== marked?.rootId && expectRootId !== bareId) {
    const what = marked === undefined ? "its marker is gone" : "it has another marker";
    throw identity("open root", files.label, `is not the place that was synchronised before: ${what}`);
  }
  if (marked !== undefined) return marked;
  if (!writable) return { rootId: bareId, area: PRIVATE_DIR };
  return { rootId: newId, area: await mark(files, newId, signal) };
}

/** Rejects with ROOT_IDENTITY when the marker is not that of the root any more; a root without marker is not checked. */
export async function checkForeignRoot(
  files: ForeignFiles,
  { rootId, area }: ForeignRoot,
  bareId: string,
  signal: AbortSignal,
): Promise<void> {
  if (rootId === bareId || (await readMarker(files, area, signal)) === rootId) return;
  throw identity("check root", files.label, "has gone or was replaced while it was in use");
}

/** Does the system take names that differ in case for one? Our marker shows it, where there is one. */
export async function foldsNames(files: ForeignFiles, { area }: ForeignRoot, signal: AbortSignal): Promise<boolean> {
  try {
    return (await files.stat(joinPath(area, MARKER.toUpperCase()), signal)) !== undefined;
  } catch (error) {
    if (isError(error, ...REFUSALS)) return false;
    throw error;
  }
}

async function findMarker(files: ForeignFiles, signal: AbortSignal): Promise<ForeignRoot | undefined> {
  for (const area of AREAS) {
    const rootId = await readMarker(files, area, signal);
    if (rootId !== undefined) return { rootId, area };
  }
  return undefined;
}

/** For a root without a marker that shows nothing any more. */
export function emptied(label: string): SynclineError {
  return identity("scan", label, "is suddenly empty, and has no marker that would say that it is still the same place");
}

async function readMarker(files: ForeignFiles, area: RelPath, signal: AbortSignal): Promise<string | undefined> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const part of files.read(joinPath(area, MARKER), {}, signal)) {
      parts.push(part.slice());
      bytes += part.length;
      if (bytes > MARKER_BYTES_MAX) break;
    }
  } catch (error) {
    if (isError(error, ...REFUSALS)) return undefined;
    throw error;
  }
  const id = /^syncline-root ([0-9a-f]{32})\n$/.exec(Buffer.concat(parts).toString("latin1"))?.[1];
  if (id === undefined) throw identity("read marker", files.label, `has a damaged marker, ${joinPath(area, MARKER)}`);
  return id;
}

/** @returns the directory that the system let us have */
async function mark(files: ForeignFiles, id: string, signal: AbortSignal): Promise<RelPath> {
  const text = new Uint8Array(Buffer.from(`syncline-root ${id}\n`));
  const once = async function* (): AsyncGenerator<Uint8Array> {
    yield text;
  };
  for (const area of AREAS) {
    try {
      await makeIfMissing(files, area, signal);
      await files.write(joinPath(area, MARKER), once(), { size: text.length, expect: "absent" }, signal);
      return area;
    } catch (error) {
      if (area === AREAS.at(-1) || !isError(error, ...REFUSALS)) throw error;
    }
  }
  throw new Error("invariant broken: there is no last area");
}

/** Makes a directory of ours, its parent being there. */
export async function makeIfMissing(files: ForeignFiles, dir: string, signal: AbortSignal): Promise<void> {
  try {
    await files.makeDir(dir, 0o700, signal);
  } catch (error) {
    if (!isError(error, "EXISTS")) throw error;
  }
}

function missing(label: string, what: string): SynclineError {
  const message = `root ${label}: ${what}`;
  return new SynclineError({ code: "ROOT_MISSING", op: "open root", message, hint: "check the address; nothing was changed" });
}

function identity(op: string, label: string, what: string): SynclineError {
  const hint = "check the address and the server; nothing was changed";
  return new SynclineError({ code: "ROOT_IDENTITY", op, message: `root ${label} ${what}`, hint });
}
