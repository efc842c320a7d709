/** What a bucket's policy says, for people who ask why: over S3, where it has its full voice. Pure. */
import type { Action, Principal, Resource } from "#access/access.ts";
import { type Asking, type Policy, policySays } from "#access/policy/policy.ts";

/** What people mean by an action where they do not name the request. */
const NAMES: { readonly [A in Action]?: readonly string[] } = {
  read: ["s3:GetObject", "s3:ListBucket"],
  write: ["s3:PutObject", "s3:DeleteObject"],
};

/** One sentence for what the policy says of each name; "" when it has no say in the action. */
export function explainPolicy(policy: Policy, who: Principal, action: Action, resource: Extract<Resource, { type: "space" }>): string {
  const lines = (NAMES[action] ?? []).map((name) => {
    const asking: Asking = { names: { [action]: [name] }, key: "", fact: () => undefined };
    const ask = (asked: Policy): string => policySays(asked, { ...who, asking }, action, resource)?.reason ?? `nothing of ${name}`;
    const always = ask({ statements: policy.statements.filter(({ conditions }) => conditions.length === 0) });
    const sometimes = ask({ statements: policy.statements.map((statement) => ({ ...statement, conditions: [] })) });
    return always === sometimes ? always : `${sometimes}, where its conditions hold, and otherwise ${always}`;
  });
  return lines.length === 0 ? "" : `the bucket's policy says over S3: ${lines.join("; ")}`;
}
