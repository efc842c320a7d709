/** Small text files of ours that hold keys and trust: read whole, replaced whole, readable by nobody else. */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/** Larger files are not what they claim to be. */
export const PRIVATE_FILE_BYTES_MAX = 4 << 20;

/** The file's text, or undefined when it does not exist. Throws the system's error, and RangeError when too large. */
export function readPrivateFile(path: string): string | undefined {
  try {
    const bytes = readFileSync(path);
    if (bytes.length > PRIVATE_FILE_BYTES_MAX) throw new RangeError(`${path} is larger than 4 MiB`);
    return bytes.toString("utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/**
 * Writes with mode 0600 beside the target and renames over it; the directory is made with mode 0700 if missing. When it
 * returns, the file survives a power loss: what a key was used for must not outlive the key.
 */
export function writePrivateFile(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const aside = `${path}.${process.pid}.new`;
  try {
    // In a container every life has the same number: one that was killed here may have left it.
    rmSync(aside, { force: true });
    writeFileSync(aside, text, { mode: 0o600, flag: "wx", flush: true });
    renameSync(aside, path);
    syncDirectory(dirname(path));
  } catch (error) {
    try {
      unlinkSync(aside);
    } catch {
      // It was never made; the first error says why.
    }
    throw error;
  }
}

function syncDirectory(path: string): void {
  // Windows opens no directories; its file systems keep a rename in order with the data that was flushed before it.
  if (process.platform === "win32") return;
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
