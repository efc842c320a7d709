/** The database of a hub, and that it is this data directory's: chunks and keys are there, and their rows in the database. */
import { join } from "node:path";
import { HubLease } from "#hub/hub-lease.ts";
import { SynclineError } from "#model/error.ts";
import type { Host } from "#platform/host.ts";
import { readPrivateFile, writePrivateFile } from "#platform/net/private-file.ts";
import type { Database } from "#platform/sql/database.ts";
import { type ServerDatabase, openPostgres } from "#platform/sql/postgres.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";
import type { ApiLog } from "#gateway/api/route.ts";

/** Beside the keys, which are copied with the chunks when a hub moves. */
const HUB_ID_FILE = join("keys", "hub-id");
/** Of a hub that began before its directory was marked. */
const AUTHORITY_FILE = join("keys", "authority.pem");

export type HubDatabaseOptions = {
  readonly url: string;
  readonly dataDir: string;
  readonly host: Host;
  /** No other process can use the data directory. */
  readonly isAlone: boolean;
  readonly log: ApiLog;
  readonly signal: AbortSignal | undefined;
};

export type HubDatabase = {
  readonly database: Database;
  /** The same, where it is on a server. */
  readonly server: ServerDatabase | undefined;
  /** Resolves when another hub has taken it over; undefined where none can. */
  readonly lost: Promise<SynclineError> | undefined;
};

/**
 * Opens the database. On a server one hub at a time uses it: `lost` resolves when another has taken it over.
 * @throws {SynclineError} ROOT_BUSY while another hub lives on it, AUTH, LINK_LOST, STATE, VERSION, DISK
 */
export async function openHubDatabase(
  options: HubDatabaseOptions,
  onClose: (close: () => Promise<void>) => void,
): Promise<HubDatabase> {
  const { url, dataDir, host, isAlone, log, signal = new AbortController().signal } = options;
  if (url === "sqlite") {
    const database = openSqlite(join(dataDir, "hub.db"));
    onClose(() => database.close());
    return { database, server: undefined, lost: undefined };
  }
  const database = await openPostgres(url);
  onClose(() => database.close());
  const tell = (message: string, fields: Readonly<Record<string, unknown>>): void => log.info(message, fields);
  const holder = `${host.hostName}:${dataDir}`;
  const lease = await HubLease.take({ db: database, clock: host.clock, holder, isAlone, tell, signal });
  onClose(() => lease.giveBack());
  return { database, server: database, lost: lease.lost };
}

/**
 * On a server nothing else would tell a hub that it was given the directory of another one: it would serve files that it
 * does not have, and prune those of others. Call it before there are keys.
 * @throws {SynclineError} STATE when the directory is not that of the database
 */
export async function bindDirectory(dataDir: string, database: Database, hubId: string): Promise<void> {
  if (database.engine === "sqlite") return;
  const file = join(dataDir, HUB_ID_FILE);
  const marked = readPrivateFile(file)?.trim();
  if (marked === hubId) return;
  if (marked !== undefined) throw otherHub(dataDir, marked, hubId);
  const isNew = (await database.get("SELECT id FROM schema_steps WHERE room = 'access'")) === undefined;
  if (!isNew && readPrivateFile(join(dataDir, AUTHORITY_FILE)) === undefined) throw emptyDirectory(dataDir, hubId);
  writePrivateFile(file, `${hubId}\n`);
}

function otherHub(path: string, marked: string, hubId: string): SynclineError {
  return new SynclineError({
    code: "STATE",
    op: "open hub",
    path,
    message: `the data directory is that of hub ${marked}, and the database that of hub ${hubId}`,
    hint: "name the database that belongs to the directory (--database), or the directory that belongs to the database (--data)",
  });
}

function emptyDirectory(path: string, hubId: string): SynclineError {
  return new SynclineError({
    code: "STATE",
    op: "open hub",
    path,
    message: `the database is that of hub ${hubId}, whose chunks and keys are not in this data directory`,
    hint: "give --data of that hub, or stop it and copy its directories chunks and keys here first",
  });
}
