/** What clients of systems with directories have in common. */
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";

/** The address of a host to connect to. @throws {SynclineError} when it may not be reached; its name cannot be resolved */
export type AddressOf = (host: string, signal: AbortSignal) => Promise<string>;

/** The same bytes, with an error where they are not as many as was said. */
export async function* counted(
  bytes: AsyncIterable<Uint8Array>,
  size: number | undefined,
  path: RelPath,
): AsyncGenerator<Uint8Array> {
  let count = 0;
  for await (const piece of bytes) {
    count += piece.length;
    if (size !== undefined && count > size) throw stale("write", path);
    yield piece;
  }
  if (size !== undefined && count !== size) throw stale("write", path);
}

/** An absolute path without what means nothing in it. */
export function tidyRoot(root: string): string {
  const names = root.split("/").filter((name) => name !== "" && name !== ".");
  return `/${names.join("/")}`;
}

export function stale(op: string, path: RelPath): SynclineError {
  return new SynclineError({ code: "STALE", op, path, message: "it is not what was expected; somebody changed it meanwhile" });
}

export function unsupported(op: string, path: RelPath, message: string): SynclineError {
  return new SynclineError({ code: "UNSUPPORTED", op, path, message });
}
