/**
 * Who may do what: the one place that decides. Doors authenticate with it and hand the Principal on; SpaceService and
 * the other services ask `decide` for every call, so a door cannot forget to.
 */
import type { RelPath } from "#model/path.ts";
import type { Asking } from "#access/policy/policy.ts";

/** Who is asking. Made by access/ alone, from a credential that was verified; handlers never make one themselves. */
export type Principal = {
  /** "user:ann", "agent:web1", "system:prune", "anonymous". Also the actor in journal and audit. */
  readonly id: string;
  /** "anonymous": nobody who has signed in; reads what a policy gives to everybody, in a bucket that may be public. */
  readonly kind: "user" | "agent" | "system" | "anonymous";
  readonly name: string;
  /** Roles of the user and of the groups it is in. */
  readonly roles: readonly string[];
  /** A token may be narrower than its user: both must allow. Undefined: no narrowing. */
  readonly scopes: readonly Rule[] | undefined;
  /** What is asked of S3 with it, which policies of buckets go by. Absent: it came by another door. */
  readonly asking?: Asking | undefined;
};

export const ACTIONS = [
  "read", // content, entries, versions, journal of a space; state of anything else
  "write", // changes of content
  "restore", // restore and rollback
  "approve", // holds
  "manage", // settings, creation, removal, credentials
] as const;

/** What is done; a rule may name one, or "*". */
export type Action = (typeof ACTIONS)[number];

export const RESOURCE_TYPES = ["space", "host", "job", "user", "token", "role", "audit", "config", "hub"] as const;

export type Resource =
  | {
      readonly type: "space";
      readonly space: string;
      readonly path: RelPath;
      /** With everything below the path, as for a removal or a move: a deny anywhere below refuses it. */
      readonly isTree?: boolean | undefined;
    }
  /** Hosts with their agents and links. */
  | { readonly type: "host"; readonly host: string; readonly labels: readonly string[] }
  | { readonly type: "job" | "user" | "token" | "role" | "audit" | "config" | "hub"; readonly name: string };

/** Default is deny; a deny that matches wins over every allow. */
export type Rule = {
  readonly effect: "allow" | "deny";
  /** Type of resource, or "*". */
  readonly resource: Resource["type"] | "*";
  readonly actions: readonly (Action | "*")[];
  /** Of the resource ("web-*" matches the beginning); undefined: all. */
  readonly names?: readonly string[] | undefined;
  /** The rule is for spaces, at and below these paths only; undefined: all. */
  readonly prefixes?: readonly string[] | undefined;
  /** The rule is for hosts with one of these labels only; undefined: all. */
  readonly labels?: readonly string[] | undefined;
};

export type Role = { readonly name: string; readonly rules: readonly Rule[]; readonly includes: readonly string[] };

export type Decision = {
  readonly allowed: boolean;
  /** For people: the rule that decided, and of which role or token; or that none matched. */
  readonly reason: string;
};

/**
 * What authenticates. `address` is the peer's, as the socket tells it; failures are counted by it, so that guessing is
 * slowed down over all doors together.
 */
export type Credential =
  | { readonly type: "password"; readonly user: string; readonly password: string; readonly address: string }
  | { readonly type: "token"; readonly token: string; readonly address: string }
  /** The cookie of a session of the console. */
  | { readonly type: "session"; readonly cookie: string; readonly address: string }
  /**
   * A request signed with an S3 key. `verify` is called once, with the secret key or, when there is no such access key,
   * with one that nobody has; it says whether the signature is right, and must compare in constant time.
   */
  | {
      readonly type: "s3";
      readonly accessKey: string;
      readonly address: string;
      readonly verify: (secretKey: string) => boolean;
    }
  /** A public key (its SSH wire form) whose private key the connection has proved to hold. */
  | { readonly type: "ssh-key"; readonly user: string; readonly key: Uint8Array; readonly address: string }
  /** A user certificate of OpenSSH (its wire form), whose key the connection has proved to hold. */
  | {
      readonly type: "ssh-certificate";
      readonly user: string;
      readonly certificate: Uint8Array;
      /** Whose certificates are taken: public keys in their wire form. */
      readonly authorities: readonly Uint8Array[];
      readonly address: string;
    }
  /** A client certificate of this hub's authority, whose private key the connection has proved. PEM or DER. */
  | { readonly type: "certificate"; readonly certificate: string | Uint8Array };

export interface Access {
  /**
   * @throws {SynclineError} AUTH with a hint; the same message whether the user exists or not. `retryable` when it was
   * refused for earlier failures without being looked at
   */
  authenticate(credential: Credential): Promise<Principal>;
  decide(principal: Principal, action: Action, resource: Resource): Decision;
  /** @throws {SynclineError} DENIED with the decision's reason, unless allowed */
  require(principal: Principal, action: Action, resource: Resource): void;
  /** Whether anything at or below the path is allowed: what may be listed on the way to it. */
  reaches(principal: Principal, action: Action, space: string, path: RelPath): boolean;
}

/** The same, in a request of S3: what policies say of it counts from then on. */
export function askingAs(who: Principal, asking: Asking): Principal & { readonly asking: Asking } {
  return { ...who, asking };
}

/** Who has not signed in. */
export const ANONYMOUS: Principal = { id: "anonymous", kind: "anonymous", name: "anonymous", roles: [], scopes: undefined };

/** For work of the hub itself. */
export function systemPrincipal(name: string): Principal {
  return { id: `system:${name}`, kind: "system", name, roles: [], scopes: undefined };
}
