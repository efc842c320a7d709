/** What a share is: an address that lets whoever has it read something of a space, or put something there. Values only. */
import type { Rule } from "#access/access.ts";
import type { SpaceId } from "#hub/space.ts";
import type { RelPath } from "#model/path.ts";

/** Random bytes of the secret in a share's address; it is kept as its hash. */
export const SECRET_BYTES = 24;
/** Of a hub, and of one user. */
export const SHARES_MAX = 10_000;
export const SHARES_OF_USER_MAX = 1_000;
export const NOTE_CHARS_MAX = 200;

export const SHARE_KINDS = ["read", "upload", "both"] as const;
export type ShareKind = (typeof SHARE_KINDS)[number];

export type Share = {
  /** 16 hex digits; names it, and is no secret. */
  readonly id: string;
  readonly spaceId: SpaceId;
  /** What the space is called now. */
  readonly space: string;
  /** A file, a directory, or "" for the whole space. */
  readonly path: RelPath;
  readonly kind: ShareKind;
  /** For people. */
  readonly note: string;
  /** The user that made it; what the share may do is at most what this user may, now. */
  readonly user: string;
  /** Since when there is this user: another one of the name is somebody else. */
  readonly userSinceMs: number;
  /** Of the token that it was made with. */
  readonly scopes: readonly Rule[] | undefined;
  /** Its hash; undefined: none is asked for. */
  readonly password: string | undefined;
  readonly createdMs: number;
  readonly expiresMs: number | undefined;
  readonly downloadsMax: number | undefined;
  readonly downloads: number;
  readonly uploads: number;
  readonly bytesOut: number;
  readonly bytesIn: number;
  /** Of the last download or upload. */
  readonly usedMs: number | undefined;
};

export const mayDownload = ({ kind }: Pick<Share, "kind">): boolean => kind !== "upload";
export const mayUpload = ({ kind }: Pick<Share, "kind">): boolean => kind !== "read";

export const isOver = ({ expiresMs }: Share, nowMs: number): boolean => expiresMs !== undefined && expiresMs <= nowMs;

export const isUsedUp = ({ downloadsMax, downloads }: Share): boolean =>
  downloadsMax !== undefined && downloads >= downloadsMax;
