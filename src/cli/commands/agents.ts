/** `syncline agents` and `syncline links`: how the hosts of a hub are, and what they keep the same. */
import { AccessClient } from "#gateway/client/access-client.ts";
import { printablePath } from "#model/path.ts";
import type { Command, Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { agentLines, linkLines, needsAttention } from "#cli/fleet-text.ts";
import { openClient } from "#cli/hub-client.ts";
import { confirmed } from "#cli/question.ts";
import { usage } from "#cli/values.ts";

export const agentsCommand: Command = async (context) => {
  const { output, parsed } = context;
  const wanted = parsed.operands;
  if (wanted[0] === "label") return label(context, wanted.slice(1));
  if (wanted[0] === "remove") return remove(context, wanted.slice(1));
  if (wanted[0] === "revoke") return revoke(context, wanted.slice(1));
  const all = await openClient(context).agents();
  const agents = all.filter(({ name }) => wanted.length === 0 || wanted.includes(name));
  requireKnown(wanted, all.map(({ name }) => name));
  for (const agent of agents) output.event({ type: "agent", ...agent });
  if (agents.length === 0) output.line("no host has joined yet: syncline join-token create, then syncline agent there");
  else if (!output.form.json) output.answer(agentLines(agents, output.screen.paint, output.form.verbose).join("\n"));
  return agents.some(({ status }) => needsAttention(status)) ? EXIT.problems : EXIT.same;
};

async function label(context: Context, [host, ...given]: readonly string[]): Promise<number> {
  const { output } = context;
  if (host === undefined || given.length === 0) throw usage("which host, and which labels?", "syncline agents label HOST LABEL...");
  const labels = given.length === 1 && given[0] === "none" ? [] : given;
  await new AccessClient(openClient(context)).setLabels(host, labels);
  output.event({ type: "labels", host, labels });
  output.line(labels.length === 0 ? `${host} has no labels` : `${host}  ${labels.map(printablePath).join("  ")}`);
  return EXIT.same;
}

async function remove(context: Context, [host, ...more]: readonly string[]): Promise<number> {
  const { output } = context;
  if (host === undefined || more.length > 0) throw usage("which host?", "syncline agents remove HOST");
  await confirmed(context, `remove the host ${host} with its own links? Its files stay.`);
  await new AccessClient(openClient(context)).removeHost(host);
  output.event({ type: "host-removed", host });
  output.line(`removed ${host}; its files stay. To come back it must join anew, with a join token`);
  return EXIT.same;
}

async function revoke(context: Context, [host, ...more]: readonly string[]): Promise<number> {
  const { output } = context;
  if (host === undefined || more.length > 0) throw usage("which host?", "syncline agents revoke HOST");
  await confirmed(context, `revoke the certificates of ${host} and its key? It is cut off until it joins anew.`);
  await new AccessClient(openClient(context)).revokeHost(host);
  output.event({ type: "host-revoked", host });
  output.line(`revoked ${host}; its files, labels and links stay`);
  output.line(
    "To come back it must join anew: end its agent, remove identity.json and key.pem from its --data directory, and begin " +
      "it with a new token of syncline join-token create",
  );
  return EXIT.same;
}

export const linksCommand: Command = async (context) => {
  const { output, parsed } = context;
  const wanted = parsed.operands;
  const client = openClient(context);
  const links = (await client.links()).filter(({ host }) => wanted.length === 0 || wanted.includes(host));
  if (wanted.length > 0) requireKnown(wanted, (await client.agents()).map(({ name }) => name));
  const had = new Set(links.map(({ link }) => link.id));
  // What nobody has is of no host, and must be found to be removed.
  const idle = wanted.length > 0 ? [] : (await client.linkDefinitions()).filter(({ id }) => !had.has(id));
  for (const link of links) output.event({ type: "link", ...link });
  for (const link of idle) output.event({ type: "link", link });
  if (links.length + idle.length === 0) output.line("no link yet: syncline link add ROOT=SPACE --host HOST");
  else if (!output.form.json) output.answer(linkLines(links, idle, output.screen.paint, output.form.verbose).join("\n"));
  return EXIT.same;
};

function requireKnown(wanted: readonly string[], known: readonly string[]): void {
  const missing = wanted.find((name) => !known.includes(name));
  if (missing !== undefined) throw usage(`there is no host "${missing}"`, "syncline agents lists them");
}
