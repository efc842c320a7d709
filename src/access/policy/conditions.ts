/**
 * Conditions of a statement: which there are, and whether they hold for what a request says of itself. An operator or a
 * key that is not in the tables makes a policy unusable: a condition that nobody looks at would be a hole. Pure.
 */
import { addressRange } from "#platform/net/address-range.ts";
import { matchesGlob } from "#access/policy/glob.ts";

export type FactType = "text" | "number" | "truth" | "address" | "time";

/** What a condition may ask for; keys of S3 in lower case, because their case does not count. */
export const FACT_TYPES: Readonly<Record<string, FactType>> = {
  "aws:currenttime": "time",
  "aws:epochtime": "number",
  "aws:referer": "text",
  "aws:securetransport": "truth",
  "aws:sourceip": "address",
  "aws:useragent": "text",
  "aws:username": "text",
  "s3:authtype": "text",
  "s3:delimiter": "text",
  "s3:max-keys": "number",
  "s3:prefix": "text",
  "s3:signatureversion": "text",
  "s3:versionid": "text",
  "s3:x-amz-acl": "text",
  "s3:x-amz-content-sha256": "text",
  "s3:x-amz-copy-source": "text",
  "s3:x-amz-metadata-directive": "text",
  "s3:x-amz-server-side-encryption": "text",
  "s3:x-amz-server-side-encryption-customer-algorithm": "text",
  "s3:x-amz-storage-class": "text",
};

/** What a request says of itself: the value of a key in lower case; undefined: nothing. */
export type Fact = (key: string) => string | undefined;

type Compare = (fact: string, value: string) => boolean;

type Operator = {
  readonly types: readonly FactType[];
  /** Holds where none of the values fits, and where the request says nothing. */
  readonly isNegated: boolean;
  readonly compare: Compare;
};

const TEXTS = ["text"] as const;
const NUMBERS = ["number"] as const;
const TIMES = ["time"] as const;

const same: Compare = (a, b) => a === b;
const sameInAnyCase: Compare = (a, b) => a.toLowerCase() === b.toLowerCase();
const like: Compare = (fact, value) => matchesGlob(value, fact);
const isInRange: Compare = (fact, value) => addressRange(value)?.(fact) === true;
const byNumber = (holds: (order: number) => boolean): Compare => (a, b) => holds(Number(a) - Number(b));
const byTime = (holds: (order: number) => boolean): Compare => (a, b) => holds(Date.parse(a) - Date.parse(b));

const positive = (types: readonly FactType[], compare: Compare): Operator => ({ types, compare, isNegated: false });
const negated = (types: readonly FactType[], compare: Compare): Operator => ({ types, compare, isNegated: true });

const ORDERS = {
  Equals: (order: number) => order === 0,
  LessThan: (order: number) => order < 0,
  LessThanEquals: (order: number) => order <= 0,
  GreaterThan: (order: number) => order > 0,
  GreaterThanEquals: (order: number) => order >= 0,
} as const;

const ordered = (name: string, types: readonly FactType[], by: (holds: (order: number) => boolean) => Compare): [string, Operator][] => [
  ...Object.entries(ORDERS).map(([order, holds]): [string, Operator] => [`${name}${order}`, positive(types, by(holds))]),
  [`${name}NotEquals`, negated(types, by(ORDERS.Equals))],
];

const OPERATORS: ReadonlyMap<string, Operator> = new Map([
  ["StringEquals", positive(TEXTS, same)],
  ["StringNotEquals", negated(TEXTS, same)],
  ["StringEqualsIgnoreCase", positive(TEXTS, sameInAnyCase)],
  ["StringNotEqualsIgnoreCase", negated(TEXTS, sameInAnyCase)],
  ["StringLike", positive(TEXTS, like)],
  ["StringNotLike", negated(TEXTS, like)],
  ["Bool", positive(["truth"], same)],
  ["IpAddress", positive(["address"], isInRange)],
  ["NotIpAddress", negated(["address"], isInRange)],
  ...ordered("Numeric", NUMBERS, byNumber),
  ...ordered("Date", TIMES, byTime),
]);

export type Condition = {
  readonly key: string;
  /** Undefined: it asks whether the request says anything of the key ("Null"). */
  readonly operator: Operator | undefined;
  /** Where the request says nothing of the key, it holds. */
  readonly isIfExists: boolean;
  readonly values: readonly string[];
};

/**
 * @param name of the operator, as it is written
 * @param values as texts
 * @returns the condition, or in words what is wrong with it
 */
export function conditionOf(name: string, key: string, values: readonly string[]): Condition | string {
  if (name.includes(":")) return `conditions over sets ("${name}") are not known here`;
  const isIfExists = name.endsWith("IfExists") && name !== "Null";
  const lower = key.toLowerCase();
  const type = FACT_TYPES[lower];
  if (type === undefined) return `the condition key "${key}" is not known here`;
  if (name === "Null") {
    const isTruth = values.length === 1 && isValue("truth", values[0]!);
    return isTruth ? { key: lower, operator: undefined, isIfExists, values } : 'Null takes "true" or "false"';
  }
  const operator = OPERATORS.get(isIfExists ? name.slice(0, -"IfExists".length) : name);
  if (operator === undefined) return `the condition operator "${name}" is not known here`;
  if (!operator.types.includes(type)) return `"${name}" cannot be asked of "${key}"`;
  const wrong = values.find((value) => !isValue(type, value));
  if (wrong !== undefined || values.length === 0) return `"${wrong ?? ""}" is no value for "${key}"`;
  return { key: lower, operator, isIfExists, values };
}

/** Is it a value that can be compared with facts of that type? */
function isValue(type: FactType, value: string): boolean {
  switch (type) {
    case "text":
      return true;
    case "truth":
      return value === "true" || value === "false";
    case "number":
      return /^-?\d{1,15}(\.\d{1,6})?$/.test(value);
    case "time":
      return /^\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)$/.test(value) && !Number.isNaN(Date.parse(value));
    case "address":
      return addressRange(value) !== undefined;
  }
}

/** @param fill puts what is variable into a value; undefined: the request has nothing to put there */
export function holds(condition: Condition, fact: Fact, fill: (text: string) => string | undefined): boolean {
  const { key, operator, isIfExists, values } = condition;
  const said = fact(key);
  if (operator === undefined) return (said === undefined) === (values[0] === "true");
  if (said === undefined) return isIfExists || operator.isNegated;
  const fits = values.some((value) => {
    const filled = fill(value);
    return filled !== undefined && operator.compare(said, filled);
  });
  return fits !== operator.isNegated;
}
