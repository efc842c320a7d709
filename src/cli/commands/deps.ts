/** `syncline deps`: what the projects of links resolve to on their hosts, and where hosts differ. */
import type { LinkStateJson } from "#gateway/api/routes-links.ts";
import type { HubClient } from "#gateway/client/hub-client.ts";
import type { Dependency } from "#hub/agents/dependencies.ts";
import { SynclineError } from "#model/error.ts";
import type { ProjectState } from "#hub/agents/control.ts";
import { printablePath } from "#model/path.ts";
import type { Command, Context } from "#cli/context.ts";
import { type SameHosts, compareHosts, differenceLines, foldHosts } from "#cli/deps-text.ts";
import { EXIT } from "#cli/exit-code.ts";
import { tableLines } from "#cli/format.ts";
import { openClient } from "#cli/hub-client.ts";
import { parseChoice, usage } from "#cli/values.ts";

/** A project of a space on one host. */
type Found = { readonly where: string; readonly host: string; readonly link: string; readonly state: ProjectState };

export const depsCommand: Command = async (context) => {
  const [word, ...hosts] = context.parsed.operands as readonly [string, ...string[]];
  const what = parseChoice(word, ["list", "diff"]);
  const client = openClient(context);
  const links = await client.links();
  const unknown = hosts.find((host) => !links.some((one) => one.host === host));
  if (unknown !== undefined) throw usage(`there is no host "${unknown}" with links`, "syncline agents lists them");
  const found = links.filter(({ host }) => hosts.length === 0 || hosts.includes(host)).flatMap(foundIn);
  if (found.length === 0) context.output.line("no link watches a project: syncline link set LINK install=npm:DIR");
  return what === "list" ? list(context, found) : diff(context, client, found);
};

function foundIn({ link, host, state }: LinkStateJson): Found[] {
  const at = link.prefix === "" ? link.space : `${link.space}:${link.prefix}`;
  return (state?.projects ?? []).map((one) => ({ where: `${at} ${one.project}`, host, link: link.id, state: one }));
}

function list({ output }: Context, found: readonly Found[]): number {
  const rows = found.map(({ where, host, state }) => {
    output.event({ type: "project", where, host, ...state });
    const known = state.set === null ? "" : `${state.count} of ${state.set.slice(0, 12)}`;
    const installed = state.installed ? "installed" : state.phase;
    return [printablePath(where), host, installed, known, printablePath(state.error ?? "")];
  });
  if (!output.form.json && rows.length > 0) output.answer(tableLines(rows).join("\n"));
  return found.some(({ state }) => state.error !== null) ? EXIT.problems : EXIT.same;
}

async function diff(context: Context, client: HubClient, found: readonly Found[]): Promise<number> {
  const { output } = context;
  let isDifferent = false;
  for (const [where, all] of Map.groupBy(found, (one) => one.where)) {
    const known = all.filter(({ state }) => state.set !== null);
    const silent = all.filter(({ state }) => state.set === null).map(({ host }) => host);
    const sets = Map.groupBy(known, ({ state }) => state.set);
    if (sets.size > 1) isDifferent = true;
    output.event({ type: "project", where, sets: [...sets].map(([set, some]) => ({ set, hosts: some.map(({ host }) => host) })), silent });
    if (!output.form.json) output.answer(printablePath(where));
    if (sets.size === 1) output.answer(`  the same on ${foldHosts(known.map(({ host }) => host))}`);
    if (silent.length > 0) output.answer(`  nothing known of ${foldHosts(silent)}`);
    if (sets.size > 1) await tellDifferences(context, client, where, [...sets.values()]);
  }
  return isDifferent ? EXIT.problems : EXIT.same;
}

/** Hosts of a set that are asked, one after the other, until one answers. */
const ASKED_MAX = 3;

async function listOf(client: HubClient, some: readonly Found[]): Promise<Dependency[] | SynclineError> {
  let last: SynclineError | undefined;
  for (const { link, host, state } of some.slice(0, ASKED_MAX)) {
    try {
      return await client.dependencies(link, host, state.project);
    } catch (error) {
      if (!(error instanceof SynclineError)) throw error;
      last = error;
    }
  }
  return last!;
}

/** One host of each set is asked. */
async function tellDifferences({ output }: Context, client: HubClient, where: string, sets: readonly Found[][]): Promise<void> {
  const same: SameHosts[] = [];
  for (const some of sets) {
    const hosts = some.map(({ host }) => host);
    const list = await listOf(client, some);
    if (list instanceof SynclineError) output.answer(`  ${foldHosts(hosts)}: other than the rest, and cannot be asked: ${list.message}`);
    else same.push({ hosts, list });
  }
  const { usual, others } = compareHosts(same);
  for (const one of others) {
    output.event({ type: "dependency-differences", where, usual, hosts: one.hosts, differences: one.differences });
    if (!output.form.json) output.answer(differenceLines(one, usual, output.screen.paint).join("\n"));
  }
}
