/**
 * What a door is to the process that opens it. A door speaks one protocol to clients, makes a Principal of their
 * credentials with access, and does what they ask through SpaceService. It holds no rules of its own: rights, quotas,
 * history and conditions are decided behind SpaceService, the same for all doors.
 */
import type { HubAccess } from "#access/hub-access.ts";
import type { ApiLog } from "#gateway/api/route.ts";
import type { Metrics } from "#gateway/api/metrics.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { Versions } from "#hub/versions/versions.ts";
import type { Uploads } from "#hub/uploads/upload.ts";
import type { Host } from "#platform/host.ts";
import type { Identity } from "#platform/net/tls-socket.ts";

/** What every door is given. */
export type DoorParts = {
  readonly host: Host;
  readonly spaces: SpaceService;
  readonly uploads: Uploads;
  readonly versions: Versions;
  readonly access: HubAccess;
  readonly metrics: Metrics;
  readonly log: ApiLog;
  /** Absolute; for what a door must keep between starts, in a directory of its own name below it, mode 0700. */
  readonly dataDir: string;
  /** The address to listen on; port 0 picks one. */
  readonly listen: { readonly host: string; readonly port: number };
  /** The hub's certificate at this moment. Every listener of the hub shows the same. */
  readonly identity: () => Identity;
  /** Aborted when the hub takes no more work. */
  readonly closing: AbortSignal;
};

/** A door that is open. */
export interface Door {
  /** Where clients find it: "ftp://127.0.0.1:2121". */
  readonly url: string;
  /** New connections get this certificate; what stands, stays. */
  useIdentity(identity: Identity): void;
  /** Takes no more clients, lets what is at work end for `graceMs` at most, and ends. */
  close(graceMs: number): Promise<void>;
}
