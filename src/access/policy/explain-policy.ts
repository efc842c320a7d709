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
    const said = policySays(policy, { ...who, asking }, action, resource);
    const ifs = policySays(withoutConditions(policy), { ...who, asking }, action, resource);
    if (said !== undefined && said.isAllow === ifs?.isAllow && said.reason === ifs.reason) return said.reason;
    if (ifs === undefined) return `the bucket's policy says nothing of ${name}`;
    return `${ifs.reason}, where its conditions hold`;
  });
  return lines.length === 0 ? "" : `over S3: ${lines.join("; ")}`;
}

const withoutConditions = ({ statements }: Policy): Policy => ({
  statements: statements.map((statement) => ({ ...statement, conditions: [] })),
});
