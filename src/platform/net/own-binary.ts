/** Finds the program's own executable for a platform, and what it hashes to. */
import { createHash } from "node:crypto";
import {
  createReadStream,
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
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

/** @property hash SHA-256 of the bytes, as lower-case hex */
export type FileIdentity = { readonly hash: string; readonly size: number };

/**
 * What a file holds. With `memory`, a file of ours, the hash is remembered there for as long as path, inode, size and
 * mtime stay the same; where that file cannot be used, hashing only takes its time again.
 */
export async function identifyFile(path: string, memory: string | undefined): Promise<FileIdentity> {
  const { ino, size, mtimeMs } = statSync(path);
  const stamp = `${ino} ${size} ${mtimeMs}`;
  const known = memory === undefined ? {} : readMemory(memory);
  const kept = known[path];
  if (kept?.stamp === stamp) return { hash: kept.hash, size };
  const hash = await hashFile(path);
  if (memory !== undefined) writeMemory(memory, { ...known, [path]: { stamp, hash } });
  return { hash, size };
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const bytes of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(bytes);
  return hash.digest("hex");
}

type Memory = Record<string, { readonly stamp: string; readonly hash: string } | undefined>;

function readMemory(file: string): Memory {
  try {
    const value: unknown = JSON.parse(readFileSync(file, "utf8"));
    if (typeof value !== "object" || value === null) return {};
    return Object.fromEntries(Object.entries(value).filter(([, kept]) => isKept(kept))) as Memory;
  } catch {
    return {};
  }
}

function isKept(value: unknown): boolean {
  if (typeof value !== "object" || value === null || !("stamp" in value) || !("hash" in value)) return false;
  return typeof value.stamp === "string" && typeof value.hash === "string" && /^[0-9a-f]{64}$/.test(value.hash);
}

function writeMemory(file: string, memory: Memory): void {
  const draft = `${file}.${process.pid}`;
  try {
    writeFileSync(draft, JSON.stringify(memory), { mode: 0o600 });
    renameSync(draft, file);
  } catch {
    rmSync(draft, { force: true });
  }
}
