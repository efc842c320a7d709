/** Who may lock what. */
import type { Access, Principal } from "#access/access.ts";
import type { Space } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";

/** @throws {SynclineError} DENIED; USAGE in a space that keeps no locks */
export function requireLockable(access: Access, who: Principal, { name, settings }: Space, path: RelPath): void {
  access.require(who, "lock", { type: "space", space: name, path });
  if (settings.lock !== undefined) return;
  throw new SynclineError({
    code: "USAGE",
    op: "lock version",
    path,
    message: `the space "${name}" keeps no locks of versions`,
    hint: "its object lock configuration has to be set first (over S3: put-object-lock-configuration)",
  });
}
