/** Folders of our own state. */
import { mkdirSync, realpathSync } from "node:fs";
import { resolve } from "node:path";

/** Makes a folder and what is missing above it, readable by nobody else; returns it. */
export function makePrivateFolder(path: string): string {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return path;
}

/** Absolute, with symlinks resolved as far as the path exists, so that one directory has one name. */
export function canonicalPath(path: string): string {
  const absolute = resolve(path);
  try {
    return realpathSync(absolute);
  } catch {
    const slash = absolute.lastIndexOf("/");
    if (slash <= 0) return absolute;
    return `${canonicalPath(absolute.slice(0, slash)).replace(/\/$/, "")}${absolute.slice(slash)}`;
  }
}
