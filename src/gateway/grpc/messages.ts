/** Messages of files.proto as the program sees them, and how they are made of what spaces hold. */
import type { JournalRecord, Version } from "#hub/space.ts";
import type { UploadExpect } from "#hub/uploads/upload.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, decodeName, encodeName, pathFault } from "#model/path.ts";

type PlaceMessage = { readonly space: string; readonly path: string; readonly rawPath: Uint8Array } | null;
type ConditionMessage = {
  readonly kind?: "absent" | "present" | "sequence";
  readonly sequence?: string;
} | null;

export type ListRequest = {
  readonly below: PlaceMessage;
  readonly recursive: boolean;
  readonly pageSize: number;
  readonly pageToken: Uint8Array;
  readonly atSequence: string;
};
export type StatRequest = { readonly place: PlaceMessage; readonly atSequence: string };
export type UploadHeader = {
  readonly place: PlaceMessage;
  readonly mode?: number;
  readonly mtimeNs?: string;
  readonly size?: string;
  readonly sha256: Uint8Array;
  readonly condition: ConditionMessage;
  readonly makeParents: boolean;
};
export type UploadRequest = {
  readonly part?: "header" | "data" | "finish";
  readonly header?: UploadHeader;
  readonly data?: Uint8Array;
  readonly finish?: boolean;
};
export type DownloadRequest = {
  readonly place: PlaceMessage;
  readonly atSequence: string;
  readonly offset: string;
  readonly length: string;
  readonly ifSequence?: string;
  readonly unlessEtag: string;
};
export type RemoveRequest = { readonly place: PlaceMessage; readonly recursive: boolean; readonly condition: ConditionMessage };
export type MoveRequest = {
  readonly from: PlaceMessage;
  readonly toPath: string;
  readonly toRawPath: Uint8Array;
  readonly condition: ConditionMessage;
};
export type WatchRequest = { readonly space: string; readonly below: string; readonly afterSequence?: string };

export function wrong(message: string): SynclineError {
  return new SynclineError({ code: "USAGE", op: "gRPC", message });
}

/** A path, which may also be given as bytes. @throws {SynclineError} USAGE */
export function pathOf(path: string, raw: Uint8Array, mayBeTop: boolean): RelPath {
  const given = raw.length > 0 ? decodeName(raw) : path;
  const fault = pathFault(given, mayBeTop);
  if (fault !== undefined) throw wrong(`path: ${fault}`);
  return given;
}

/** @throws {SynclineError} USAGE */
export function placeOf(place: PlaceMessage, mayBeTop: boolean): { readonly space: string; readonly path: RelPath } {
  if (place === null) throw wrong("the place is missing");
  return { space: place.space, path: pathOf(place.path, place.rawPath, mayBeTop) };
}

/** A whole number that came as text. @throws {SynclineError} USAGE when it is not exact */
export function numberOf(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw wrong(`${text} is too large, or below zero`);
  return value;
}

/** The sequence to look at; undefined: now. */
export function pointOf(atSequence: string): { readonly sequence: number } | undefined {
  const sequence = numberOf(atSequence);
  return sequence === 0 ? undefined : { sequence };
}

export function expectOf(condition: ConditionMessage, otherwise: UploadExpect): UploadExpect {
  switch (condition?.kind) {
    case "absent":
    case "present":
      return { kind: condition.kind };
    case "sequence":
      return { kind: "sequence", sequence: numberOf(condition.sequence!) };
    default:
      return otherwise;
  }
}

/** Text of a path, and its bytes where the text does not have them. */
function pathFields(path: RelPath): { readonly path: string; readonly rawPath?: Uint8Array } {
  return path.isWellFormed() ? { path } : { path: path.toWellFormed(), rawPath: encodeName(path) };
}

const KINDS = { file: "KIND_FILE", dir: "KIND_DIRECTORY", symlink: "KIND_SYMLINK", other: "KIND_UNSPECIFIED" } as const;

export const etagOf = ({ content }: Pick<Version, "content">): string => content?.id ?? "";

export function entryMessage({ path, entry, sequence, content }: Pick<Version, "path" | "entry" | "sequence" | "content">): object {
  const fields = { ...pathFields(path), kind: KINDS[entry?.kind ?? "other"], sequence: String(sequence), etag: etagOf({ content }) };
  if (entry?.kind === "file") return { ...fields, size: String(entry.size), mode: entry.mode, mtimeNs: String(entry.mtimeNs) };
  if (entry?.kind === "dir") return { ...fields, mode: entry.mode };
  return entry?.kind === "symlink" ? { ...fields, target: entry.target.toWellFormed() } : fields;
}

export function changeMessage(record: JournalRecord): object {
  const { sequence, path, action, from, entry, timeMs, origin } = record;
  return {
    sequence: String(sequence),
    ...pathFields(path),
    action,
    fromPath: from?.toWellFormed() ?? "",
    ...(entry === undefined ? {} : { entry: entryMessage(record) }),
    timeMs: String(timeMs),
    actor: origin.actor,
  };
}
