/** What an administrator asks of a hub that runs, to be sure that nothing is lost; cli/hub-care.ts does it. */
import type { Actor } from "#access/audit.ts";
import type { BackupProgress, BackupResult } from "#hub/backup/make-backup.ts";
import type { CheckResult } from "#hub/check/check-hub.ts";
import type { Finding } from "#hub/check/findings.ts";

export interface HubCare {
  /**
   * Makes a backup into a directory of the hub's host while the hub works.
   * @throws {SynclineError} USAGE, EXISTS, ROOT_BUSY, NOT_FOUND before the first progress; DISK, UNSUPPORTED
   */
  backup(
    by: Actor,
    directory: string,
    onProgress: (progress: BackupProgress) => void,
    signal: AbortSignal,
  ): Promise<BackupResult>;
  /** Looks at a copy of the database, and at the chunks. One at a time. @throws {SynclineError} LIMIT, UNSUPPORTED, DISK */
  check(deep: boolean, onFinding: (finding: Finding) => void, signal: AbortSignal): Promise<CheckResult>;
}
