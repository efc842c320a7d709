/**
 * Roles that were made while the hub ran, beside those of its bootstrap file. They are kept in the database and make one
 * book with the others; a role of the file wins over a stored one of the same name, because the file is what somebody
 * reads.
 */
import { SynclineError } from "#model/error.ts";
import type { Sql } from "#platform/sql/database.ts";
import type { Role } from "#access/access.ts";
import { type AccessStore, notFound } from "#access/access-store.ts";
import type { Actor } from "#access/audit.ts";
import { BUILT_IN_ROLES } from "#access/built-in-roles.ts";
import { RoleBook } from "#access/decide.ts";

export type RoleOrigin = "built-in" | "file" | "hub";
export type KnownRole = {
  readonly role: Role;
  readonly origin: RoleOrigin;
  /** What keeps a stored role from being what it says; undefined: nothing. */
  readonly fault: string | undefined;
};

type RoleRow = { name: string; role: string };
type Stored = { readonly version: number; readonly roles: readonly Role[] };

const NEXT_VERSION = "UPDATE access_role_book SET version = version + 1 WHERE id = 1";

const BUILT_IN = new Set(BUILT_IN_ROLES.map(({ name }) => name));

export class StoredRoles {
  readonly #store: AccessStore;
  #file: RoleBook;
  #stored: readonly Role[] = [];
  #version = -1;
  #book: RoleBook;

  /** @param file the roles of the bootstrap file; `load` must come before the first decision */
  constructor(store: AccessStore, file: RoleBook) {
    this.#store = store;
    this.#file = file;
    this.#book = file;
  }

  /** What decisions are made by. */
  get book(): RoleBook {
    return this.#book;
  }

  /** Every decision from now on is by these roles of the bootstrap file, and those that are stored. */
  useFile(file: RoleBook): void {
    this.#file = file;
    this.#book = compose(file, this.#stored);
  }

  async load(): Promise<void> {
    this.#take(await readStored(this.#store.database));
  }

  #take({ version, roles }: Stored): void {
    // Of two changes the later one may be told first.
    if (version < this.#version) return;
    this.#stored = roles;
    this.#version = version;
    this.#book = compose(this.#file, roles);
  }

  /** Loads again what another hub on the same database has changed. */
  async refresh(): Promise<void> {
    if ((await readVersion(this.#store.database)) !== this.#version) await this.load();
  }

  /** By name; stored ones that the file shadows come too. */
  list(): KnownRole[] {
    const known = (role: Role, origin: RoleOrigin): KnownRole => ({ role, origin, fault: this.#faultOf(role, origin) });
    return [
      ...BUILT_IN_ROLES.map((role) => known(role, "built-in")),
      ...this.#file.own.map((role) => known(role, "file")),
      ...this.#stored.map((role) => known(role, "hub")),
    ].sort((a, b) => (a.role.name < b.role.name ? -1 : Number(a.role.name > b.role.name)));
  }

  /** The one that counts. */
  get(name: string): KnownRole | undefined {
    const all = this.list().filter(({ role }) => role.name === name);
    return all.find(({ origin }) => origin !== "hub") ?? all[0];
  }

  #faultOf(role: Role, origin: RoleOrigin): string | undefined {
    if (origin !== "hub") return undefined;
    if (this.#file.has(role.name)) return "the bootstrap file declares a role of this name, which counts instead";
    const missing = role.includes.find((name) => !this.#book.has(name));
    if (missing !== undefined) return `it includes "${missing}", which does not exist any more: it allows nothing`;
    const counting = this.#book.own.find(({ name }) => name === role.name);
    return counting?.includes.length === role.includes.length ? undefined : "a role that it includes is not whole: it allows nothing";
  }

  /**
   * Makes a role, or replaces a stored one. It counts from when this resolves.
   * @returns whether it was made
   * @throws {SynclineError} EXISTS (a role of the program or of the bootstrap file), USAGE (what it includes)
   */
  async put(by: Actor, role: Role): Promise<boolean> {
    this.#requireChangeable("put role", role.name);
    let isNew = false;
    const changed = await this.#store.change(by, async (sql) => {
      const stored = await readAll(sql);
      isNew = !stored.some(({ name }) => name === role.name);
      // Strict where a person is there to hear it.
      const others = stored.filter(({ name }) => name !== role.name && !this.#file.has(name));
      const names = new Set([role.name, ...this.#file.names(), ...others.map(({ name }) => name)]);
      const known = others.map((one) => ({ ...one, includes: one.includes.filter((name) => names.has(name)) }));
      new RoleBook([...this.#file.own, ...known, role]);
      await sql.run(
        `INSERT INTO access_roles (name, role, changed_ms) VALUES (?, ?, ?)
          ON CONFLICT (name) DO UPDATE SET role = excluded.role, changed_ms = excluded.changed_ms`,
        [role.name, JSON.stringify(role), this.#store.clock.nowMs()],
      );
      await sql.run(NEXT_VERSION);
      const { includes, rules } = role;
      const action = isNew ? "role.create" : "role.change";
      return { value: await readStored(sql), event: { action, resource: `role:${role.name}`, details: { includes, rules } } };
    });
    this.#take(changed);
    return isNew;
  }

  /**
   * Whoever has it keeps its name, which then allows nothing.
   * @throws {SynclineError} NOT_FOUND, EXISTS (not a stored one, or another role includes it)
   */
  async remove(by: Actor, name: string): Promise<void> {
    const changed = await this.#store.change(by, async (sql) => {
      const stored = await readAll(sql);
      if (!stored.some((role) => role.name === name)) {
        this.#requireChangeable("delete role", name);
        throw notFound("delete role", `role "${name}"`);
      }
      const user = this.#file.has(name) ? undefined : stored.find((role) => role.includes.includes(name));
      if (user !== undefined) throw inTheWay(name, `role "${user.name}" includes it`, `change "${user.name}" first`);
      await sql.run("DELETE FROM access_roles WHERE name = ?", [name]);
      await sql.run(NEXT_VERSION);
      return { value: await readStored(sql), event: { action: "role.remove", resource: `role:${name}` } };
    });
    this.#take(changed);
  }

  #requireChangeable(op: string, name: string): void {
    if (BUILT_IN.has(name)) throw inTheWay(name, "it is one of the program's own", `${op} of another name`);
    if (this.#file.has(name)) throw inTheWay(name, "the bootstrap file declares it", "change it there");
  }
}

/**
 * In the transaction of a change: were it read afterwards, a disk that refuses that would leave decisions by what was
 * before, and nobody would change it again who finds it changed.
 */
async function readStored(sql: Sql): Promise<Stored> {
  // The version first: what is read after it is at least as new.
  const version = await readVersion(sql);
  return { version, roles: await readAll(sql) };
}

async function readVersion(sql: Sql): Promise<number> {
  return (await sql.get<{ version: number }>("SELECT version FROM access_role_book WHERE id = 1"))!.version;
}

async function readAll(sql: Sql): Promise<Role[]> {
  return (await sql.all<RoleRow>("SELECT name, role FROM access_roles ORDER BY name")).map(({ role }) => JSON.parse(role) as Role);
}

/**
 * One book of both. What is stored was right when it was stored. Where the file has changed since, a role that cannot
 * have all that it includes might lack a denial, so it, and whatever includes it, allows nothing; the hub starts all the
 * same.
 */
function compose(file: RoleBook, stored: readonly Role[]): RoleBook {
  const counting = stored.filter((role) => !file.has(role.name));
  const names = new Set([...file.names(), ...counting.map(({ name }) => name)]);
  const broken = new Set<string>();
  for (let before = -1; before < broken.size; ) {
    before = broken.size;
    for (const { name, includes } of counting) if (includes.some((one) => !names.has(one) || broken.has(one))) broken.add(name);
  }
  const safe = (role: Role, isBroken: boolean): Role =>
    isBroken ? { name: role.name, includes: [], rules: role.rules.filter(({ effect }) => effect === "deny") } : role;
  try {
    return new RoleBook([...file.own, ...counting.map((role) => safe(role, broken.has(role.name)))]);
  } catch {
    // A circle through a role that was the file's before: none that leans on stored ones is to be believed.
    const own = new Set(counting.map(({ name }) => name));
    return new RoleBook([...file.own, ...counting.map((role) => safe(role, role.includes.some((one) => own.has(one))))]);
  }
}

function inTheWay(name: string, why: string, hint: string): SynclineError {
  return new SynclineError({ code: "EXISTS", op: "change role", message: `role "${name}" cannot be changed here: ${why}`, hint });
}
