/** The policy of a form: what may be sent with it, and until when. Every field must be covered by it. Pure. */
import { S3Error } from "#gateway/s3/s3-error.ts";

const POLICY_CONDITIONS_MAX = 200;

/** Fields that need no condition: the file, and the policy with what signs it. */
const FREE = /^(file|policy|x-amz-signature|awsaccesskeyid|signature|x-ignore-.*)$/;

export type SizeRange = { readonly min: number; readonly max: number };

const refused = (message: string): S3Error => new S3Error("AccessDenied", `the policy does not allow it: ${message}`);
const invalid = (message: string): S3Error => new S3Error("InvalidPolicyDocument", message);

/**
 * Does the policy allow a form with these fields (by lower-case name; the bucket is one of them)?
 * @returns what it says of the size of the file
 * @throws {S3Error} AccessDenied, InvalidPolicyDocument
 */
export function checkPolicy(base64: string, fields: ReadonlyMap<string, string>, nowMs: number): SizeRange {
  const { expiration, conditions } = parsePolicy(base64);
  if (!(Date.parse(expiration) > nowMs)) throw refused("it has expired");
  const covered = new Set<string>();
  const range = { min: 0, max: Number.MAX_SAFE_INTEGER };
  for (const condition of conditions) {
    for (const [kind, name, value] of normalised(condition)) {
      if (kind === "content-length-range") {
        range.min = Math.max(range.min, Number(name));
        range.max = Math.min(range.max, Number(value));
        if (Number.isNaN(range.min) || Number.isNaN(range.max)) throw invalid("content-length-range takes two numbers");
        continue;
      }
      const given = fields.get(name) ?? "";
      const holds = kind === "eq" ? given === value : startsWith(name, given, value);
      if (!holds) throw refused(`the field ${name} is not what it must be`);
      covered.add(name);
    }
  }
  for (const name of fields.keys()) {
    if (!FREE.test(name) && name !== "bucket" && !covered.has(name)) throw refused(`nothing is said of the field ${name}`);
  }
  return range;
}

/** A content type may be a list, of which each must fit. */
function startsWith(name: string, given: string, value: string): boolean {
  return name === "content-type" ? given.split(",").every((one) => one.trim().startsWith(value)) : given.startsWith(value);
}

type Condition = readonly [kind: "eq" | "starts-with" | "content-length-range", name: string, value: string];

function normalised(condition: unknown): Condition[] {
  if (Array.isArray(condition)) {
    const [kind, name, value] = condition as unknown[];
    const lower = typeof kind === "string" ? kind.toLowerCase() : "";
    if (condition.length !== 3) throw invalid("a condition that is a list has three items");
    if (lower === "content-length-range") return [[lower, String(name), String(value)]];
    const isRight = (lower === "eq" || lower === "starts-with") && typeof name === "string" && typeof value === "string";
    if (!isRight || !name.startsWith("$")) throw invalid("a condition is not well formed");
    return [[lower as "eq" | "starts-with", name.slice(1).toLowerCase(), value]];
  }
  if (condition === null || typeof condition !== "object") throw invalid("a condition is not well formed");
  return Object.entries(condition).map(([name, value]): Condition => {
    if (typeof value !== "string") throw invalid("a condition compares with a text");
    return ["eq", name.toLowerCase(), value];
  });
}

function parsePolicy(base64: string): { expiration: string; conditions: unknown[] } {
  let policy: unknown;
  try {
    policy = JSON.parse(Buffer.from(base64, "base64").toString());
  } catch {
    throw invalid("the policy is no JSON in base64");
  }
  const { expiration, conditions } = (policy ?? {}) as { expiration?: unknown; conditions?: unknown };
  if (typeof expiration !== "string" || Number.isNaN(Date.parse(expiration))) throw invalid("the policy has no expiration");
  if (!Array.isArray(conditions) || conditions.length > POLICY_CONDITIONS_MAX) throw invalid("the policy has no conditions");
  return { expiration, conditions };
}
