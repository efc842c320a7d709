/**
 * Users, groups, tokens and keys that a file declares: made when they are missing, changed when they differ, left alone
 * when they are the same. What the file does not name stays as it is; nothing is ever removed.
 */
import { z } from "zod";
import { roleSchema, ruleSchema } from "#access/roles-file.ts";
import type { Actor } from "#access/audit.ts";
import type { HubAccess } from "#access/hub-access.ts";
import { readSshKey } from "#access/ssh-keys.ts";
import { unusable } from "#access/access-store.ts";

const name = z.string().min(1).max(64);
const names = z.array(name).max(100);
/** Items of one list at most. */
export const DECLARED_MAX = 10_000;

/** The keys of a bootstrap file that belong to this room; spread them into the schema of the whole file. */
export const ACCESS_DECLARATION = {
  roles: z.array(roleSchema).max(DECLARED_MAX).default([]),
  groups: z.array(z.strictObject({ name, roles: names.default([]) })).max(DECLARED_MAX).default([]),
  users: z
    .array(z.strictObject({ name, password: z.string().optional(), roles: names.default([]), groups: names.default([]) }))
    .max(DECLARED_MAX)
    .default([]),
  tokens: z
    .array(
      z.strictObject({
        user: name,
        value: z.string(),
        name: name.default("bootstrap"),
        scopes: z.array(ruleSchema).optional(),
        expires: z.iso.datetime({ offset: true }).optional(),
      }),
    )
    .max(DECLARED_MAX)
    .default([]),
  s3Keys: z
    .array(z.strictObject({ user: name, accessKey: z.string(), secretKey: z.string() }))
    .max(DECLARED_MAX)
    .default([]),
  sshKeys: z.array(z.strictObject({ user: name, key: z.string() })).max(DECLARED_MAX).default([]),
  joinTokens: z
    .array(
      z.strictObject({
        value: z.string(),
        labels: names.default([]),
        uses: z.int().positive().optional(),
        expires: z.iso.datetime({ offset: true }).optional(),
      }),
    )
    .max(DECLARED_MAX)
    .default([]),
};

const schema = z.object(ACCESS_DECLARATION);
/** Roles are the caller's: they make the RoleBook, before anything is declared. */
export type AccessDeclaration = Omit<z.output<typeof schema>, "roles">;

/**
 * Makes what is declared true, in an order in which each finds what it refers to. Stops at the first that cannot be;
 * what was done stays, and the next time goes on from there.
 * @returns one line for each change, for the log; none when all was so already. No line has a secret
 * @throws {SynclineError} USAGE, NOT_FOUND (a user or group that nobody declared), EXISTS (a value that is another's)
 */
export async function declareAccess(access: HubAccess, by: Actor, declared: AccessDeclaration): Promise<string[]> {
  const changes: string[] = [];
  for (const group of declared.groups) await declareGroup(access, by, group, changes);
  for (const user of declared.users) await declareUser(access, by, user, changes);
  for (const token of declared.tokens) await declareToken(access, by, token, changes);
  for (const { user, ...key } of declared.s3Keys) {
    const held = await access.s3Keys.compare(user, key);
    if (held === "same") continue;
    if (held === "other") await access.s3Keys.revoke(by, key.accessKey);
    await access.s3Keys.create(by, user, key);
    changes.push(`S3 key ${key.accessKey} of ${user}: ${held === "other" ? "changed" : "made"}`);
  }
  for (const { user, key } of declared.sshKeys) {
    const read = readSshKey(key);
    if (typeof read === "string") throw unusable("declare SSH key", `the key of ${user}: ${read}`);
    if ((await access.sshKeys.list(user)).some((held) => held.fingerprint === read.fingerprint)) continue;
    await access.sshKeys.create(by, user, key);
    changes.push(`SSH key ${read.fingerprint} of ${user}: made`);
  }
  for (const { value, labels, uses, expires } of declared.joinTokens) {
    // What is left of one that is there is not filled up again: each start would make it endless.
    if ((await access.joinTokens.byValue(value)) !== undefined) continue;
    const { token } = await access.joinTokens.create(by, { value, labels, uses, expiresMs: timeOf(expires) });
    changes.push(`join token ${token.id}: made`);
  }
  return changes;
}

async function declareGroup(
  access: HubAccess,
  by: Actor,
  { name, roles }: AccessDeclaration["groups"][number],
  changes: string[],
): Promise<void> {
  const held = await access.users.group(name);
  if (held === undefined) await access.users.createGroup(by, name, roles);
  else if (isSameSet(held.roles, roles)) return;
  else await access.users.updateGroup(by, name, roles);
  changes.push(`group ${name}: ${held === undefined ? "made" : `roles ${held.roles.join(", ")} → ${roles.join(", ")}`}`);
}

async function declareUser(
  access: HubAccess,
  by: Actor,
  { name, password, roles, groups }: AccessDeclaration["users"][number],
  changes: string[],
): Promise<void> {
  const held = await access.users.get(name);
  if (held === undefined) {
    await access.users.create(by, name, { password, roles, groups });
    changes.push(`user ${name}: made`);
    return;
  }
  // A user that was disabled by hand stays so, and keeps its password.
  const isPassword = password === undefined || held.isDisabled || (await access.isPasswordOf(name, password));
  const change = {
    password: isPassword ? undefined : password,
    roles: isSameSet(held.roles, roles) ? undefined : roles,
    groups: isSameSet(held.groups, groups) ? undefined : groups,
  };
  const told = Object.entries(change).flatMap(([key, value]) => (value === undefined ? [] : [key]));
  if (told.length === 0) return;
  await access.users.update(by, name, change);
  changes.push(`user ${name}: ${told.join(", ")} changed`);
}

async function declareToken(
  access: HubAccess,
  by: Actor,
  { user, value, name, scopes, expires }: AccessDeclaration["tokens"][number],
  changes: string[],
): Promise<void> {
  const held = await access.tokens.byValue(value);
  const expiresMs = timeOf(expires);
  const isSame =
    held?.user === user &&
    held.name === name &&
    held.expiresMs === expiresMs &&
    JSON.stringify(held.scopes) === JSON.stringify(scopes);
  if (isSame) return;
  if (held !== undefined) await access.tokens.revoke(by, held.id);
  await access.tokens.create(by, { user, name, value, scopes, expiresMs });
  changes.push(`token "${name}" of ${user}: ${held === undefined ? "made" : "changed"}`);
}

function timeOf(iso: string | undefined): number | undefined {
  return iso === undefined ? undefined : Date.parse(iso);
}

function isSameSet(one: readonly string[], other: readonly string[]): boolean {
  const set = new Set(one);
  return set.size === new Set(other).size && other.every((item) => set.has(item));
}
