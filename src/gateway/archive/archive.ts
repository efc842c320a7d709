/** A directory of a space as one file, made while it is sent: what it held at one point, whatever is changed meanwhile. */
import type { Principal } from "#access/access.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { Point, Version } from "#hub/space.ts";
import { isEncrypted, requireReadable } from "#hub/encrypted-content.ts";
import { DIR_MODE } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, nameOf } from "#model/path.ts";
import { tarOf } from "#gateway/archive/tar.ts";
import { zipOf } from "#gateway/archive/zip.ts";

export const ARCHIVE_FORMATS = ["zip", "tar"] as const;
export type ArchiveFormat = (typeof ARCHIVE_FORMATS)[number];

/** Entries that are read at once. */
const PAGE_ENTRIES = 1000;
/** Read at once of a file: whole blocks of deflate. */
const PIECE_BYTES = 8 * 0xffff;
/** Of the directory above everything. */

type Common = {
  /** Names with "/" between them, below one directory that everything is in. */
  readonly name: string;
  readonly mode: number;
  readonly mtimeNs: bigint | undefined;
  readonly mtimeMs: number | undefined;
  readonly pieceBytes: number;
};
export type ArchiveItem =
  /** The version whose bytes they are, or the text. */
  | (Common & { readonly kind: "file"; readonly size: number; readonly from: Version | string })
  | (Common & { readonly kind: "dir" })
  | (Common & { readonly kind: "symlink"; readonly target: string });

export type Archive = {
  /** "docs.zip". */
  readonly name: string;
  readonly type: string;
  readonly pieces: AsyncGenerator<Uint8Array>;
};

/**
 * What is at and below a path, for who may read it. In the place of a file that the hub cannot read is one that says so.
 * @throws {SynclineError} DENIED, SPACE_UNKNOWN, NOT_FOUND; ENCRYPTED where that file alone was asked for
 */
export async function archiveOf(
  spaces: SpaceService,
  who: Principal,
  space: string,
  path: RelPath,
  format: ArchiveFormat,
): Promise<Archive> {
  const { sequence } = await spaces.space(who, space);
  const at: Point = { sequence };
  const top = path === "" ? undefined : await spaces.version(who, space, path, at);
  if (path !== "" && top?.entry === undefined) {
    throw new SynclineError({ code: "NOT_FOUND", op: "archive", path, message: "there is nothing at this path" });
  }
  if (top !== undefined) requireReadable(top);
  const name = path === "" ? space : nameOf(path);
  const items = (): AsyncGenerator<ArchiveItem> => itemsOf(spaces, who, space, path, at, top, name);
  const content = (item: ArchiveItem): AsyncGenerator<Uint8Array> => contentOf(spaces, who, space, item);
  const pieces = format === "zip" ? zipOf(items, content) : tarOf(items, content);
  return { name: `${name}.${format}`, type: format === "zip" ? "application/zip" : "application/x-tar", pieces };
}

async function* itemsOf(
  spaces: SpaceService,
  who: Principal,
  space: string,
  path: RelPath,
  at: Point,
  top: Version | undefined,
  name: string,
): AsyncGenerator<ArchiveItem> {
  const first = top === undefined ? directory(name, DIR_MODE) : itemOf(top, name);
  if (first !== undefined) yield first;
  if (top !== undefined && top.entry?.kind !== "dir") return;
  for (let after: RelPath | undefined; ; ) {
    const page = await spaces.list(who, space, { below: path, after, shallow: false, limit: PAGE_ENTRIES, at });
    for (const version of page) {
      const inside = path === "" ? version.path : version.path.slice(path.length + 1);
      const item = itemOf(version, `${name}/${inside}`);
      if (item !== undefined) yield item;
    }
    if (page.length < PAGE_ENTRIES) return;
    after = page.at(-1)!.path;
  }
}

const LEFT_OUT = "This file is encrypted with a key that its client has and the hub has not (SSE-C). Read it over S3 with its key.\n";

const directory = (name: string, mode: number): ArchiveItem => ({
  kind: "dir",
  name,
  mode,
  mtimeNs: undefined,
  mtimeMs: undefined,
  pieceBytes: PIECE_BYTES,
});

function itemOf(version: Version, name: string): ArchiveItem | undefined {
  const { entry } = version;
  switch (entry?.kind) {
    case "file": {
      const { mode, mtimeNs } = entry;
      const times = { mtimeNs, mtimeMs: Number(mtimeNs / 1_000_000n) };
      const common = { kind: "file", mode, ...times, pieceBytes: PIECE_BYTES } as const;
      if (!isEncrypted(version)) return { ...common, name, size: entry.size, from: version };
      return { ...common, name: `${name}.left-out-encrypted.txt`, size: LEFT_OUT.length, from: LEFT_OUT };
    }
    case "dir":
      return directory(name, entry.mode);
    case "symlink":
      return { ...directory(name, 0o777), kind: "symlink", target: entry.target };
    default:
      return undefined;
  }
}

async function* contentOf(spaces: SpaceService, who: Principal, space: string, item: ArchiveItem): AsyncGenerator<Uint8Array> {
  if (item.kind !== "file" || item.size === 0) return;
  if (typeof item.from === "string") {
    yield new TextEncoder().encode(item.from);
    return;
  }
  const reader = await spaces.open(who, space, item.from);
  for (let at = 0; at < item.size; ) {
    const piece = new Uint8Array(Math.min(PIECE_BYTES, item.size - at));
    let filled = 0;
    while (filled < piece.length) {
      const count = await reader.read(piece.subarray(filled), at + filled);
      if (count === 0) throw new Error("the content is shorter than it was");
      filled += count;
    }
    yield piece;
    at += piece.length;
  }
}
