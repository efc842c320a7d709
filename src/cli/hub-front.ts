/** The doors that share the hub's main listener with the API, each for addresses of its own, and what they keep. */
import type { ApiServices } from "#gateway/api/route.ts";
import { openDav } from "#gateway/dav/dav.ts";
import { LOCK_MIGRATIONS, LockTable } from "#gateway/dav/lock-table.ts";
import { ShareDoor } from "#gateway/shares/share-door.ts";
import type { FrontRow } from "#gateway/front.ts";
import { SHARE_MIGRATIONS } from "#hub/shares/share-table.ts";
import { openTus } from "#gateway/tus/tus.ts";
import type { Host } from "#platform/host.ts";
import type { Database, Migration } from "#platform/sql/database.ts";

/** Tables by the name of their history. */
export const FRONT_MIGRATIONS: readonly (readonly [room: string, steps: readonly Migration[]])[] = [
  ["dav", LOCK_MIGRATIONS],
  ["shares", SHARE_MIGRATIONS],
];

export function frontRows(services: ApiServices, database: Database, { clock, random }: Host): readonly FrontRow[] {
  return [openDav(services, new LockTable(database, clock, random)), openTus(services), new ShareDoor(services).row];
}
