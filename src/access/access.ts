/**
 * Who may do what: the one place that decides. Doors authenticate with it and hand the Principal on; SpaceService and
 * the other services ask `decide` for every call, so a door cannot forget to.
 */
import type { RelPath } from "#model/path.ts";

/** Who is asking. Made by access/ alone, from a credential that was verified; handlers never make one themselves. */
export type Principal = {
  /** "user:ann", "agent:web1", "system:prune". Also the actor in journal and audit. */
  readonly id: string;
  readonly kind: "user" | "agent" | "system";
  readonly name: string;
  /** Roles of the user and of the groups it is in. */
  readonly roles: readonly string[];
  /** A token may be narrower than its user: both must allow. Undefined: no narrowing. */
  readonly scopes: readonly Rule[] | undefined;
};

/** What is done; a rule may name one, or "*". */
export type Action =
  | "read" // content, entries, versions, journal of a space; state of anything else
  | "write" // changes of content
  | "restore" // restore and rollback
  | "approve" // holds
  | "manage"; // settings, creation, removal, credentials

export type Resource =
  | { readonly type: "space"; readonly space: string; readonly path: RelPath }
  /** Hosts with their agents and links. */
  | { readonly type: "host"; readonly host: string; readonly labels: readonly string[] }
  | { readonly type: "job" | "user" | "token" | "role" | "audit" | "config" | "hub"; readonly name: string };

/** Default is deny; a deny that matches wins over every allow. */
export type Rule = {
  readonly effect: "allow" | "deny";
  /** Type of resource, or "*". */
  readonly resource: Resource["type"] | "*";
  readonly actions: readonly (Action | "*")[];
  /** Space or host by name ("web-*" matches the beginning); undefined: all. */
  readonly names?: readonly string[] | undefined;
  /** Spaces: only at and below these paths; undefined: all. */
  readonly prefixes?: readonly string[] | undefined;
  /** Hosts: only those with one of these labels; undefined: all. */
  readonly labels?: readonly string[] | undefined;
};

export type Role = { readonly name: string; readonly rules: readonly Rule[]; readonly includes: readonly string[] };

export type Decision = {
  readonly allowed: boolean;
  /** For people: the rule that decided, and of which role or token; or that none matched. */
  readonly reason: string;
};

/**
 * What authenticates. Passwords come from doors with logins; `address` counts failures, so that guessing is slowed down
 * over all doors together.
 */
export type Credential =
  | { readonly type: "password"; readonly user: string; readonly password: string; readonly address: string }
  | { readonly type: "token"; readonly token: string; readonly address: string }
  /** A client certificate of this hub's authority, whose private key the connection has proved. PEM or DER. */
  | { readonly type: "certificate"; readonly certificate: string | Uint8Array };

export interface Access {
  /** @throws {SynclineError} AUTH with a hint; the same message whether the user exists or not */
  authenticate(credential: Credential): Promise<Principal>;
  decide(principal: Principal, action: Action, resource: Resource): Decision;
  /** May they read anything at all of a space? One of which they may read nothing does not exist for them. */
  seesAny(principal: Principal, space: string): boolean;
  /** Do rules with prefixes apply to them in a space, so that each path has to be asked about by itself? */
  isPartial(principal: Principal, space: string): boolean;
  /** @throws {SynclineError} DENIED with the decision's reason, unless allowed */
  require(principal: Principal, action: Action, resource: Resource): void;
}

/** For work of the hub itself. */
export function systemPrincipal(name: string): Principal {
  return { id: `system:${name}`, kind: "system", name, roles: [], scopes: undefined };
}
