/**
 * The decision itself, as a pure function of roles, rules and a bucket's policy: default is deny, a deny that matches wins,
 * and a token's scopes only narrow. Cost: the rules of the principal's roles, once, and the statements of the policy.
 */
import { SynclineError } from "#model/error.ts";
import { type RelPath, isWithin } from "#model/path.ts";
import type { Action, Decision, Principal, Resource, Role, Rule } from "#access/access.ts";
import { BUILT_IN_ROLES } from "#access/built-in-roles.ts";
import type { SpacePolicy } from "#access/policy/space-policies.ts";
import { pathsBelow, policySays } from "#access/policy/policy.ts";

/** Roles of a book, and rules of a role, at most. */
export const ROLES_MAX = 1_000;
export const RULES_MAX = 1_000;

/** All roles by name, the built-in ones too, with what each includes. Immutable: a reload makes a new one. */
export class RoleBook {
  /** Those that it was made of, without the built-in ones. */
  readonly own: readonly Role[];
  /** A role's own rules and those of all it includes, by role name. */
  readonly #sources = new Map<string, readonly Role[]>();

  /** @throws {SynclineError} USAGE for a name taken or unknown, a circle of inclusions, too many */
  constructor(roles: readonly Role[]) {
    this.own = roles;
    const byName = new Map<string, Role>();
    const all = [...BUILT_IN_ROLES, ...roles];
    if (all.length > ROLES_MAX) throw unusable(`more than ${ROLES_MAX} roles`);
    for (const role of all) {
      if (byName.has(role.name)) throw unusable(`role "${role.name}" is defined twice`);
      if (role.rules.length > RULES_MAX) throw unusable(`role "${role.name}" has more than ${RULES_MAX} rules`);
      byName.set(role.name, role);
    }
    for (const role of all) this.#sources.set(role.name, closure(role, byName));
  }

  has(name: string): boolean {
    return this.#sources.has(name);
  }

  /** Sorted. */
  names(): string[] {
    return [...this.#sources.keys()].sort();
  }

  /** The role and every role that it includes; none for a name that is not known, which grants nothing. */
  sources(name: string): readonly Role[] {
    return this.#sources.get(name) ?? [];
  }
}

function unusable(message: string): SynclineError {
  return new SynclineError({ code: "USAGE", op: "read roles", message, hint: "correct the roles and load them again" });
}

function closure(role: Role, byName: ReadonlyMap<string, Role>): Role[] {
  const found = new Map<string, Role>();
  // Iterative, because a chain may be as long as the book; `path` is the way from the role to what is looked at.
  const path: { role: Role; next: number }[] = [{ role, next: 0 }];
  const onPath = new Set([role.name]);
  found.set(role.name, role);
  while (path.length > 0) {
    const top = path.at(-1)!;
    const name = top.role.includes[top.next++];
    if (name === undefined) {
      onPath.delete(top.role.name);
      path.pop();
      continue;
    }
    if (onPath.has(name))
      throw unusable(`roles include each other: ${[...path.map((step) => step.role.name), name].join(" → ")}`);
    const included = byName.get(name);
    if (included === undefined) throw unusable(`role "${top.role.name}" includes "${name}", which does not exist`);
    if (found.has(name)) continue;
    found.set(name, included);
    path.push({ role: included, next: 0 });
    onPath.add(name);
  }
  return [...found.values()];
}

/**
 * Decides for a principal. `narrowing` is a second gate, as scopes are: an agent's links. `policy` is that of the space: it
 * may give what no role gives, and never what a rule denies.
 */
export function decide(
  book: RoleBook,
  principal: Principal,
  narrowing: readonly Rule[] | undefined,
  action: Action,
  resource: Resource,
  policy?: SpacePolicy,
): Decision {
  if (principal.kind === "system") return { allowed: true, reason: "the hub's own work" };
  const said = policy === undefined || resource.type !== "space" ? undefined : policySays(policy.policy, principal, action, resource);
  if (said?.isAllow === false) return { allowed: false, reason: said.reason };
  const byRoles = decideByRoles(book, principal, action, resource);
  if (!byRoles.allowed) {
    const isGiven = said !== undefined && !byRoles.isDenied && (principal.kind === "user" || policy!.mayBePublic);
    if (!isGiven) return { allowed: false, reason: byRoles.reason };
  }
  if (principal.scopes !== undefined) {
    const byScopes = decideByRules(principal.scopes, "the token", action, resource);
    if (!byScopes.allowed) return byScopes;
  }
  if (narrowing !== undefined) {
    const byLinks = decideByRules(narrowing, "the host's links", action, resource);
    if (!byLinks.allowed) return byLinks;
  }
  return { allowed: true, reason: byRoles.allowed ? byRoles.reason : said!.reason };
}

/** @returns isDenied: a rule says so, and nothing else may allow it */
function decideByRoles(book: RoleBook, principal: Principal, action: Action, resource: Resource): Decision & { isDenied: boolean } {
  const { roles } = principal;
  let allowedBy: { rule: Rule; role: Role } | undefined;
  for (const name of roles) {
    for (const role of book.sources(name)) {
      for (const rule of role.rules) {
        if (rule.effect === "allow" && allowedBy !== undefined) continue;
        if (!matches(rule, action, resource)) continue;
        if (rule.effect === "deny") return { allowed: false, isDenied: true, reason: reasonOf(rule, `role "${role.name}"`) };
        allowedBy = { rule, role };
      }
    }
  }
  if (allowedBy !== undefined)
    return { allowed: true, isDenied: false, reason: reasonOf(allowedBy.rule, `role "${allowedBy.role.name}"`) };
  if (isOwn(principal, action, resource)) return { allowed: true, isDenied: false, reason: "it is the user's own" };
  const whose = roles.length === 0 ? "there is no role" : `no rule of ${roles.join(", ")}`;
  return { allowed: false, isDenied: false, reason: `${whose} to allow ${action} of ${nameOf(resource)}` };
}

/**
 * What needs no role: users see themselves, and keep their own credentials (tokens, keys, sessions, password). A role may
 * deny it.
 */
function isOwn({ kind, name }: Principal, action: Action, resource: Resource): boolean {
  if (kind !== "user" || (resource.type !== "token" && resource.type !== "user") || resource.name !== name) return false;
  return action === "read" || (action === "manage" && resource.type === "token");
}

function decideByRules(rules: readonly Rule[], whose: string, action: Action, resource: Resource): Decision {
  let allowedBy: Rule | undefined;
  for (const rule of rules) {
    if (!matches(rule, action, resource)) continue;
    if (rule.effect === "deny") return { allowed: false, reason: reasonOf(rule, whose) };
    allowedBy ??= rule;
  }
  if (allowedBy !== undefined) return { allowed: true, reason: reasonOf(allowedBy, whose) };
  return { allowed: false, reason: `${whose} does not reach to ${action} of ${nameOf(resource)}` };
}

/**
 * Whether anything at or below a path is allowed. What all gates allow is a set of subtrees minus subtrees, so when
 * anything is allowed, the deepest of the path and of the prefixes that lead there is, too: only those are tried. Of a
 * policy one path of each of its patterns is: what it gives and no role does is reached if it is allowed there.
 */
export function reaches(
  book: RoleBook,
  principal: Principal,
  narrowing: readonly Rule[] | undefined,
  action: Action,
  space: string,
  path: RelPath,
  policy?: SpacePolicy,
): boolean {
  const tried = new Set<RelPath>([path]);
  const add = (rules: readonly Rule[]): void => {
    for (const rule of rules)
      if (rule.effect === "allow") for (const prefix of rule.prefixes ?? []) if (isWithin(prefix, path)) tried.add(prefix);
  };
  for (const name of principal.roles) for (const role of book.sources(name)) add(role.rules);
  add(principal.scopes ?? []);
  add(narrowing ?? []);
  // Who may put something into a bucket by its policy must see that it is there.
  const isSeenByWriting = policy !== undefined && action === "read" && principal.asking?.names.write !== undefined;
  if (policy !== undefined) for (const at of pathsBelow(policy.policy, principal, path)) tried.add(at);
  for (const at of tried) {
    const resource = { type: "space", space, path: at } as const;
    if (decide(book, principal, narrowing, action, resource, policy).allowed) return true;
    if (isSeenByWriting && decide(book, principal, narrowing, "write", resource, policy).allowed) return true;
  }
  return false;
}

function matches(rule: Rule, action: Action, resource: Resource): boolean {
  if (rule.resource !== "*" && rule.resource !== resource.type) return false;
  if (!rule.actions.includes(action) && !rule.actions.includes("*")) return false;
  if (rule.names !== undefined && !rule.names.some((pattern) => matchesName(pattern, plainName(resource)))) return false;
  if (rule.labels !== undefined) {
    if (resource.type !== "host" || !rule.labels.some((label) => resource.labels.includes(label))) return false;
  }
  if (rule.prefixes === undefined) return true;
  if (resource.type !== "space") return false;
  return rule.prefixes.some(
    (prefix) =>
      isWithin(resource.path, prefix) ||
      (rule.effect === "deny" && resource.isTree === true && isWithin(prefix, resource.path)),
  );
}

/** A "*" at the end stands for anything, also nothing; elsewhere it is a character like others. */
function matchesName(pattern: string, name: string): boolean {
  return pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

function plainName(resource: Resource): string {
  if (resource.type === "space") return resource.space;
  return resource.type === "host" ? resource.host : resource.name;
}

function nameOf(resource: Resource): string {
  const tail = resource.type === "space" && resource.path !== "" ? `/${resource.path}` : "";
  return `${resource.type} ${plainName(resource)}${tail}`;
}

function reasonOf(rule: Rule, whose: string): string {
  const limits = [
    rule.names === undefined ? "" : ` names ${rule.names.join(", ")}`,
    rule.prefixes === undefined ? "" : ` prefixes ${rule.prefixes.join(", ")}`,
    rule.labels === undefined ? "" : ` labels ${rule.labels.join(", ")}`,
  ];
  return `${whose}: ${rule.effect} ${rule.actions.join(", ")} of ${rule.resource}${limits.join("")}`;
}
