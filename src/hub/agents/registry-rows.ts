/** The tables of the registry (registry.ts), and what hosts and links are, as they are kept in them. */
import type { Migration, Sql, SqlRow } from "#platform/sql/database.ts";
import { LINK_SETTINGS, type LinkSettings, checked } from "#hub/agents/link.ts";

export const AGENT_MIGRATIONS: readonly Migration[] = [
  {
    id: 1,
    statements: [
      `CREATE TABLE agent_hosts (
        name TEXT PRIMARY KEY, labels TEXT NOT NULL, serial TEXT NOT NULL, program TEXT NOT NULL, platform TEXT NOT NULL,
        first_seen_ms BIGINT NOT NULL, last_seen_ms BIGINT NOT NULL)`,
      `CREATE TABLE agent_links (
        id TEXT PRIMARY KEY, host TEXT, selector TEXT, root TEXT NOT NULL, space TEXT NOT NULL, prefix TEXT NOT NULL,
        settings TEXT NOT NULL, enabled BIGINT NOT NULL, generation BIGINT NOT NULL, origin TEXT NOT NULL,
        created_ms BIGINT NOT NULL)`,
      `CREATE INDEX agent_links_of_host ON agent_links (host)`,
      `CREATE TABLE agent_states (
        link TEXT NOT NULL, host TEXT NOT NULL, heard_ms BIGINT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (link, host))`,
      `CREATE TABLE agent_marks (
        link TEXT NOT NULL, host TEXT NOT NULL, session TEXT NOT NULL, epoch TEXT NOT NULL, acknowledged BIGINT NOT NULL,
        PRIMARY KEY (link, host))`,
      `CREATE TABLE agent_holds (
        link TEXT NOT NULL, host TEXT NOT NULL, hash TEXT NOT NULL, plan TEXT NOT NULL, held_ms BIGINT NOT NULL,
        approved_by TEXT, approved_ms BIGINT, PRIMARY KEY (link, host))`,
    ],
  },
  // The space that a link was found to lead to; 0 while it does not exist.
  { id: 2, statements: ["ALTER TABLE agent_links ADD COLUMN space_id BIGINT NOT NULL DEFAULT 0"] },
];

export type AgentHost = {
  readonly name: string;
  readonly labels: readonly string[];
  /** Of its certificate; "" for a host that was named before it enrolled. */
  readonly serial: string;
  readonly program: string;
  readonly platform: string;
  readonly firstSeenMs: number;
  /** 0: never. */
  readonly lastSeenMs: number;
};

/** `hub`: made at the hub. `host`: declared by the host itself, and gone when it is not declared any more. */
export type LinkOrigin = "hub" | "host";

export type Link = {
  readonly id: string;
  readonly host: string | undefined;
  readonly selector: string | undefined;
  readonly root: string;
  readonly space: string;
  readonly prefix: string;
  readonly settings: LinkSettings;
  readonly enabled: boolean;
  readonly generation: number;
  readonly origin: LinkOrigin;
  readonly createdMs: number;
};

type HostRow = SqlRow & {
  name: string;
  labels: string;
  serial: string;
  program: string;
  platform: string;
  first_seen_ms: number;
  last_seen_ms: number;
};
type LinkRow = SqlRow & {
  id: string;
  host: string | null;
  selector: string | null;
  root: string;
  space: string;
  prefix: string;
  settings: string;
  enabled: number;
  generation: number;
  origin: string;
  created_ms: number;
};
const HOST_COLUMNS = "name, labels, serial, program, platform, first_seen_ms, last_seen_ms";
const LINK_COLUMNS = "id, host, selector, root, space, prefix, settings, enabled, generation, origin, created_ms";

/** By name. */
export async function readHosts(sql: Sql): Promise<AgentHost[]> {
  return (await sql.all<HostRow>(`SELECT ${HOST_COLUMNS} FROM agent_hosts ORDER BY name`)).map(hostOf);
}

export async function writeHost(sql: Sql, host: AgentHost): Promise<void> {
  await sql.run(
    `INSERT INTO agent_hosts (${HOST_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (name) DO UPDATE SET labels = excluded.labels, serial = excluded.serial, program = excluded.program,
       platform = excluded.platform, last_seen_ms = excluded.last_seen_ms`,
    [host.name, JSON.stringify(host.labels), host.serial, host.program, host.platform, host.firstSeenMs, host.lastSeenMs],
  );
}

/** With its own links, and all that was heard of it. */
export async function dropHost(sql: Sql, name: string): Promise<void> {
  for (const table of ["agent_states", "agent_marks", "agent_holds", "agent_links"]) {
    await sql.run(`DELETE FROM ${table} WHERE host = ?`, [name]);
  }
  await sql.run("DELETE FROM agent_hosts WHERE name = ?", [name]);
}

/** Oldest first. */
export async function readLinks(sql: Sql): Promise<Link[]> {
  return (await sql.all<LinkRow>(`SELECT ${LINK_COLUMNS} FROM agent_links ORDER BY created_ms, id`)).map(linkOf);
}

/** The spaces that links lead to, by the ids of the links, as far as that is known. */
export async function readSpaces(sql: Sql): Promise<Map<string, number>> {
  const rows = await sql.all<SqlRow & { id: string; space_id: number }>("SELECT id, space_id FROM agent_links WHERE space_id <> 0");
  return new Map(rows.map(({ id, space_id }) => [id, space_id]));
}

/** @param space 0: not known yet */
export async function writeSpace(sql: Sql, link: string, space: number): Promise<void> {
  await sql.run("UPDATE agent_links SET space_id = ? WHERE id = ?", [space, link]);
}

export async function insertLink(sql: Sql, link: Link): Promise<void> {
  await sql.run(`INSERT INTO agent_links (${LINK_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, [
    link.id,
    link.host ?? null,
    link.selector ?? null,
    link.root,
    link.space,
    link.prefix,
    JSON.stringify(link.settings),
    link.enabled ? 1 : 0,
    link.generation,
    link.origin,
    link.createdMs,
  ]);
}

export async function writeLink(sql: Sql, link: Link): Promise<void> {
  await sql.run(
    "UPDATE agent_links SET root = ?, space = ?, prefix = ?, settings = ?, enabled = ?, generation = ? WHERE id = ?",
    [link.root, link.space, link.prefix, JSON.stringify(link.settings), link.enabled ? 1 : 0, link.generation, link.id],
  );
}

/** With all that was heard of it. */
export async function dropLink(sql: Sql, id: string): Promise<void> {
  for (const table of ["agent_states", "agent_marks", "agent_holds"]) await sql.run(`DELETE FROM ${table} WHERE link = ?`, [id]);
  await sql.run("DELETE FROM agent_links WHERE id = ?", [id]);
}

function hostOf(row: HostRow): AgentHost {
  const { name, serial, program, platform } = row;
  const labels = JSON.parse(row.labels) as string[];
  return { name, labels, serial, program, platform, firstSeenMs: row.first_seen_ms, lastSeenMs: row.last_seen_ms };
}

function linkOf(row: LinkRow): Link {
  const { id, root, space, prefix, generation } = row;
  return {
    id, root, space, prefix, generation,
    host: row.host ?? undefined,
    selector: row.selector ?? undefined,
    // Written by an earlier version it may lack settings, which then have their defaults.
    settings: checked(LINK_SETTINGS, JSON.parse(row.settings), `link ${id}`),
    enabled: row.enabled === 1,
    origin: row.origin === "host" ? "host" : "hub",
    createdMs: row.created_ms,
  };
}
