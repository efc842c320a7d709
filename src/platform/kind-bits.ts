/** What POSIX says of an entry's kind in the upper bits of its mode: stat, SFTP and archives have them alike. */

import type { FileKind } from "#platform/file-system.ts";

/** Of a mode, those that tell the kind; below them are the permissions. */
export const KIND_MASK = 0o170000;
export const PERMISSION_MASK = 0o7777;

export const KIND_BITS = {
  fifo: 0o010000,
  char: 0o020000,
  dir: 0o040000,
  block: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
} as const satisfies Record<FileKind, number>;

const KIND_BY_BITS = new Map(Object.entries(KIND_BITS).map(([kind, bits]) => [bits as number, kind as FileKind]));

/** Undefined for bits that no kind has. */
export function kindOfMode(mode: number): FileKind | undefined {
  return KIND_BY_BITS.get(mode & KIND_MASK);
}
