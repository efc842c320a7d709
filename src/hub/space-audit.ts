/** How changes of spaces get into the audit log. access/'s Audit is one. */
import type { Actor, AuditEvent } from "#access/audit.ts";
import type { RelPath } from "#model/path.ts";
import type { Sql } from "#platform/sql/database.ts";

export interface SpaceAudit {
  /** Resolves when the record is durable; whoever changed something waits for it before it says so. */
  append(by: Actor, event: AuditEvent): Promise<void>;
  /** Into the transaction of the change itself. */
  appendIn(sql: Sql, by: Actor, event: AuditEvent): Promise<void>;
}

/** "space:demo", "space:demo/a/b". */
export function spaceResource(space: string, path: RelPath = ""): string {
  return path === "" ? `space:${space}` : `space:${space}/${path}`;
}
