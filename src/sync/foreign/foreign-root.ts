/**
 * Which place is the root, really? The marker's id where we may write, the address where we may not. A bucket that was
 * emptied or named wrongly, or another server behind the same name, must never look like a deletion of everything.
 */
import { SynclineError } from "#model/error.ts";
import { PRIVATE_DIR, joinPath } from "#model/path.ts";
import type { OpenRequest } from "#sync/endpoint/endpoint.ts";
import { isError } from "#sync/foreign/foreign-context.ts";
import type { ForeignFiles } from "#sync/foreign/foreign-files.ts";

const MARKER = joinPath(PRIVATE_DIR, "root");
/** A marker is one short line; anything longer is not ours. */
const MARKER_BYTES_MAX = 256;

/** `missing`: there is none, and it must not be made now; it counts as empty. */
export type ForeignRoot = { readonly rootId: string } | "missing";

/**
 * Finds out who the root is, makes and marks it when it is new and may be, and refuses one that is not the expected.
 *
 * @param bareId what identifies the address
 * @param newId 32 hex digits for a root that is marked now
 */
export async function identifyForeignRoot(
  files: ForeignFiles,
  request: Pick<OpenRequest, "writable" | "createRoot" | "expectRootId">,
  bareId: string,
  newId: string,
  signal: AbortSignal,
): Promise<ForeignRoot> {
  const { writable, createRoot, expectRootId } = request;
  const there = await files.stat("", signal);
  if (there !== undefined && there.kind !== "dir") throw missing(files.label, "it is no directory");
  if (there === undefined) {
    if (expectRootId !== undefined) throw missing(files.label, "it is not there any more");
    if (!createRoot) throw missing(files.label, "it does not exist");
    if (!writable) return "missing";
    await files.makeDir("", undefined, signal);
  }
  const marker = await readMarker(files, signal);
  if (expectRootId !== undefined && expectRootId !== marker && expectRootId !== bareId) {
    const what = marker === undefined ? "its marker is gone" : "it has another marker";
    throw identity("open root", files.label, `is not the place that was synchronised before: ${what}`);
  }
  if (marker !== undefined) return { rootId: marker };
  if (!writable) return { rootId: bareId };
  await mark(files, newId, signal);
  return { rootId: newId };
}

/** Rejects with ROOT_IDENTITY when the marker is not that of `rootId` any more; a root without marker is not checked. */
export async function checkForeignRoot(
  files: ForeignFiles,
  rootId: string,
  bareId: string,
  signal: AbortSignal,
): Promise<void> {
  if (rootId === bareId || (await readMarker(files, signal)) === rootId) return;
  throw identity("check root", files.label, "has gone or was replaced while it was in use");
}

/** For a root without a marker that shows nothing any more. */
export function emptied(label: string): SynclineError {
  return identity("scan", label, "is suddenly empty, and has no marker that would say that it is still the same place");
}

async function readMarker(files: ForeignFiles, signal: AbortSignal): Promise<string | undefined> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const part of files.read(MARKER, {}, signal)) {
      parts.push(part.slice());
      bytes += part.length;
      if (bytes > MARKER_BYTES_MAX) break;
    }
  } catch (error) {
    if (isError(error, "NOT_FOUND")) return undefined;
    throw error;
  }
  const id = /^syncline-root ([0-9a-f]{32})\n$/.exec(Buffer.concat(parts).toString("latin1"))?.[1];
  if (id === undefined) throw identity("read marker", files.label, `has a damaged marker, ${MARKER}`);
  return id;
}

async function mark(files: ForeignFiles, id: string, signal: AbortSignal): Promise<void> {
  await makeIfMissing(files, PRIVATE_DIR, signal);
  const text = new Uint8Array(Buffer.from(`syncline-root ${id}\n`));
  const once = async function* (): AsyncGenerator<Uint8Array> {
    yield text;
  };
  await files.write(MARKER, once(), { size: text.length, expect: "absent" }, signal);
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
