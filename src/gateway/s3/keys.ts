/**
 * Keys of S3 as paths of a space. A key with "/" at its end is the directory; every other is a file. What cannot be a
 * path ("a//b", "..", a name of 256 bytes) is no key that exists here, and none that can be made.
 */
import { S3Error } from "#gateway/s3/s3-error.ts";
import type { Version } from "#hub/space.ts";
import { type RelPath, pathFault, printablePath } from "#model/path.ts";

export type KeyPath = { readonly path: RelPath; readonly isDir: boolean };

/** Undefined: no such key can be here. */
export function pathOfKey(key: string): KeyPath | undefined {
  const isDir = key.endsWith("/");
  const path = isDir ? key.slice(0, -1) : key;
  return pathFault(path) === undefined ? { path, isDir } : undefined;
}

/** As pathOfKey, for who will write there. @throws {S3Error} InvalidObjectName */
export function pathToWrite(key: string): KeyPath {
  const at = pathOfKey(key);
  if (at !== undefined) return at;
  const fault = pathFault(key.endsWith("/") ? key.slice(0, -1) : key);
  throw new S3Error("InvalidObjectName", `keys are paths of files here, and "${printablePath(key.slice(0, 200))}" is none: ${fault}`);
}

/** Is this version an object under that key? Symbolic links have no bytes and are none. */
export function isObject(version: Version | undefined, isDir: boolean): version is Version {
  return version?.entry?.kind === (isDir ? "dir" : "file");
}

export function noSuchKey(key: string): S3Error {
  return new S3Error("NoSuchKey", "there is no such key", { Key: key });
}
