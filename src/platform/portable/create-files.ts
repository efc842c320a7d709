/** FileSystem.createFiles by the other calls, on the thread that asks. */
import { type Fd, type FileSystem, FsError, type MadeFile, type NewFile } from "#platform/file-system.ts";

/** As createFiles for one of them. Throws FsError. */
export function createFile(fs: FileSystem, { dir, name, mode, bytes, mtimeNs }: NewFile): MadeFile {
  const fd: Fd = fs.create(dir, name, mode);
  try {
    if (bytes.length > 0) fs.write(fd, bytes, 0);
    if (mtimeNs !== undefined) fs.setMtime(fd, mtimeNs);
    return fs.fstat(fd);
  } finally {
    fs.close(fd);
  }
}

export async function createFilesInTurn(fs: FileSystem, files: readonly NewFile[]): Promise<(MadeFile | FsError)[]> {
  return files.map((file) => {
    try {
      return createFile(fs, file);
    } catch (error) {
      if (error instanceof FsError) return error;
      throw error;
    }
  });
}
