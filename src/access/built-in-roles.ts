/**
 * The roles that are always there. Their names cannot be taken by others, and what they allow does not change with a
 * configuration.
 *
 * | role     | may |
 * |----------|-----|
 * | admin    | everything |
 * | operator | see everything; run spaces, hosts and jobs; not change who may do what, nor the hub's own settings |
 * | writer   | read, change and restore what is in spaces; see hosts and jobs |
 * | reader   | read what is in spaces; see hosts and jobs |
 * | agent    | read and change what is in the spaces that its host's links lead to; nothing without a link |
 */
import type { Role } from "#access/access.ts";

const seesFleet = { effect: "allow", actions: ["read"] } as const;

export const BUILT_IN_ROLES: readonly Role[] = [
  { name: "admin", includes: [], rules: [{ effect: "allow", resource: "*", actions: ["*"] }] },
  {
    name: "operator",
    includes: [],
    rules: [
      { effect: "allow", resource: "*", actions: ["read"] },
      { effect: "allow", resource: "space", actions: ["*"] },
      { effect: "allow", resource: "host", actions: ["*"] },
      { effect: "allow", resource: "job", actions: ["*"] },
    ],
  },
  {
    name: "writer",
    includes: ["reader"],
    rules: [{ effect: "allow", resource: "space", actions: ["write", "restore"] }],
  },
  {
    name: "reader",
    includes: [],
    rules: [
      { effect: "allow", resource: "space", actions: ["read"] },
      { ...seesFleet, resource: "host" },
      { ...seesFleet, resource: "job" },
    ],
  },
  { name: "agent", includes: [], rules: [{ effect: "allow", resource: "space", actions: ["read", "write"] }] },
];
