/** `syncline holds` and `syncline approve`: plans that the brake has stopped, and letting one of them through. */
import type { HubClient } from "#gateway/client/hub-client.ts";
import type { HoldJson, LinkStateJson } from "#gateway/api/routes-links.ts";
import type { Command, Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { holdFate, holdLines } from "#cli/fleet-text.ts";
import { openClient } from "#cli/hub-client.ts";
import { askYesNo } from "#cli/question.ts";
import { usage } from "#cli/values.ts";

export const holdsCommand: Command = async (context) => {
  const { output } = context;
  const client = openClient(context);
  const [holds, links] = await Promise.all([client.holds(), client.links()]);
  for (const [at, hold] of holds.entries()) {
    output.event({ type: "hold", ...hold });
    if (at > 0) output.answer("");
    output.answer([...shown(context, hold, links), holdFate(hold, Date.now())].join("\n"));
  }
  if (holds.length === 0) output.line("no plan waits");
  return holds.some(({ approvedBy }) => approvedBy === undefined) ? EXIT.decision : EXIT.same;
};

export const approveCommand: Command = async (context) => {
  const { output, parsed } = context;
  const [link, host, hash] = parsed.operands as readonly [string, string, string];
  const client = openClient(context);
  const hold = await heldOne(client, link, host, hash);
  if (parsed.given.yes !== true) {
    const ask = askYesNo(output);
    if (ask === undefined) throw usage("nobody can be asked here", "--yes approves without asking");
    output.lines(shown(context, hold, await client.links()));
    if (!(await ask("Carry out exactly this plan?"))) {
      output.line("nothing was approved");
      return EXIT.decision;
    }
  }
  const approved = await client.approve(hold.link, host, hold.plan.hash);
  output.event({ type: "hold", ...approved });
  const status = (await client.agents()).find(({ name }) => name === host)?.status;
  output.line(status === "silent" ? `approved; carried out when ${host} is here again` : `approved; ${host} carries it out`);
  return EXIT.same;
};

/** Approved is what was looked at: the hash decides at the hub once more. */
async function heldOne(client: HubClient, link: string, host: string, hash: string): Promise<HoldJson> {
  const there = (await client.holds()).filter((one) => one.host === host && one.link.startsWith(link));
  const hold = there.find(({ plan }) => plan.hash === hash);
  if (hold !== undefined) return hold;
  const other = there.length === 0 ? "no plan is held" : "another plan is held by now";
  throw usage(`of link ${link} on ${host} ${other}`, "syncline holds lists them");
}

function shown({ output }: Context, hold: HoldJson, links: readonly LinkStateJson[]): string[] {
  const link = links.find((one) => one.link.id === hold.link && one.host === hold.host);
  return holdLines(hold, link, Date.now(), output.screen.paint, output.form.verbose);
}
