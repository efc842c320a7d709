/** Hosts, links and held plans of a hub as a person reads them. Pure. */
import type { AgentJson, HoldJson, LinkJson, LinkStateJson } from "#gateway/api/routes-links.ts";
import { printablePath } from "#model/path.ts";
import { formatAgo, formatBytes, formatCount, formatSpan, plural, tableLines } from "#cli/format.ts";
import { linkPlace, settingWords } from "#cli/link-text.ts";
import type { Paint } from "#cli/screen.ts";

/** Paths of a held plan that are shown without --verbose. */
const CHANGES_SHOWN_MAX = 8;
/** Clocks further apart than this are told: times of files are judged by them. */
const SKEW_MS_MAX = 2000;

/** Is it one that somebody, or time, must help? */
export function needsAttention(status: string): boolean {
  return !["healthy", "waiting", "disabled", "starting"].includes(status);
}

/** What is well is green, what goes on by itself yellow, what needs somebody red. */
export function paintedStatus(status: string, paint: Paint): string {
  if (status === "healthy") return paint.green(status);
  if (!needsAttention(status)) return paint.dim(status);
  if (status === "behind" || status === "retrying") return paint.yellow(status);
  return paint.bold(paint.red(status));
}

/** Names the hub's words for a link, and what to do. */
const WORDS: Record<string, string> = {
  silent: "nothing is heard of its agent: is it running, and can it reach the hub?",
  waiting: "outside of its windows",
  disabled: "switched off: syncline link set ID enabled=yes",
  starting: "not compared completely yet",
  paused: "it stands still: syncline link resume ID",
};

/** @param verbose with the links of each host, and what is wrong with them */
export function agentLines(agents: readonly AgentJson[], paint: Paint, verbose: boolean): string[] {
  const heads = tableLines(
    agents.map(({ name, status, revoked, links, program, labels, heardAgoMs }) => [
      paint.bold(name),
      paintedStatus(revoked === undefined ? status : "revoked", paint),
      heardAgoMs === undefined ? "never heard" : `heard ${formatAgo(heardAgoMs)}`,
      plural(links.length, "link"),
      [printablePath(program), ...labels].filter((word) => word !== "").join("  "),
    ]),
  );
  if (!verbose) return heads;
  return agents.flatMap(({ name, revoked, links, clockSkewMs }, at) => {
    const rows = tableLines(links.map(({ link, status }) => [`  ${paintedStatus(status, paint)}`, linkPlace(link)]));
    return [
      heads[at]!,
      ...revokedLines(name, revoked, paint),
      ...skewLines(clockSkewMs, paint),
      ...links.flatMap((one, row) => [rows[row]!, ...stateLines(one, paint)]),
    ];
  });
}

function revokedLines(name: string, revoked: string | undefined, paint: Paint): string[] {
  if (revoked === undefined) return [];
  return [
    `  ${paint.red("its key was revoked")}, ${revoked}: nothing is heard of it until it joins anew`,
    `  ${paint.cyan("hint:")} the agent on ${name} says how; it takes a new token of syncline join-token create`,
  ];
}

function skewLines(skewMs: number | undefined, paint: Paint): string[] {
  if (skewMs === undefined || Math.abs(skewMs) <= SKEW_MS_MAX) return [];
  const side = skewMs > 0 ? "ahead of" : "behind";
  return [`  ${paint.yellow(`its clock is ${formatSpan(Math.abs(skewMs))} ${side} the hub's`)}`];
}

/**
 * One line each, the id first, because that is what other commands take.
 * @param idle links that no host has
 */
export function linkLines(links: readonly LinkStateJson[], idle: readonly LinkJson[], paint: Paint, verbose: boolean): string[] {
  const heads = tableLines([
    ...links.map(({ link, host, status }) => [link.id, host, paintedStatus(status, paint), linkPlace(link)]),
    ...idle.map((link) => [link.id, link.host ?? link.selector ?? "", paint.yellow("no host"), linkPlace(link)]),
  ]);
  if (!verbose) return heads;
  return [
    ...links.flatMap((one, at) => [heads[at]!, ...settingLines(one.link, paint), ...stateLines(one, paint)]),
    ...idle.flatMap((link, at) => [heads[links.length + at]!, ...settingLines(link, paint)]),
  ];
}

function settingLines({ settings, selector, origin, enabled }: LinkJson, paint: Paint): string[] {
  const words = settingWords(settings);
  if (selector !== undefined) words.push(`for hosts with ${selector}`);
  words.push(origin === "host" ? "declared by the host" : "made at the hub");
  if (!enabled) words.push("switched off");
  return [`    ${paint.dim(words.join(", "))}`];
}

/** How far a link is, and what is wrong with it. */
function stateLines({ link, host, status, lagMs, heardAgoMs, state }: LinkStateJson, paint: Paint): string[] {
  const lines: string[] = [];
  const facts: string[] = [];
  if (state !== undefined) {
    facts.push(plural(state.files, "file"));
    if (state.backlog > 0) facts.push(`${plural(state.backlog, "change")} to carry over`);
    if (lagMs > 0) facts.push(`behind for ${formatSpan(lagMs)}`);
    if (state.syncedAgoMs !== null) facts.push(`compared ${formatAgo(state.syncedAgoMs + (heardAgoMs ?? 0))}`);
  }
  if (facts.length > 0) lines.push(`    ${facts.join(", ")}`);
  const word = WORDS[status]?.replace("ID", link.id);
  if (word !== undefined) lines.push(`    ${needsAttention(status) ? paint.yellow(word) : paint.dim(word)}`);
  if (state === undefined) return lines;
  if (state.conflicts > 0) {
    lines.push(`    ${paint.red(plural(state.conflicts, "conflict"))}: both sides changed the same path`);
  }
  if (state.problems > 0) lines.push(`    ${paint.red(plural(state.problems, "problem"))}: the agent's log on ${host} names the paths`);
  if (status === "diverged" && state.conflicts === 0 && state.problems === 0) {
    lines.push(`    ${paint.red("what it holds is not what the space holds")}, though neither has changed: syncline hub check`);
  }
  if (state.holdHash !== null) {
    lines.push(`    ${paint.red("held")}: a plan waits for a person`, `    syncline approve ${link.id} ${host} ${state.holdHash}`);
  }
  if (state.pause !== null) {
    const { reason, by, sinceMs, release } = state.pause;
    lines.push(`    ${paint.red("paused")} by ${printablePath(by)}, ${new Date(sinceMs).toISOString()}: ${printablePath(reason)}`);
    if (release !== null) lines.push(`    it shows ${release}`);
  } else if (state.error !== null) {
    lines.push(`    ${paint.red(printablePath(state.error.message))}`);
    const hint = state.error.hint ?? (state.error.code === "SPACE_UNKNOWN" ? lostSpaceHint(link) : null);
    if (hint !== null) lines.push(`    ${paint.cyan("hint:")} ${printablePath(hint)}`);
  }
  return lines;
}

const lostSpaceHint = ({ id, space }: LinkJson): string =>
  `if it was deleted: syncline space undelete ${space}; if it is no more wanted: syncline link remove ${id}`;

/**
 * @param link of the hold, where the caller may see it
 * @param nowMs wall clock
 */
export function holdLines(hold: HoldJson, link: LinkStateJson | undefined, nowMs: number, paint: Paint, all: boolean): string[] {
  const { plan, host } = hold;
  const where = link === undefined ? hold.link : linkPlace(link.link);
  const since = formatAgo(Math.max(0, nowMs - Date.parse(hold.held)));
  const lines = [`${paint.bold(host)}  ${where}  ${paint.dim(`held ${since}`)}`, `  ${paint.red(printablePath(plan.reason))}`];
  const sides = link?.link.settings.from === "space" ? { alpha: "space", beta: "host" } : { alpha: "host", beta: "space" };
  for (const side of ["alpha", "beta"] as const) {
    const words = countWords(plan.counts[side]);
    if (words.length > 0) lines.push(`  on the ${sides[side]}: ${words.join(", ")}`);
  }
  const shown = all ? plan.changes : plan.changes.slice(0, CHANGES_SHOWN_MAX);
  lines.push(...shown.map((line) => `    ${printablePath(line)}`));
  const left = plan.total - shown.length;
  if (left > 0) lines.push(`    ${paint.dim(`and ${formatCount(left)} more`)}`);
  return lines;
}

/** What becomes of a hold: the command, or who has given it already. */
export function holdFate({ link, host, plan, approvedBy, approved }: HoldJson, nowMs: number): string {
  if (approvedBy === undefined) return `  syncline approve ${link} ${host} ${plan.hash}`;
  const when = approved === undefined ? "" : ` ${formatAgo(Math.max(0, nowMs - Date.parse(approved)))}`;
  return `  approved by ${approvedBy}${when}: carried out when ${host} is here`;
}

function countWords(counts: HoldJson["plan"]["counts"]["alpha"]): string[] {
  const { removes, replaces, creates, moves, metadata, bytes } = counts;
  const words = Object.entries({ remove: removes, replace: replaces, create: creates, move: moves, "set metadata of": metadata })
    .filter(([, count]) => count > 0)
    .map(([word, count]) => `${word} ${plural(count, "entry", "entries")}`);
  return bytes > 0 && words.length > 0 ? [...words, formatBytes(bytes)] : words;
}
