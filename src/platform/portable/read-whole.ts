/** FileSystem.readWhole by the other calls, where nothing shorter is at hand. */
import type { Fd, FileSystem, Stat } from "#platform/file-system.ts";

export function readWhole(fs: FileSystem, dir: Fd, name: string, into: Uint8Array): { count: number; stat: Stat; waited: boolean } {
  const fd = fs.openRead(dir, name);
  try {
    const count = fs.read(fd, into, 0);
    return { count, stat: fs.fstat(fd), waited: false };
  } finally {
    fs.close(fd);
  }
}
