/** Finds the program's own executable for a platform, and what it hashes to. */
import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { dirname, join } from "node:path";

/** Platforms that executables are built for; the names are those of the files in dist/. */
export type BinaryPlatform = "linux-x64" | "linux-arm64" | "darwin-arm64";

/** Files of a compiled executable are seen below this path. */
const EMBEDDED = "/$bunfs/";

/**
 * Path of the executable for `platform`, or undefined: our own file when that is it, one beside our own file, or one
 * in dist/ of the checkout that we run from.
 */
export function findBinary(platform: BinaryPlatform): string | undefined {
  const compiled = import.meta.path.startsWith(EMBEDDED);
  const own = `${process.platform}-${process.arch}`;
  if (compiled && own === platform) return process.execPath;
  const folder = compiled ? dirname(process.execPath) : join(import.meta.dirname, "../../../dist");
  const path = join(folder, `syncline-${platform}`);
  return existsSync(path) ? path : undefined;
}

/** SHA-256 of a file's bytes as lower-case hex. */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const bytes of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(bytes);
  return hash.digest("hex");
}
