/** `syncline space conflicts`, `resolve` and `undo`: what was changed in two places, deciding, and taking a run back. */
import { type Keep, KEEPS } from "#hub/agents/left-conflicts.ts";
import { parentOf, printablePath } from "#model/path.ts";
import type { ConflictJson, LeftConflictJson } from "#gateway/api/routes-conflicts.ts";
import type { VersionJson } from "#gateway/api/shapes.ts";
import { ConflictClient, type ConflictsJson } from "#gateway/client/conflict-client.ts";
import type { HubClient } from "#gateway/client/hub-client.ts";
import type { Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { formatBytes, formatFileTime, formatMoment, plural, shellWord } from "#cli/format.ts";
import { parseFilePlace, parsePlace, requirePath } from "#cli/hub-client.ts";
import { parseChoice, usage } from "#cli/values.ts";

/** Conflict copies that are listed at once. */
const LISTED_MAX = 1000;

export async function showConflicts(client: HubClient, { output }: Context, place: string): Promise<number> {
  const { space, path } = parsePlace(place);
  const { conflicts, left, unanswered, hasMore } = await new ConflictClient(client).list(space, path, LISTED_MAX);
  for (const one of conflicts) output.event({ type: "conflict", space, ...one });
  for (const one of left) output.event({ type: "left-conflict", space, ...one });
  output.event({ type: "conflicts", space, count: conflicts.length + left.length, unanswered, hasMore });
  for (const { host, link, conflicts: count, reason } of unanswered) {
    output.warn(`${plural(count, "conflict")} of link ${link.slice(0, 8)} on ${host} cannot be listed: ${printablePath(reason)}`);
  }
  if (conflicts.length + left.length === 0) {
    if (unanswered.length === 0) output.line("No conflicts.");
    return unanswered.length === 0 ? EXIT.same : EXIT.decision;
  }
  output.answer([...conflicts.flatMap(copyLines), ...left.flatMap(leftLines)].join("\n"));
  if (hasMore) output.line(`there are more: name a directory: syncline space conflicts ${space}:PATH`);
  output.line(`settle one: syncline space resolve ${space}:PATH --keep ${KEEPS.join("|")}`);
  return EXIT.decision;
}

function copyLines({ path, copy, current, lost }: ConflictJson): string[] {
  const name = path === null ? "(its name is too long to say of what)" : printablePath(path);
  const now = current === undefined ? "nothing is there now" : `now ${sizeOf(current)}, #${current.sequence}`;
  const whose = `${sizeOf(copy)}, ${lost.actor}${lost.host === undefined ? "" : ` on ${lost.host}`}`;
  return [`${name}  ${now}`, `    ${printablePath(copy.path)}  ${whose}, ${formatMoment(Date.parse(lost.time))}, #${copy.sequence}`];
}

const sizeOf = ({ kind, size }: Pick<VersionJson, "kind" | "size">): string => (kind === "file" ? formatBytes(size ?? 0) : kind);

function leftLines({ link, host, path, reason, onHost, inSpace }: LeftConflictJson): string[] {
  const side = (one: LeftConflictJson["onHost"]): string => {
    if (one === null) return "nothing";
    const when = one.mtimeMs === null ? "" : `, ${formatFileTime(BigInt(one.mtimeMs) * 1_000_000n)}`;
    return `${one.kind === "file" ? formatBytes(one.size ?? 0) : one.kind}${when}`;
  };
  const what = `left open by link ${link.slice(0, 8)}, ${reason}`;
  return [`${printablePath(path)}  ${what}`, `    space  ${side(inSpace)}`, `    ${host}  ${side(onHost)}`];
}

export async function resolveConflict(client: HubClient, context: Context, place: string): Promise<void> {
  const { output, parsed } = context;
  const { space, path } = parseFilePlace(place);
  const { as, host, message } = parsed.given;
  if (parsed.given.keep === undefined) throw usage("what stays at the path?", `--keep ${KEEPS.join(", ")}`);
  const keep = parseChoice(parsed.given.keep, KEEPS);
  if (as !== undefined && keep !== "both") throw usage("--as names a copy that is kept", "--keep both --as PATH");
  if (as !== undefined) requirePath(as, false);
  const conflicts = new ConflictClient(client);
  const found = await conflicts.list(space, parentOf(path), Number.MAX_SAFE_INTEGER);
  const chosen = chosenOf(found, path, host);
  if ("copy" in chosen) {
    const body = { copy: chosen.copy.path, keep, as, message, sequence: found.sequence };
    const done = await conflicts.resolve(space, body);
    output.event({ type: "resolved", space, copy: chosen.copy.path, keep, ...done });
    output.line(`${kept(keep, chosen)}; to take it back: syncline space undo ${space} ${done.runId}`);
    return;
  }
  if (as !== undefined) throw usage("a conflict that a link left open has no copy to be named", "--keep both without --as");
  await conflicts.resolveLeft(chosen, keep);
  output.event({ type: "resolved", space, path, keep, link: chosen.link, host: chosen.host });
  output.line(`told ${chosen.host}, which carries it out now: syncline space conflicts ${shellWord(space)}`);
}

/** Named are the copy, or the path where the winner is when that says which is meant. */
function chosenOf({ conflicts, left }: ConflictsJson, path: string, host: string | undefined): ConflictJson | LeftConflictJson {
  const copies = host === undefined ? conflicts.filter(({ copy, path: of }) => copy.path === path || of === path) : [];
  const exact = copies.find(({ copy }) => copy.path === path);
  const open = left.filter((one) => one.path === path && (host === undefined || one.host === host));
  const all = exact === undefined ? [...copies, ...open] : [exact];
  const [only] = all;
  if (only === undefined) throw usage(`"${printablePath(path)}" is not in conflict`, "syncline space conflicts lists what is");
  if (all.length === 1) return only;
  const names = all.map((one) => ("copy" in one ? printablePath(one.copy.path) : `--host ${one.host}`));
  throw usage(`"${printablePath(path)}" is in conflict more than once`, `name one: ${names.slice(0, 5).join(", ")}`);
}

function kept(keep: Keep, { path, copy }: ConflictJson): string {
  if (keep === "copy") return `${printablePath(path ?? "")} holds what the copy had`;
  return keep === "current" ? `${printablePath(copy.path)} is removed` : "both are kept";
}

export async function undoInSpace(client: HubClient, { output }: Context, space: string, run: string): Promise<number> {
  const answer = await client.undo(space, run);
  output.event({ type: "undo", space, runId: run, ...answer });
  const { put, removed } = answer.counts;
  output.line(`${plural(put, "path")} put back, ${plural(removed, "path")} removed`);
  for (const { path, message } of answer.notDone) output.warn(`${printablePath(path)}: ${message ?? "changed meanwhile, left alone"}`);
  return answer.notDoneCount === 0 ? EXIT.same : EXIT.problems;
}
