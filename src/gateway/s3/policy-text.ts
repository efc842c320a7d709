/** Where the policy of a bucket is kept, and whether it may be public: what access/ is told of a space. */
import type { PolicyText } from "#access/policy/space-policies.ts";
import type { HubConfig } from "#config/hub-config.ts";
import type { Attributes } from "#hub/attributes.ts";

/** As it was put. */
export const POLICY = "s3.policy";
/** What somebody has closed of what the operator leaves open: "policy", "public" or both, with a comma. */
export const CLOSED = "s3.public-access-block";

export function policyTextOf(doors: Attributes | undefined, space: string, { s3PublicBuckets = [] }: HubConfig): PolicyText | undefined {
  const text = doors?.[POLICY];
  if (text === undefined) return undefined;
  return { text, mayBePublic: s3PublicBuckets.includes(space) && !closedIn(doors).has("public") };
}

export type Closed = "policy" | "public";

export function closedIn(doors: Attributes | undefined): ReadonlySet<Closed> {
  return new Set((doors?.[CLOSED] ?? "").split(",") as Closed[]);
}
