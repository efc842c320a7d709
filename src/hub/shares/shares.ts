/**
 * Shares: who may make one, what it lets happen, and its end. A share is a credential that its maker gives away. It holds
 * no right of its own: each use is done as its maker, with the rights that the maker has at that moment.
 */
import type { Principal, Resource } from "#access/access.ts";
import { hashOf } from "#access/access-store.ts";
import type { Actor } from "#access/audit.ts";
import type { HubAccess } from "#access/hub-access.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, printablePath } from "#model/path.ts";
import type { Clock, Random } from "#platform/host.ts";
import { BelievedTime } from "#hub/believed-time.ts";
import type { SpaceService } from "#hub/space-service.ts";
import { spaceResource } from "#hub/space-audit.ts";
import {
  SECRET_BYTES, SHARES_MAX, SHARES_OF_USER_MAX, type Share, type ShareKind, isOver, isUsedUp, mayDownload, mayUpload,
} from "#hub/shares/share.ts";
import type { ShareTable } from "#hub/shares/share-table.ts";

/** Shares that are over stay in lists for so long. */
const KEPT_MS = 30 * 86_400_000;

export type SharesParts = {
  readonly table: ShareTable;
  readonly spaces: SpaceService;
  readonly access: HubAccess;
  readonly clock: Clock;
  readonly random: Random;
};

export type NewShare = {
  readonly path: RelPath;
  readonly kind: ShareKind;
  readonly note: string;
  readonly password: string | undefined;
  readonly expiresMs: number | undefined;
  readonly downloadsMax: number | undefined;
};

/** "dead": whoever made it may not do any more what it lets others do. "used-up": there were all downloads. */
export const SHARE_STATES = ["open", "over", "used-up", "dead"] as const;
export type ShareState = (typeof SHARE_STATES)[number];

/** A share that is good now, and whom its uses are done as. */
export type OpenShare = { readonly share: Share; readonly who: Principal };

export class Shares {
  readonly #parts: SharesParts;
  /** By which those that are over are forgotten: that cannot be taken back. */
  readonly #time: BelievedTime;
  /** Since the hub was started. */
  readonly counts = { downloads: 0, uploads: 0 };

  constructor(parts: SharesParts) {
    this.#parts = parts;
    this.#time = new BelievedTime(parts.clock);
  }

  /**
   * The secret is told this once.
   * @throws {SynclineError} DENIED, SPACE_UNKNOWN, NOT_FOUND (the path), USAGE, LIMIT
   */
  async create(who: Principal, space: string, wanted: NewShare, by: Actor): Promise<{ share: Share; secret: string }> {
    const { table, access, clock, random } = this.#parts;
    const { id: spaceId } = await this.#parts.spaces.space(who, space);
    // Whoever may make no tokens for others to use makes no shares.
    access.require(who, "manage", { type: "token", name: who.name });
    const maker = who.kind === "user" ? await access.users.forSignIn(who.name) : undefined;
    if (maker === undefined) throw unusable("only users make shares");
    const share: Share = {
      id: random.bytes(8).toHex(),
      spaceId,
      space,
      path: wanted.path,
      kind: wanted.kind,
      note: wanted.note,
      user: who.name,
      userSinceMs: maker.createdMs,
      scopes: who.scopes,
      password: wanted.password === undefined ? undefined : await access.hashPassword(wanted.password),
      createdMs: clock.nowMs(),
      expiresMs: wanted.expiresMs,
      downloadsMax: wanted.downloadsMax,
      downloads: 0,
      uploads: 0,
      bytesOut: 0,
      bytesIn: 0,
      usedMs: undefined,
    };
    if (isOver(share, clock.nowMs())) throw unusable("the time at which it is to end is over already");
    requireRights(access, who, share);
    await this.#requireThere(who, share);
    const secret = random.bytes(SECRET_BYTES).toBase64({ alphabet: "base64url" });
    await access.audit.change(by, async (sql) => {
      await table.removeOver(sql, this.#time.nowMs() - KEPT_MS);
      const { all, own } = await table.counts(sql, who.name);
      if (all >= SHARES_MAX || own >= SHARES_OF_USER_MAX) throw tooMany();
      await table.insert(sql, share, hashOf(secret));
      return { value: undefined, event: { action: "share.create", resource: resourceOf(share), details: detailsOf(share) } };
    });
    return { share, secret };
  }

  async #requireThere(who: Principal, { space, path, kind }: Share): Promise<void> {
    // Who may write there and not read finds out when something is put.
    const mayLook = this.#parts.access.decide(who, "read", { type: "space", space, path }).allowed;
    if (path === "" || !mayLook) return;
    const version = await this.#parts.spaces.version(who, space, path);
    const there = version?.entry?.kind;
    if (there === "dir" || (there === "file" && kind === "read")) return;
    throw new SynclineError({
      code: "NOT_FOUND",
      op: "create share",
      path,
      message: kind === "read" ? "there is no file and no directory at this path" : "there is no directory at this path",
      hint: "share what is there; things are put into directories alone",
    });
  }

  /** One's own; those of all for who manages the space. @throws {SynclineError} SPACE_UNKNOWN */
  async list(who: Principal, space: string): Promise<Share[]> {
    const { id } = await this.#parts.spaces.space(who, space);
    return (await this.#parts.table.ofSpace(id)).filter((share) => this.#mayKnow(who, share));
  }

  /** @throws {SynclineError} SPACE_UNKNOWN, NOT_FOUND */
  async get(who: Principal, space: string, id: string): Promise<Share> {
    const { id: spaceId } = await this.#parts.spaces.space(who, space);
    const share = await this.#parts.table.byId(id);
    if (share?.spaceId === spaceId && this.#mayKnow(who, share)) return share;
    const message = `the space "${space}" has no share "${printablePath(id.slice(0, 64))}"`;
    throw new SynclineError({ code: "NOT_FOUND", op: "find share", message, hint: `syncline share list ${space}` });
  }

  /** It is dead when this resolves; what is being sent then is still sent. @throws {SynclineError} as get */
  async revoke(who: Principal, space: string, id: string, by: Actor): Promise<void> {
    const share = await this.get(who, space, id);
    await this.#parts.access.audit.change(by, async (sql) => {
      await this.#parts.table.remove(sql, id);
      return { value: undefined, event: { action: "share.revoke", resource: resourceOf(share), details: { id } } };
    });
  }

  #mayKnow(who: Principal, { space, user, path }: Share): boolean {
    const { access } = this.#parts;
    if (who.kind === "user" && who.name === user) return access.decide(who, "read", { type: "token", name: user }).allowed;
    return access.decide(who, "manage", { type: "space", space, path }).allowed;
  }

  // ---------------------------------------------------------------- using one

  /**
   * The share of a secret, as long as it is good: not over, and its maker may still do what it lets others do. Undefined
   * for all else, without saying why: who has an old address learns nothing. One that is used up is still open, because
   * the last download may go on.
   */
  async open(secret: string): Promise<OpenShare | undefined> {
    if (secret.length > 2 * SECRET_BYTES) return undefined;
    const share = await this.#parts.table.byHash(hashOf(secret));
    if (share === undefined || isOver(share, this.#parts.clock.nowMs())) return undefined;
    const who = await this.#maker(share);
    return who === undefined ? undefined : { share, who };
  }

  /** Undefined: the maker is gone, or may not do any more what the share lets others do. */
  async #maker(share: Share): Promise<Principal | undefined> {
    const { access } = this.#parts;
    const user = await access.users.forSignIn(share.user);
    if (user === undefined || user.createdMs !== share.userSinceMs) return undefined;
    const who: Principal = { ...user.principal, scopes: share.scopes };
    const mayAll = rightsOf(share).every(({ action, resource }) => access.decide(who, action, resource).allowed);
    return mayAll ? who : undefined;
  }

  /** Whether it is good now, and if not, why. For those who may know of it. */
  async stateOf(share: Share): Promise<ShareState> {
    if (isOver(share, this.#parts.clock.nowMs())) return "over";
    if (isUsedUp(share)) return "used-up";
    return (await this.#maker(share)) === undefined ? "dead" : "open";
  }

  /** @throws {SynclineError} AUTH, also retryable when there were too many wrong ones */
  async checkPassword({ id, password, space, path }: Share, given: string, by: Actor & { readonly address: string }): Promise<void> {
    const { access } = this.#parts;
    if (password === undefined || (await access.isPassword(`share:${id}`, given, password, by.address))) return;
    await access.audit.append(by, { action: "share.open", resource: spaceResource(space, path), outcome: "denied", details: { id } });
    throw new SynclineError({ code: "AUTH", op: "open share", message: "this is not the password of the share" });
  }

  /** Counts and records a download that begins. False: there were as many as there may be, which anybody may hear at will. */
  async download({ id, space }: Share, path: RelPath, by: Actor): Promise<boolean> {
    const { table, access, clock } = this.#parts;
    if (!(await table.countDownload(id, clock.nowMs()))) return false;
    this.counts.downloads++;
    const resource = spaceResource(space, path);
    await access.audit.append(by, { action: "share.download", resource, outcome: "done", details: { id } });
    return true;
  }

  /** One that was counted could not be begun: it is one of those that may be, still. */
  async notBegun({ id, space }: Share, path: RelPath, by: Actor): Promise<void> {
    const { table, access } = this.#parts;
    await table.takeBackDownload(id);
    const resource = spaceResource(space, path);
    await access.audit.append(by, { action: "share.download", resource, outcome: "failed", details: { id } });
  }

  /** Counts and records an upload that is done. */
  async uploaded({ id, space }: Share, path: RelPath, bytes: number, by: Actor): Promise<void> {
    const { table, access, clock } = this.#parts;
    await table.countUpload(id, bytes, clock.nowMs());
    this.counts.uploads++;
    const event = { action: "share.upload", resource: spaceResource(space, path), outcome: "done", details: { id, bytes } } as const;
    await access.audit.append(by, event);
  }

  async sent({ id }: Share, bytes: number): Promise<void> {
    await this.#parts.table.countBytesOut(id, bytes);
  }

  states(): Promise<{ open: number; over: number }> {
    return this.#parts.table.states(this.#parts.clock.nowMs());
  }
}

/** What the maker must be allowed, at making and at each use. */
function rightsOf(share: Share): { action: "read" | "write"; resource: Resource }[] {
  const resource: Resource = { type: "space", space: share.space, path: share.path, isTree: true };
  return [
    ...(mayDownload(share) ? [{ action: "read", resource } as const] : []),
    ...(mayUpload(share) ? [{ action: "write", resource } as const] : []),
  ];
}

/** @throws {SynclineError} DENIED */
function requireRights(access: HubAccess, who: Principal, share: Share): void {
  for (const { action, resource } of rightsOf(share)) access.require(who, action, resource);
}

const resourceOf = ({ space, path }: Share): string => spaceResource(space, path);

function detailsOf({ id, kind, note, password, expiresMs, downloadsMax }: Share): Readonly<Record<string, unknown>> {
  return { id, kind, note, hasPassword: password !== undefined, expiresMs, downloadsMax };
}

function unusable(message: string): SynclineError {
  return new SynclineError({ code: "USAGE", op: "create share", message, hint: "correct the value and try again" });
}

const tooMany = (): SynclineError =>
  new SynclineError({
    code: "LIMIT",
    op: "create share",
    message: `a hub has up to ${SHARES_MAX} shares, a user up to ${SHARES_OF_USER_MAX} of them`,
    hint: "revoke some that are not needed any more",
  });
