/**
 * What a backup consists of. Its directory holds
 *
 *     backup.json     this list; the backup is what it names and nothing else
 *     state-N/        hub.db and keys/, of the N-th backup made here
 *     chunks/         packs, shared by all backups made here: they only grow
 *     copied.json     packs that a backup which did not end has copied already
 *
 * A backup is made beside the one that is there, and takes its place when backup.json does: whoever is killed before
 * leaves the old one whole. A pack may be longer than the list says, because a later backup was cut off; what counts is
 * its beginning.
 */
import * as z from "zod";
import { SynclineError } from "#model/error.ts";
import { type Fd, type FileSystem, isCode } from "#platform/file-system.ts";
import { pipe } from "#hub/backup/pipe.ts";

const FORMAT = 1;
export const MANIFEST_FILE = "backup.json";
export const COPIED_FILE = "copied.json";
export const LOCK_FILE = "lock";
export const CHUNKS_DIR = "chunks";
export const STATE_DIR = /^state-(\d{1,9})$/;
/** A pack takes some 200 bytes of it: enough for a hundred TiB. */
const LIST_BYTES_MAX = 256 << 20;

const SUM = z.string().regex(/^[0-9a-f]{64}$/);
/** With what is before it. */
const NAME_CHARS_MAX = 300;
/** Whatever a file may be called, an editor's copy of a key for instance; never a way out of the directory. */
const FILE_NAME = z.string().max(NAME_CHARS_MAX).refine(isFileName);

const FILE = z.object({ name: FILE_NAME, bytes: z.int().min(0), sum: SUM });
const PACK = z.object({
  number: z.int().min(0),
  /** Drawn at random when the pack was made. */
  id: z.string().regex(/^[0-9a-f]{32}$/),
  /** From its beginning. */
  bytes: z.int().min(0),
  /** SHA-256 of those. */
  sum: SUM,
  /** From and to: the disk of the hub did not give these, and they are zeros. */
  holes: z.array(z.tuple([z.int().min(0), z.int().min(1)])).optional(),
});
const MANIFEST = z.object({
  format: z.literal(FORMAT),
  program: z.string(),
  hubId: z.string(),
  time: z.iso.datetime(),
  state: z.string().regex(STATE_DIR),
  files: z.array(FILE),
  packs: z.array(PACK),
});
const COPIED = z.object({ hubId: z.string(), packs: z.array(PACK) });

function isFileName(name: string): boolean {
  const plain = name.startsWith("keys/") ? name.slice("keys/".length) : name;
  return plain !== "" && plain !== "." && plain !== ".." && !/[/\0]/.test(plain);
}

/** In chunks/. With the id, because a hub that was restored gives numbers again that its former life gave. */
export const packFileName = ({ number, id }: Pick<BackupPack, "number" | "id">): string => `${number}-${id}.pack`;

export type BackupFile = z.infer<typeof FILE>;
export type BackupPack = z.infer<typeof PACK>;
export type BackupManifest = z.infer<typeof MANIFEST>;
export type CopiedPacks = z.infer<typeof COPIED>;

export function newManifest(facts: Omit<BackupManifest, "format">): BackupManifest {
  return { format: FORMAT, ...facts };
}

/** Undefined when there is none. @throws {SynclineError} VERSION, STATE, FsError */
export async function readManifest(fs: FileSystem, dir: Fd): Promise<BackupManifest | undefined> {
  const value = await readList(fs, dir, MANIFEST_FILE);
  if (value === undefined) return undefined;
  const isObject = typeof value === "object" && value !== null && "format" in value;
  if (isObject && typeof value.format === "number" && value.format > FORMAT) {
    throw new SynclineError({
      code: "VERSION",
      op: "read backup",
      message: "the backup was made by a newer version of this program",
      hint: "update Syncline on this host to the version that made it",
    });
  }
  const parsed = MANIFEST.safeParse(value);
  if (!parsed.success) throw damagedList(MANIFEST_FILE, parsed.error);
  return parsed.data;
}

/** None where there is no list, or one that cannot be used: then everything is copied again. */
export async function readCopied(fs: FileSystem, dir: Fd, hubId: string): Promise<readonly BackupPack[]> {
  try {
    const parsed = COPIED.safeParse(await readList(fs, dir, COPIED_FILE));
    return parsed.success && parsed.data.hubId === hubId ? parsed.data.packs : [];
  } catch (error) {
    if (error instanceof SynclineError) return [];
    throw error;
  }
}

async function readList(fs: FileSystem, dir: Fd, name: string): Promise<unknown> {
  let fd: Fd;
  try {
    fd = fs.openRead(dir, name);
  } catch (error) {
    if (isCode(error, "ENOENT")) return undefined;
    throw error;
  }
  try {
    const { size } = fs.fstat(fd);
    if (size > LIST_BYTES_MAX) throw damagedList(name, undefined);
    const bytes = new Uint8Array(size);
    const count = await fs.readAsync(fd, bytes, 0);
    return JSON.parse(new TextDecoder().decode(bytes.subarray(0, count))) as unknown;
  } catch (error) {
    if (error instanceof SyntaxError) throw damagedList(name, error);
    throw error;
  } finally {
    fs.close(fd);
  }
}

/** Takes the place of the list that is there, whole or not at all; durable when it resolves. */
export async function writeList(
  fs: FileSystem,
  dir: Fd,
  name: typeof MANIFEST_FILE | typeof COPIED_FILE,
  value: BackupManifest | CopiedPacks,
): Promise<void> {
  const bytes = new TextEncoder().encode(`${JSON.stringify(value, undefined, 1)}\n`);
  const read = (into: Uint8Array, position: number): Promise<number> => {
    const piece = bytes.subarray(position, position + into.length);
    into.set(piece);
    return Promise.resolve(piece.length);
  };
  await pipe(fs, { read, bytes: bytes.length }, { dir, name }, new AbortController().signal);
  await fs.sync(dir);
}

function damagedList(name: string, cause: unknown): SynclineError {
  return new SynclineError({
    code: "STATE",
    op: "read backup",
    message: `${name} of the backup is damaged`,
    hint: "use another backup; the packs in chunks/ can still be read, each chunk has sums of its own",
    cause,
  });
}
