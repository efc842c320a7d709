/**
 * Reads a bucket's policy. Everything in it is understood, or all of it is refused: what nobody would look at must not
 * seem to hold. Pure.
 */
import { SynclineError } from "#model/error.ts";
import { USER_NAME } from "#access/access-store.ts";
import { type Condition, conditionOf } from "#access/policy/conditions.ts";
import { matchesGlob } from "#access/policy/glob.ts";
import { POLICY_ACTIONS, POLICY_OF_ROLES } from "#access/policy/policy-actions.ts";
import { type Policy, type Statement, USERNAME_VARIABLE } from "#access/policy/policy.ts";
import { repeatedName } from "#access/policy/unique-names.ts";

/** As in S3. */
export const POLICY_BYTES_MAX = 20 << 10;
const VERSIONS = ["2012-10-17", "2008-10-17"];
const STATEMENT_NAMES = new Set([
  "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition",
]);
const SID = /^[\x20-\x7e]{1,128}$/;
const USER_ARN = /^arn:aws[a-z-]*:iam::\d{0,12}:user\/(?:[\x21-\x2e\x30-\x7e]+\/)*([^/]+)$/;
const BUCKET_ARN = /^arn:aws[a-z-]*:s3:::([^/]*)(\/.+)?$/s;

const refused = (message: string): SynclineError =>
  new SynclineError({ code: "USAGE", op: "read policy", message, hint: "nothing was changed; correct the policy and put it again" });

type Json = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * @param bucket whose policy it is, which all its resources must name; undefined: it was looked at when it was put, and
 * the bucket may have got another name since
 * @throws {SynclineError} USAGE that says in words what is not understood
 */
export function parsePolicy(text: string, bucket: string | undefined): Policy {
  if (Buffer.byteLength(text) > POLICY_BYTES_MAX) throw refused(`a policy has up to ${POLICY_BYTES_MAX} bytes`);
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch {
    throw refused("the policy is no JSON");
  }
  const repeated = repeatedName(text);
  if (repeated !== undefined) throw refused(`"${repeated.slice(0, 60)}" is written twice in the same object`);
  if (!isObject(given)) throw refused("the policy is no object");
  const unknown = Object.keys(given).find((name) => !["Version", "Id", "Statement"].includes(name));
  if (unknown !== undefined) throw refused(`"${unknown.slice(0, 60)}" is not known here`);
  if (given["Id"] !== undefined && typeof given["Id"] !== "string") throw refused("Id is a text");
  const version = given["Version"] ?? "2008-10-17";
  if (!VERSIONS.includes(version as string)) throw refused(`Version is ${VERSIONS.join(" or ")}`);
  const hasVariables = version === VERSIONS[0];
  const list = Array.isArray(given["Statement"]) ? (given["Statement"] as unknown[]) : [given["Statement"]];
  if (list.length === 0) throw refused("the policy has no statement");
  const statements = list.map((one, at) => statementOf(one, at, { bucket, hasVariables }));
  const labels = new Set(statements.map(({ label }) => label));
  if (labels.size !== statements.length) throw refused("two statements have the same Sid");
  return { statements };
}

type Place = { readonly bucket: string | undefined; readonly hasVariables: boolean };

function statementOf(given: unknown, at: number, place: Place): Statement {
  if (!isObject(given)) throw refused("a statement is an object");
  const unknown = Object.keys(given).find((name) => !STATEMENT_NAMES.has(name));
  if (unknown !== undefined) throw refused(`"${unknown.slice(0, 60)}" is not known in a statement`);
  const sid = given["Sid"];
  if (sid !== undefined && (typeof sid !== "string" || !SID.test(sid))) throw refused("Sid is a text of up to 128 visible characters");
  const effect = given["Effect"];
  if (effect !== "Allow" && effect !== "Deny") throw refused("Effect is Allow or Deny");
  if (given["NotPrincipal"] !== undefined) {
    throw refused("NotPrincipal is not taken here: deny with a condition on aws:username, or name whom it is for in Principal");
  }
  const isAllow = effect === "Allow";
  const users = usersOf(given["Principal"]);
  const { patterns: actions, isNot: isNotAction } = oneOf(given, "Action", "NotAction");
  const resources = resourcesOf(given, place);
  const statement: Statement = {
    label: sid === undefined ? `statement ${at + 1}` : `statement "${sid}"`,
    isAllow,
    users,
    actions: actions.map((action) => action.toLowerCase()),
    isNotAction,
    ...resources,
    conditions: conditionsOf(given["Condition"], place),
  };
  checkActions(statement, actions);
  if (isAllow && users === undefined) checkPublic(statement);
  return statement;
}

/** A text or several of them, under one of two names. */
function oneOf(given: Json, name: string, notName: string): { patterns: readonly string[]; isNot: boolean } {
  const isNot = given[notName] !== undefined;
  if (isNot === (given[name] !== undefined)) throw refused(`a statement has either ${name} or ${notName}`);
  return { patterns: textsOf(isNot ? given[notName] : given[name], isNot ? notName : name), isNot };
}

function textsOf(given: unknown, what: string): readonly string[] {
  const list = Array.isArray(given) ? (given as unknown[]) : [given];
  if (list.length === 0 || !list.every((one): one is string => typeof one === "string" && one !== "")) {
    throw refused(`${what} is a text, or a list of texts`);
  }
  return list;
}

/** Undefined: everybody. Whether there are such users is not asked here. */
function usersOf(given: unknown): ReadonlySet<string> | undefined {
  if (given === "*") return undefined;
  if (!isObject(given) || Object.keys(given).join() !== "AWS") {
    throw refused('Principal is "*", or {"AWS": users}: other kinds of principals are not known here');
  }
  const names = textsOf(given["AWS"], "Principal");
  if (names.includes("*")) {
    if (names.length > 1) throw refused('Principal has "*" beside names');
    return undefined;
  }
  return new Set(
    names.map((text) => {
      const name = USER_ARN.exec(text)?.[1] ?? text;
      if (USER_NAME.test(name)) return name;
      throw refused(`"${text.slice(0, 100)}" is no user of this hub: name one, or write arn:aws:iam:::user/NAME`);
    }),
  );
}

/** Names of users that a policy speaks of. */
export function usersIn({ statements }: Policy): string[] {
  return [...new Set(statements.flatMap(({ users }) => [...(users ?? [])]))];
}

function resourcesOf(given: Json, place: Place): Pick<Statement, "hasBucket" | "keys" | "isNotResource"> {
  const { patterns, isNot } = oneOf(given, "Resource", "NotResource");
  let hasBucket = false;
  const keys: string[] = [];
  for (const text of patterns) {
    if (text === "*") {
      hasBucket = true;
      keys.push("*");
      continue;
    }
    const [, bucket, key] = BUCKET_ARN.exec(text) ?? [];
    const isOwn = bucket !== undefined && (place.bucket === undefined ? bucket !== "" : bucket === place.bucket);
    if (!isOwn) throw refused(`"${text.slice(0, 100)}" is not this bucket or keys of it: arn:aws:s3:::${place.bucket ?? "BUCKET"}/…`);
    if (key === undefined) hasBucket = true;
    else keys.push(checkVariables(key.slice(1), place));
  }
  return { hasBucket, keys, isNotResource: isNot };
}

/** Only the name of the user can be put in. */
function checkVariables(text: string, { hasVariables }: Place): string {
  const rest = text.replaceAll(USERNAME_VARIABLE, "");
  if (rest.includes("${") || (!hasVariables && rest !== text)) {
    throw refused(`of variables only ${USERNAME_VARIABLE} is known here, and only with "Version": "${VERSIONS[0]}"`);
  }
  return text;
}

function conditionsOf(given: unknown, place: Place): Condition[] {
  if (given === undefined) return [];
  if (!isObject(given)) throw refused("Condition is an object");
  return Object.entries(given).flatMap(([operator, asked]) => {
    if (!isObject(asked) || Object.keys(asked).length === 0) throw refused(`${operator.slice(0, 60)} takes an object of keys and values`);
    return Object.entries(asked).map(([key, value]) => {
      const list = (Array.isArray(value) ? (value as unknown[]) : [value]).map((one) => {
        if (!["string", "number", "boolean"].includes(typeof one)) throw refused(`a value of ${key.slice(0, 60)} is no text`);
        return checkVariables(String(one), place);
      });
      const condition = conditionOf(operator, key, list);
      if (typeof condition === "string") throw refused(condition.slice(0, 300));
      return condition;
    });
  });
}

/** Each name must be one that can be asked of the resources, and that a policy has a say in. */
function checkActions({ isAllow, isNotAction, hasBucket, keys, isNotResource }: Statement, written: readonly string[]): void {
  for (const text of written) {
    const pattern = text.toLowerCase();
    const known = [...POLICY_ACTIONS].filter(([name]) => matchesGlob(pattern, name.toLowerCase()));
    const isExact = !/[*?]/.test(text);
    if (isExact && [...POLICY_OF_ROLES].some((name) => name.toLowerCase() === pattern)) {
      throw refused(`${text}: who sees and changes a policy is said by the roles of the hub alone`);
    }
    if (known.length === 0) throw refused(`the action "${text.slice(0, 100)}" is not known here`);
    if (isAllow && !isNotAction && known.every(([, { level }]) => level === "manage")) {
      throw refused(`${text.slice(0, 100)} takes the hub's right to manage the space, which no policy gives`);
    }
    const fits = known.some(([, { on }]) => (on === "bucket" ? hasBucket : keys.length > 0));
    if (!isNotAction && !isNotResource && !fits) {
      const wanted = known[0]![1].on === "bucket" ? "the bucket itself (arn:aws:s3:::BUCKET)" : "keys (arn:aws:s3:::BUCKET/…)";
      throw refused(`${text.slice(0, 100)} is done to ${wanted}, which the statement does not name`);
    }
  }
}

/** Everybody may be given reading, nothing else. */
function checkPublic({ actions, isNotAction }: Statement): void {
  const isWide = [...POLICY_ACTIONS].some(
    ([name, { level }]) => level !== "read" && actions.some((pattern) => matchesGlob(pattern, name.toLowerCase())) !== isNotAction,
  );
  if (isWide) throw refused("everybody (Principal *) can only be allowed to read: name the actions, like s3:GetObject and s3:ListBucket");
}
