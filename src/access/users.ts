/** Users and groups: who exists, with which roles. */
import type { Sql } from "#platform/sql/database.ts";
import type { Principal } from "#access/access.ts";
import { type AccessStore, PAGE_ROWS_MAX, USER_NAME, notFound, refused, taken, unusable } from "#access/access-store.ts";
import type { Actor } from "#access/audit.ts";
import { setInvited, tieOf } from "#access/oidc-users.ts";
import type { Passwords } from "#access/passwords.ts";

/** Roles of one user or group, and groups of one user, at most. */
export const ROLES_OF_ONE_MAX = 100;

export type User = {
  readonly name: string;
  readonly roles: readonly string[];
  /** Sorted. */
  readonly groups: readonly string[];
  readonly hasPassword: boolean;
  /** Signs in through the identity provider: not, as soon as it comes, or tied to one who did. */
  readonly oidc: "none" | "invited" | "tied";
  readonly isDisabled: boolean;
  readonly createdMs: number;
};

export type Group = { readonly name: string; readonly roles: readonly string[]; readonly createdMs: number };

/** What is undefined stays as it is. */
export type UserChange = {
  /** Null: no sign-in by password. */
  readonly password?: string | null | undefined;
  readonly roles?: readonly string[] | undefined;
  readonly groups?: readonly string[] | undefined;
  /** Whether it may sign in through the identity provider; false also unties it. */
  readonly oidc?: boolean | undefined;
  readonly isDisabled?: boolean | undefined;
};

/** A user as it was when somebody was let in as it. */
export type SignIn = {
  readonly principal: Principal;
  /** What its password is checked against. */
  readonly password: string | undefined;
  /** Since when there is a user of this name: another one may come after it. */
  readonly createdMs: number;
};

type UserRow = { name: string; password: string | null; roles: string; disabled_ms: number | null; created_ms: number };
type GroupRow = { name: string; roles: string; created_ms: number };

const SELECT_USER = "SELECT name, password, roles, disabled_ms, created_ms FROM access_users WHERE name = ?";
const SELECT_GROUPS_OF = `SELECT g.name AS name, g.roles AS roles, g.created_ms AS created_ms
  FROM access_members m JOIN access_groups g ON g.name = m.group_name WHERE m.user_name = ? ORDER BY g.name`;
/** What goes with a user. Whoever gets the name later gets none of it. */
const FORGET_USER = [
  "DELETE FROM access_members WHERE user_name = ?",
  "DELETE FROM access_tokens WHERE user_name = ?",
  "DELETE FROM access_s3_keys WHERE user_name = ?",
  "DELETE FROM access_ssh_keys WHERE user_name = ?",
  "DELETE FROM access_sessions WHERE user_name = ?",
  "DELETE FROM access_oidc WHERE user_name = ?",
  "DELETE FROM access_users WHERE name = ?",
];

export class Users {
  readonly #store: AccessStore;
  readonly #passwords: Passwords;

  constructor(store: AccessStore, passwords: Passwords) {
    this.#store = store;
    this.#passwords = passwords;
  }

  /** @throws {SynclineError} EXISTS, USAGE (name, password, roles), NOT_FOUND (a group) */
  async create(by: Actor, name: string, user: Omit<UserChange, "isDisabled">): Promise<void> {
    checkName("create user", name);
    const { roles = [], groups = [] } = user;
    checkRoles("create user", roles);
    const password = typeof user.password === "string" ? await this.#passwords.hash(user.password) : null;
    await this.#store.change(by, async (sql) => {
      if ((await sql.get(SELECT_USER, [name])) !== undefined) throw taken("create user", `user "${name}"`);
      await sql.run("INSERT INTO access_users (name, password, roles, disabled_ms, created_ms) VALUES (?, ?, ?, NULL, ?)", [
        name,
        password,
        JSON.stringify(roles),
        this.#store.clock.nowMs(),
      ]);
      await setGroups(sql, name, groups);
      if (user.oidc === true) await setInvited(sql, name, true);
      const details = { roles, groups, hasPassword: password !== null, ...(user.oidc === true ? { oidc: true } : {}) };
      return { value: undefined, event: { action: "user.create", resource: `user:${name}`, details } };
    });
  }

  /**
   * A new password, and being disabled, end every session of the user; tokens and keys stay, but are of no use to a
   * disabled one.
   * @param of whom it is for: nobody else, and not who has another password by now
   * @throws {SynclineError} NOT_FOUND (the user or a group), USAGE; AUTH when it is not for that one
   */
  async update(by: Actor, name: string, change: UserChange, of?: SignIn): Promise<void> {
    if (change.roles !== undefined) checkRoles("change user", change.roles);
    const password = typeof change.password === "string" ? await this.#passwords.hash(change.password) : change.password;
    await this.#store.change(by, async (sql) => {
      const row = await sql.get<UserRow>(SELECT_USER, [name]);
      if (row === undefined) throw notFound("change user", `user "${name}"`);
      if (of !== undefined && !isSame(row, of)) throw refused("change user");
      const now = this.#store.clock.nowMs();
      const disabledMs = change.isDisabled === undefined ? row.disabled_ms : change.isDisabled ? (row.disabled_ms ?? now) : null;
      await sql.run("UPDATE access_users SET password = ?, roles = ?, disabled_ms = ? WHERE name = ?", [
        password === undefined ? row.password : password,
        change.roles === undefined ? row.roles : JSON.stringify(change.roles),
        disabledMs,
        name,
      ]);
      if (change.groups !== undefined) await setGroups(sql, name, change.groups);
      if (change.oidc !== undefined) await setInvited(sql, name, change.oidc);
      // Who is untied may hold a session by the provider's word.
      const isOver = password !== undefined || disabledMs !== null || change.oidc === false;
      if (isOver) await sql.run("DELETE FROM access_sessions WHERE user_name = ?", [name]);
      const { roles, groups, oidc, isDisabled } = change;
      const details = { roles, groups, oidc, isDisabled, password: password === undefined ? undefined : "changed" };
      return { value: undefined, event: { action: "user.change", resource: `user:${name}`, details } };
    });
  }

  /** With all its tokens, keys and sessions. @throws {SynclineError} NOT_FOUND */
  async remove(by: Actor, name: string): Promise<void> {
    await this.#store.change(by, async (sql) => {
      if ((await sql.get(SELECT_USER, [name])) === undefined) throw notFound("remove user", `user "${name}"`);
      for (const text of FORGET_USER) await sql.run(text, [name]);
      return { value: undefined, event: { action: "user.remove", resource: `user:${name}` } };
    });
  }

  async get(name: string): Promise<User | undefined> {
    const row = await this.#store.database.get<UserRow>(SELECT_USER, [name]);
    return row === undefined ? undefined : this.#userOf(row);
  }

  /** By name, after one (exclusive). */
  async page(after: string, limit: number): Promise<User[]> {
    const rows = await this.#store.database.all<UserRow>(
      "SELECT name, password, roles, disabled_ms, created_ms FROM access_users WHERE name > ? ORDER BY name LIMIT ?",
      [after, Math.min(limit, PAGE_ROWS_MAX)],
    );
    return Promise.all(rows.map((row) => this.#userOf(row)));
  }

  async #userOf(row: UserRow): Promise<User> {
    const groups = await this.#store.database.all<GroupRow>(SELECT_GROUPS_OF, [row.name]);
    return {
      name: row.name,
      roles: JSON.parse(row.roles) as string[],
      groups: groups.map((group) => group.name),
      hasPassword: row.password !== null,
      oidc: await tieOf(this.#store.database, row.name),
      isDisabled: row.disabled_ms !== null,
      createdMs: row.created_ms,
    };
  }

  /** In the transaction of what somebody is let in for: it was looked at before, and a user can change meanwhile. */
  async isStill(sql: Sql, known: SignIn): Promise<boolean> {
    const row = await sql.get<UserRow>(SELECT_USER, [known.principal.name]);
    return row !== undefined && row.disabled_ms === null && isSame(row, known);
  }

  /** Undefined for a user that may not sign in. */
  async forSignIn(name: string): Promise<SignIn | undefined> {
    const { database } = this.#store;
    const row = await database.get<UserRow>(SELECT_USER, [name]);
    if (row === undefined || row.disabled_ms !== null) return undefined;
    const groups = await database.all<GroupRow>(SELECT_GROUPS_OF, [name]);
    const roles = new Set([row.roles, ...groups.map((group) => group.roles)].flatMap((list) => JSON.parse(list) as string[]));
    const principal: Principal = { id: `user:${name}`, kind: "user", name, roles: [...roles], scopes: undefined };
    return { principal, password: row.password ?? undefined, createdMs: row.created_ms };
  }

  /** @throws {SynclineError} EXISTS, USAGE */
  async createGroup(by: Actor, name: string, roles: readonly string[]): Promise<void> {
    checkName("create group", name);
    checkRoles("create group", roles);
    await this.#store.change(by, async (sql) => {
      if (await hasGroup(sql, name)) throw taken("create group", `group "${name}"`);
      await sql.run("INSERT INTO access_groups (name, roles, created_ms) VALUES (?, ?, ?)", [
        name,
        JSON.stringify(roles),
        this.#store.clock.nowMs(),
      ]);
      return { value: undefined, event: { action: "group.create", resource: `group:${name}`, details: { roles } } };
    });
  }

  /** @throws {SynclineError} NOT_FOUND, USAGE */
  async updateGroup(by: Actor, name: string, roles: readonly string[]): Promise<void> {
    checkRoles("change group", roles);
    await this.#store.change(by, async (sql) => {
      const changed = await sql.run("UPDATE access_groups SET roles = ? WHERE name = ?", [JSON.stringify(roles), name]);
      if (changed === 0) throw notFound("change group", `group "${name}"`);
      return { value: undefined, event: { action: "group.change", resource: `group:${name}`, details: { roles } } };
    });
  }

  /** @throws {SynclineError} NOT_FOUND */
  async removeGroup(by: Actor, name: string): Promise<void> {
    await this.#store.change(by, async (sql) => {
      if ((await sql.run("DELETE FROM access_groups WHERE name = ?", [name])) === 0)
        throw notFound("remove group", `group "${name}"`);
      await sql.run("DELETE FROM access_members WHERE group_name = ?", [name]);
      return { value: undefined, event: { action: "group.remove", resource: `group:${name}` } };
    });
  }

  /** @throws {SynclineError} NOT_FOUND (either), USAGE (too many groups) */
  async setMember(by: Actor, group: string, user: string, isMember: boolean): Promise<void> {
    const op = "change group";
    await this.#store.change(by, async (sql) => {
      await requireUser(sql, op, user);
      if (!(await hasGroup(sql, group))) throw notFound(op, `group "${group}"`);
      const now = (await sql.all<GroupRow>(SELECT_GROUPS_OF, [user])).map(({ name }) => name);
      const wanted = isMember ? [...now, group] : now.filter((name) => name !== group);
      if (isMember === now.includes(group)) return { value: undefined, event: undefined };
      await setGroups(sql, user, wanted);
      const event = { action: "user.change", resource: `user:${user}`, details: { groups: wanted } };
      return { value: undefined, event };
    });
  }

  /** Names of those who are in a group, after one (exclusive). */
  async members(group: string, after: string, limit: number): Promise<string[]> {
    const rows = await this.#store.database.all<{ user_name: string }>(
      "SELECT user_name FROM access_members WHERE group_name = ? AND user_name > ? ORDER BY user_name LIMIT ?",
      [group, after, Math.min(limit, PAGE_ROWS_MAX)],
    );
    return rows.map(({ user_name: name }) => name);
  }

  async group(name: string): Promise<Group | undefined> {
    const row = await this.#store.database.get<GroupRow>("SELECT name, roles, created_ms FROM access_groups WHERE name = ?", [name]);
    return row === undefined ? undefined : groupOf(row);
  }

  /** By name, after one (exclusive). */
  async groups(after: string, limit: number): Promise<Group[]> {
    const rows = await this.#store.database.all<GroupRow>(
      "SELECT name, roles, created_ms FROM access_groups WHERE name > ? ORDER BY name LIMIT ?",
      [after, Math.min(limit, PAGE_ROWS_MAX)],
    );
    return rows.map(groupOf);
  }
}

const isSame = (row: UserRow, { password, createdMs }: SignIn): boolean =>
  (row.password ?? undefined) === password && row.created_ms === createdMs;

function groupOf({ name, roles, created_ms: createdMs }: GroupRow): Group {
  return { name, roles: JSON.parse(roles) as string[], createdMs };
}

/** @throws {SynclineError} NOT_FOUND */
export async function requireUser(sql: Sql, op: string, name: string): Promise<void> {
  if ((await sql.get(SELECT_USER, [name])) === undefined) throw notFound(op, `user "${name}"`);
}

async function hasGroup(sql: Sql, name: string): Promise<boolean> {
  return (await sql.get("SELECT name FROM access_groups WHERE name = ?", [name])) !== undefined;
}

async function setGroups(sql: Sql, user: string, groups: readonly string[]): Promise<void> {
  if (groups.length > ROLES_OF_ONE_MAX) throw unusable("set groups", `a user is in ${ROLES_OF_ONE_MAX} groups at most`);
  await sql.run("DELETE FROM access_members WHERE user_name = ?", [user]);
  for (const group of new Set(groups)) {
    if (!(await hasGroup(sql, group))) throw notFound("set groups", `group "${group}"`);
    await sql.run("INSERT INTO access_members (user_name, group_name) VALUES (?, ?)", [user, group]);
  }
}

function checkName(op: string, name: string): void {
  if (!USER_NAME.test(name)) throw unusable(op, `"${name.slice(0, 64)}" is no name: 1 to 64 of a-z, 0-9, ".", "_", "-", "@"`);
}

/** Roles need not exist yet: their file may be read later. One that does not exist grants nothing. */
function checkRoles(op: string, roles: readonly string[]): void {
  if (roles.length > ROLES_OF_ONE_MAX || roles.some((role) => role === "" || role.length > 64))
    throw unusable(op, `up to ${ROLES_OF_ONE_MAX} roles, each with a name of 1 to 64 characters`);
}
