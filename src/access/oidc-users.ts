/**
 * Which user of the hub is whom of the identity provider. A provider's name alone ties nobody to a user that is there:
 * whoever may choose names at the provider would become that user. An administrator says of a user that it signs in so;
 * the first who does, by name, is tied to it for good, by what the provider never gives to anybody else.
 */
import { SynclineError } from "#model/error.ts";
import type { Sql } from "#platform/sql/database.ts";
import { type AccessStore, USER_NAME } from "#access/access-store.ts";
import type { Actor } from "#access/audit.ts";
import type { OidcSettings, Vouched } from "#access/oidc.ts";

type TieRow = { user_name: string; issuer: string | null; subject: string | null };
type UserRow = { name: string; roles: string; disabled_ms: number | null };

/** What a mapping says for somebody. */
export type Mapped = {
  /** Named by the mapping: theirs to give and to take away. */
  readonly known: ReadonlySet<string>;
  /** What this one is to have of them. */
  readonly wanted: ReadonlySet<string>;
};

export function mapped(mapping: ReadonlyMap<string, readonly string[]>, groups: readonly string[]): Mapped {
  return {
    known: new Set([...mapping.values()].flat()),
    wanted: new Set(groups.flatMap((group) => mapping.get(group) ?? [])),
  };
}

/** What somebody has after it: what the mapping does not name stays. */
export function merged(now: readonly string[], { known, wanted }: Mapped): string[] {
  return [...now.filter((one) => !known.has(one)), ...wanted].sort();
}

/**
 * The user that somebody is, with groups and roles as the mapping says; made where that is allowed.
 * @returns its name
 * @throws {SynclineError} AUTH when it is nobody of this hub, or is disabled
 */
export async function tieUser(store: AccessStore, settings: OidcSettings, vouched: Vouched, from: Omit<Actor, "id">): Promise<string> {
  const { issuer, subject } = vouched;
  const by: Actor = { ...from, id: "system:oidc" };
  return store.change(by, async (sql) => {
    const tie = await sql.get<TieRow>("SELECT * FROM access_oidc WHERE issuer = ? AND subject = ?", [issuer, subject]);
    const name = tie?.user_name ?? vouched.name;
    const user = USER_NAME.test(name) ? await userOf(sql, name) : undefined;
    const isNew = user === undefined && tie === undefined && settings.provision && USER_NAME.test(name);
    if (isNew) await insertUser(sql, name, store.clock.nowMs());
    else if (tie === undefined && (user === undefined || !(await isInvited(sql, name)))) throw stranger(name);
    if (user !== undefined && user.disabled_ms !== null) throw shut(name);
    if (tie === undefined) {
      await sql.run(
        `INSERT INTO access_oidc (user_name, issuer, subject) VALUES (?, ?, ?)
          ON CONFLICT (user_name) DO UPDATE SET issuer = excluded.issuer, subject = excluded.subject`,
        [name, issuer, subject],
      );
    }
    const changed = await follow(sql, name, settings, vouched);
    if (tie !== undefined && changed === undefined) return { value: name, event: undefined };
    const details = { ...changed, ...(tie === undefined ? { issuer, subject } : {}) };
    return { value: name, event: { action: isNew ? "user.create" : "user.change", resource: `user:${name}`, details } };
  });
}

/** Brings groups and roles to what the mapping says; undefined where they were so already. */
async function follow(sql: Sql, name: string, settings: OidcSettings, { groups }: Vouched): Promise<object | undefined> {
  const roles = JSON.parse((await userOf(sql, name))!.roles) as string[];
  const newRoles = merged(roles, mapped(settings.roles, groups));
  const rows = await sql.all<{ group_name: string }>("SELECT group_name FROM access_members WHERE user_name = ?", [name]);
  const now = rows.map(({ group_name: group }) => group);
  const newGroups = merged(now, mapped(settings.groups, groups));
  const there: string[] = [];
  // A group that was not made here yet must not keep anybody out.
  for (const group of newGroups) {
    if ((await sql.get("SELECT name FROM access_groups WHERE name = ?", [group])) !== undefined) there.push(group);
  }
  const same = (a: readonly string[], b: readonly string[]): boolean => JSON.stringify([...a].sort()) === JSON.stringify([...b].sort());
  if (same(roles, newRoles) && same(now, there)) return undefined;
  await sql.run("UPDATE access_users SET roles = ? WHERE name = ?", [JSON.stringify(newRoles), name]);
  await sql.run("DELETE FROM access_members WHERE user_name = ?", [name]);
  for (const group of there) await sql.run("INSERT INTO access_members (user_name, group_name) VALUES (?, ?)", [name, group]);
  return { roles: newRoles, groups: there };
}

/** Lets a user be tied at its next sign-in, or unties it. */
export async function setInvited(sql: Sql, name: string, isInvited: boolean): Promise<void> {
  if (!isInvited) await sql.run("DELETE FROM access_oidc WHERE user_name = ?", [name]);
  else {
    await sql.run(
      "INSERT INTO access_oidc (user_name, issuer, subject) VALUES (?, NULL, NULL) ON CONFLICT (user_name) DO NOTHING",
      [name],
    );
  }
}

/** Whether a user signs in through the provider: not, once it comes, or tied. */
export async function tieOf(sql: Sql, name: string): Promise<"none" | "invited" | "tied"> {
  const row = await sql.get<TieRow>("SELECT * FROM access_oidc WHERE user_name = ?", [name]);
  if (row === undefined) return "none";
  return row.subject === null ? "invited" : "tied";
}

/** In the transaction of what somebody is let in for: untied, or disabled, since the provider vouched for them? */
export async function isTied(sql: Sql, name: string, { issuer, subject }: Vouched): Promise<boolean> {
  const row = await sql.get<TieRow>("SELECT * FROM access_oidc WHERE user_name = ?", [name]);
  const isTheirs = row?.issuer === issuer && row.subject === subject;
  return isTheirs && (await userOf(sql, name))?.disabled_ms === null;
}

async function isInvited(sql: Sql, name: string): Promise<boolean> {
  return (await tieOf(sql, name)) === "invited";
}

const userOf = (sql: Sql, name: string): Promise<UserRow | undefined> =>
  sql.get<UserRow>("SELECT name, roles, disabled_ms FROM access_users WHERE name = ?", [name]);

async function insertUser(sql: Sql, name: string, nowMs: number): Promise<void> {
  await sql.run("INSERT INTO access_users (name, password, roles, disabled_ms, created_ms) VALUES (?, NULL, '[]', NULL, ?)", [name, nowMs]);
}

/** The provider has vouched for them, so they may be told who the hub takes them for. */
function stranger(name: string): SynclineError {
  const shown = name.slice(0, 64);
  return new SynclineError({
    code: "AUTH",
    op: "sign in",
    message: `the identity provider knows you as "${shown}", and no user of this hub is tied to that`,
    hint: `an administrator lets you in: syncline user create ${USER_NAME.test(name) ? shown : "NAME"} --oidc yes`,
  });
}

function shut(name: string): SynclineError {
  const hint = "an administrator can let you in again";
  return new SynclineError({ code: "AUTH", op: "sign in", message: `the user "${name}" is disabled`, hint });
}
