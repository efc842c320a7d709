/**
 * A bucket's policy, read and understood: what it says to one who asks for something. Pure. What it says is one voice in
 * the decision (decide.ts), which weighs it with the roles; nobody else asks it.
 */
import type { Action, Principal, Resource } from "#access/access.ts";
import { type Condition, type Fact, holds } from "#access/policy/conditions.ts";
import { coversTree, exampleBelow, matchesGlob } from "#access/policy/glob.ts";
import { POLICY_ACTIONS } from "#access/policy/policy-actions.ts";

export const USERNAME_VARIABLE = "${aws:username}";

/** What a request of S3 does, in the words of policies. */
export type Asking = {
  /**
   * What each action of the hub is called in this request; several: all of them must be allowed. An action without a
   * name is one that policies have no say in.
   */
  readonly names: { readonly [A in Action]?: readonly string[] | undefined };
  /** The key that is asked for; "" for the bucket itself. */
  readonly key: string;
  readonly fact: Fact;
};

export type Statement = {
  /** Its Sid, or "#2" for the second: for people. */
  readonly label: string;
  readonly isAllow: boolean;
  /** Names of users; undefined: everybody, also who has not signed in. */
  readonly users: ReadonlySet<string> | undefined;
  /** Patterns in lower case, the case of actions does not count. */
  readonly actions: readonly string[];
  readonly isNotAction: boolean;
  /** The bucket itself is among the resources. */
  readonly hasBucket: boolean;
  /** Patterns of keys. */
  readonly keys: readonly string[];
  readonly isNotResource: boolean;
  readonly conditions: readonly Condition[];
};

export type Policy = { readonly statements: readonly Statement[] };

/** The voice of a policy; undefined: it has none here. */
export type Said = { readonly isAllow: boolean; readonly reason: string } | undefined;

type SpaceResource = Extract<Resource, { type: "space" }>;

/** What is asked of a statement: an action by its name, done to the bucket or to a key. */
type Question = {
  readonly name: string;
  readonly on: "bucket" | "object";
  readonly key: string;
  readonly isTree: boolean;
};

/** Other doors have no such names: there, what may be read may be listed, and what may be written may be removed. */
const NAMES_ELSEWHERE: { readonly [A in Action]?: readonly string[] } = {
  read: ["s3:GetObject", "s3:ListBucket"],
  write: ["s3:PutObject", "s3:DeleteObject"],
  restore: ["s3:PutObject", "s3:DeleteObject"],
};

/**
 * What a policy says of an action on its space.
 *
 * Of a request of S3 it says what is written there. At every other door it only denies, and only by statements without
 * conditions, because those are about requests of S3. Hosts go by their links, and the hub's own work by nothing.
 */
export function policySays({ statements }: Policy, who: Principal, action: Action, resource: SpaceResource): Said {
  if (who.kind === "agent" || who.kind === "system") return undefined;
  const { asking } = who;
  const names = (asking === undefined ? NAMES_ELSEWHERE : asking.names)[action] ?? [];
  let allowedBy: Statement | undefined;
  let isAllowed = names.length > 0 && asking !== undefined && action !== "manage";
  for (const name of names) {
    const question = questionOf(name, resource, asking);
    const denies = statements.find((one) => !one.isAllow && speaksTo(one, who, question));
    if (denies !== undefined) return { isAllow: false, reason: `the bucket's policy, ${denies.label}: deny ${name}` };
    const allows = isAllowed ? statements.find((one) => one.isAllow && speaksTo(one, who, question)) : undefined;
    allowedBy ??= allows;
    isAllowed &&= allows !== undefined;
  }
  if (!isAllowed) return undefined;
  return { isAllow: true, reason: `the bucket's policy, ${allowedBy!.label}: allow ${names.join(", ")}` };
}

function questionOf(name: string, { path, isTree = false }: SpaceResource, asking: Asking | undefined): Question {
  const on = POLICY_ACTIONS.get(name)?.on ?? (asking?.key === "" ? "bucket" : "object");
  // A directory is asked for by a key with a slash behind it.
  const key = asking !== undefined && asking.key === `${path}/` ? asking.key : path;
  return { name: name.toLowerCase(), on, key, isTree };
}

function speaksTo(statement: Statement, who: Principal, question: Question): boolean {
  const { asking } = who;
  const { isAllow, users, actions, isNotAction, conditions } = statement;
  if (asking === undefined && conditions.length > 0) return false;
  if (users !== undefined && (who.kind !== "user" || !users.has(who.name))) return false;
  if (actions.some((pattern) => matchesGlob(pattern, question.name)) === isNotAction) return false;
  const fill = filler(who);
  if (!isAbout(statement, question, isAllow, fill)) return false;
  return conditions.every((condition) => holds(condition, asking!.fact, fill));
}

/** Puts the user's name where a text has the variable for it. */
function filler(who: Principal): (text: string) => string | undefined {
  return (text) => {
    if (!text.includes(USERNAME_VARIABLE)) return text;
    return who.kind === "user" ? text.replaceAll(USERNAME_VARIABLE, who.name) : undefined;
  };
}

/** Is what is asked for among the resources? Of a whole tree: for an allow all of it, for a deny any of it. */
function isAbout(
  { hasBucket, keys, isNotResource }: Statement,
  { on, key, isTree }: Question,
  isAllow: boolean,
  fill: (text: string) => string | undefined,
): boolean {
  if (on === "bucket") return hasBucket !== isNotResource;
  const filled = keys.map(fill).filter((pattern) => pattern !== undefined);
  const isIn = (pattern: string): boolean => matchesGlob(pattern, key);
  if (!isTree) return filled.some(isIn) !== isNotResource;
  const isAnyIn = filled.some((pattern) => isIn(pattern) || exampleBelow(pattern, below(key)) !== undefined);
  const isAllIn = filled.some((pattern) => coversTree(pattern, key));
  if (isNotResource) return isAllow ? !isAnyIn : !isAllIn;
  return isAllow ? isAllIn : isAnyIn;
}

const below = (path: string): string => (path === "" ? "" : `${path}/`);

/** Paths below one at which a policy may say something else than there: one for each of its patterns. */
export function pathsBelow({ statements }: Policy, who: Principal, path: string): Set<string> {
  const fill = filler(who);
  const patterns = statements.flatMap(({ keys }) => keys.map(fill).filter((pattern) => pattern !== undefined));
  return new Set(patterns.map((pattern) => exampleBelow(pattern, below(path))).filter((example) => example !== undefined));
}

/** Does any statement allow something to everybody? */
export function isPublicPolicy({ statements }: Policy): boolean {
  return statements.some(({ isAllow, users }) => isAllow && users === undefined);
}
