/** Which spaces are copies that follow another hub, in memory, and what that forbids. At rest it is in `follows`. */
import { followedSpace } from "#hub/meta/commit.ts";
import type { FollowedSource, Space, SpaceId } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";

export class FollowedSpaces {
  readonly #sources = new Map<SpaceId, FollowedSource>();

  /** Whom it follows from now on; undefined: nobody. What is at rest has to say so already. */
  set(id: SpaceId, from: FollowedSource | undefined): void {
    if (from === undefined) this.#sources.delete(id);
    else this.#sources.set(id, from);
  }

  /** @throws {SynclineError} DENIED for a copy */
  requireOwn(name: string, { id }: Space): void {
    const from = this.#sources.get(id);
    if (from !== undefined) throw followedSpace(name, from);
  }

  /** @throws {SynclineError} DENIED for a copy */
  requireRemovable(name: string, id: SpaceId): void {
    if (!this.#sources.has(id)) return;
    throw new SynclineError({
      code: "DENIED",
      op: "delete space",
      message: `the space "${name}" is a copy that follows another hub`,
      hint: `end that first: syncline space promote ${name}; then remove it`,
    });
  }

  /** With what it follows. */
  shown(space: Space): Space {
    const follows = this.#sources.get(space.id);
    return follows === undefined ? space : { ...space, follows };
  }
}
