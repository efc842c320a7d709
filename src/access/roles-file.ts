/**
 * Roles as people write them:
 *
 *     roles:
 *       - name: site-editor
 *         includes: [reader]
 *         rules:
 *           - {effect: allow, resource: space, actions: [write, restore], names: [demo], prefixes: [site]}
 *           - {effect: deny, resource: space, actions: ["*"], prefixes: [site/keys]}
 */
import { z } from "zod";
import { SynclineError } from "#model/error.ts";
import { pathFault } from "#model/path.ts";
import { readYaml } from "#platform/yaml/checked-yaml.ts";
import { ACTIONS, RESOURCE_TYPES, type Role, type Rule } from "#access/access.ts";
import { RULES_MAX, RoleBook } from "#access/decide.ts";

/** Names, prefixes or labels of one rule. */
export const RULE_ITEMS_MAX = 1_000;

const text = z.string().min(1).max(255);
/** "/site/" and "site" are the same place; "/" is the whole space. */
const prefix = z
  .string()
  .max(4096)
  .transform((given) => given.replace(/^\/+|\/+$/g, ""))
  .refine((path) => pathFault(path, true) === undefined, { error: "this is no path in a space" });

export const ROLE_NAME = /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/;

/** One rule; also of a token's scopes. */
export const ruleSchema: z.ZodType<Rule> = z
  .strictObject({
    effect: z.enum(["allow", "deny"]),
    resource: z.enum([...RESOURCE_TYPES, "*"]),
    actions: z.array(z.enum([...ACTIONS, "*"])).min(1).max(ACTIONS.length + 1),
    names: z.array(text).min(1).max(RULE_ITEMS_MAX).optional(),
    prefixes: z.array(prefix).min(1).max(RULE_ITEMS_MAX).optional(),
    labels: z.array(text).min(1).max(RULE_ITEMS_MAX).optional(),
  })
  .refine((rule) => rule.prefixes === undefined || rule.resource === "space", {
    error: "only rules of spaces have prefixes",
    path: ["prefixes"],
  })
  .refine((rule) => rule.labels === undefined || rule.resource === "host", {
    error: "only rules of hosts have labels",
    path: ["labels"],
  });

/** One role; also in a bootstrap file. */
export const roleSchema: z.ZodType<Role> = z.strictObject({
  name: z.string().regex(ROLE_NAME, { error: "1 to 63 of a-z, 0-9, - and ." }),
  includes: z.array(text).max(RULE_ITEMS_MAX).default([]),
  rules: z.array(ruleSchema).max(RULES_MAX).default([]),
});

const fileSchema = z.strictObject({ roles: z.array(roleSchema) });

/** The roles of a file's text, not yet checked with others. @throws {SynclineError} USAGE that names file, line and key */
export function readRoleList(text: string, file: string): readonly Role[] {
  return readYaml(text, file, fileSchema).roles;
}

/**
 * The roles of a file's text, checked with the built-in ones; use them all or keep the last good book.
 * @throws {SynclineError} USAGE that names file, line and key
 */
export function readRoles(text: string, file: string): RoleBook {
  return bookOf(readRoleList(text, file), file);
}

/** @throws {SynclineError} USAGE that names the file */
export function bookOf(roles: readonly Role[], file: string): RoleBook {
  try {
    return new RoleBook(roles);
  } catch (error) {
    if (!(error instanceof SynclineError)) throw error;
    throw new SynclineError({ code: error.code, op: error.op, path: file, message: `${file}: ${error.message}`, hint: error.hint });
  }
}
