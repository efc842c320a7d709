/** Gives the hub a part of a file that it has lost: of files alone that the link and its space agree on. */
import { type RelPath, nameOf, parentOf, pathFault } from "#model/path.ts";
import type { Fd, FileSystem } from "#platform/file-system.ts";
import { MESSAGE_BYTES_MAX } from "#sync/wire/channel.ts";
import type { MuxChannel } from "#sync/wire/mux-channel.ts";

const PIECE_BYTES = MESSAGE_BYTES_MAX / 2;

export type SuppliedPart = { readonly request: string; readonly path: RelPath; readonly position: number; readonly length: number };

/**
 * Sends the request's number and the bytes; fewer where the file is shorter by now, none where it cannot be read.
 * @param root undefined: the link has no such file
 */
export async function supplyPart(
  fs: FileSystem,
  root: string | undefined,
  { request, path, position, length }: SuppliedPart,
  channel: MuxChannel,
): Promise<void> {
  await channel.send(Buffer.from(request, "latin1"));
  const fd = root === undefined || pathFault(path) !== undefined ? undefined : openFile(fs, root, path);
  if (fd !== undefined) {
    try {
      for (let at = 0; at < length; ) {
        const piece = new Uint8Array(Math.min(PIECE_BYTES, length - at));
        const count = await fs.readAsync(fd, piece, position + at);
        if (count === 0) break;
        await channel.send(piece.subarray(0, count));
        at += count;
      }
    } finally {
      fs.close(fd);
    }
  }
  channel.end();
}

/** Through held directories: no symlink leads out of the root. */
function openFile(fs: FileSystem, root: string, path: RelPath): Fd | undefined {
  const opened: Fd[] = [];
  try {
    let dir = fs.openRoot(root);
    opened.push(dir);
    const parent = parentOf(path);
    for (const name of parent === "" ? [] : parent.split("/")) opened.push((dir = fs.openDir(dir, name)));
    return fs.openRead(dir, nameOf(path));
  } catch {
    return undefined;
  } finally {
    for (const fd of opened) fs.close(fd);
  }
}
