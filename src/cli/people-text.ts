/** Users, roles, sessions and audit records as a person reads them. Pure. */
import type { AuditJson } from "#gateway/api/routes-audit.ts";
import type { GroupJson, UserJson } from "#gateway/api/routes-access.ts";
import type { RoleJson } from "#gateway/api/routes-roles.ts";
import type { SessionJson } from "#gateway/api/routes-sessions.ts";
import { printablePath } from "#model/path.ts";
import { formatAgo, formatMoment, tableLines } from "#cli/format.ts";
import type { Paint } from "#cli/screen.ts";

const listed = (words: readonly string[], none: string): string => (words.length === 0 ? none : words.map(printablePath).join(" "));

export function userLines(users: readonly UserJson[], paint: Paint): string[] {
  return tableLines(
    users.map(({ name, roles, groups, disabled, hasPassword, oidc }) => [
      disabled ? paint.dim(name) : paint.bold(name),
      disabled ? paint.red("disabled") : hasPassword ? "password" : oidc === "none" ? paint.dim("no password") : "provider",
      listed(roles, paint.dim("no roles")),
      groups.length === 0 ? "" : `in ${listed(groups, "")}`,
    ]),
  );
}

/** @param nowMs wall clock */
export function userFacts(user: UserJson, nowMs: number, paint: Paint): string[] {
  const { name, roles, groups, disabled, hasPassword, oidc, created } = user;
  return tableLines([
    ["user", paint.bold(name)],
    ["state", disabled ? paint.red("disabled: nothing lets it in") : paint.green("may sign in")],
    ["password", hasPassword ? "set" : oidc === "none" ? "none: tokens and keys alone" : "none"],
    ...(oidc === "none" ? [] : [["provider", oidc === "tied" ? "tied to who signed in so" : "whoever it calls so may sign in, once"]]),
    ["roles", listed(roles, "none")],
    ["groups", listed(groups, "none")],
    ["made", formatAgo(nowMs - Date.parse(created))],
  ]);
}

export function groupLines(groups: readonly GroupJson[], paint: Paint): string[] {
  return tableLines(groups.map(({ name, roles }) => [paint.bold(name), listed(roles, paint.dim("no roles"))]));
}

const ORIGIN: Record<RoleJson["origin"], string> = { "built-in": "the program's own", file: "bootstrap file", hub: "made here" };

export function roleLines(roles: readonly RoleJson[], paint: Paint): string[] {
  return tableLines(
    roles.map(({ name, origin, includes, rules, fault }) => [
      paint.bold(name),
      paint.dim(ORIGIN[origin]),
      fault === undefined ? `${rules.length} ${rules.length === 1 ? "rule" : "rules"}` : paint.red(fault),
      includes.length === 0 ? "" : `includes ${listed(includes, "")}`,
    ]),
  );
}

export function roleFacts({ name, origin, includes, rules, fault }: RoleJson, paint: Paint): string[] {
  const head = `${paint.bold(name)}  ${paint.dim(ORIGIN[origin])}`;
  const lines = [head];
  if (fault !== undefined) lines.push(`  ${paint.red(printablePath(fault))}`);
  if (includes.length > 0) lines.push(`  includes ${listed(includes, "")}`);
  for (const { effect, resource, actions, names, prefixes, labels } of rules) {
    const word = effect === "deny" ? paint.red("deny ") : paint.green("allow");
    const limits = Object.entries({ names, prefixes, labels }).flatMap(([key, values]) =>
      values === undefined ? [] : [`${key} ${values.map((one) => printablePath(one)).join(" ")}`],
    );
    lines.push(`  ${word} ${[`${actions.join(" ")} of ${resource}`, ...limits].join("  ")}`);
  }
  if (rules.length + includes.length === 0) lines.push(paint.dim("  allows nothing"));
  return lines;
}

/** @param nowMs wall clock */
export function sessionLines(sessions: readonly SessionJson[], nowMs: number, paint: Paint): string[] {
  return tableLines(
    sessions.map(({ id, user, seen, address, client }) => [
      id,
      paint.bold(user),
      `used ${formatAgo(Math.max(0, nowMs - Date.parse(seen)))}`,
      printablePath(address),
      printablePath(client),
    ]),
  );
}

/** @param all with address, trace and details */
export function auditLines(records: readonly AuditJson[], paint: Paint, all: boolean): string[] {
  const heads = tableLines(
    records.map(({ seq, time, actor, action, resource, outcome }) => [
      String(seq),
      formatMoment(Date.parse(time)),
      paint.bold(printablePath(actor)),
      outcome === "done" ? action : paint.red(`${action} ${outcome}`),
      printablePath(resource),
    ]),
  );
  if (!all) return heads;
  return records.flatMap(({ address, traceId, details }, at) => {
    const facts = [address === undefined ? "" : `from ${printablePath(address)}`, traceId === undefined ? "" : `trace ${traceId}`];
    const told = details === undefined ? [] : [`    ${paint.dim(printablePath(JSON.stringify(details)))}`];
    const known = facts.filter((fact) => fact !== "");
    return [heads[at]!, ...(known.length === 0 ? [] : [`    ${paint.dim(known.join("  "))}`]), ...told];
  });
}
