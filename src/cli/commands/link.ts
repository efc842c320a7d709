/** `syncline link`: gives hosts links, changes and removes them. */
import type { HubClient } from "#gateway/client/hub-client.ts";
import type { LinkJson } from "#gateway/api/routes-links.ts";
import { LINK_ID } from "#hub/agents/link.ts";
import type { Command, Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { openClient } from "#cli/hub-client.ts";
import { linkPlace, parseLink, parseLinkChange } from "#cli/link-text.ts";
import { parseChoice, usage } from "#cli/values.ts";

export const linkCommand: Command = async (context) => {
  const [word, target, ...rest] = context.parsed.operands as readonly [string, string, ...string[]];
  const what = parseChoice(word, ["add", "set", "remove", "resume"]);
  const { host, label = [] } = context.parsed.given;
  if (what !== "set" && rest.length > (what === "resume" ? 1 : 0)) throw usage(`"${rest[0]}" is too much`, "syncline link --help");
  if (what !== "add" && (host !== undefined || label.length > 0)) throw usage(`link ${what} knows no host or label`);
  if (what === "add") await add(context, target);
  else if (what === "set") await set(context, target, rest);
  else if (what === "resume") await resume(context, target, rest[0]);
  else await remove(context, target);
  return EXIT.same;
};

async function add(context: Context, text: string): Promise<void> {
  const { host, label = [] } = context.parsed.given;
  if ((host === undefined) === (label.length === 0) || label.length > 1) {
    throw usage("for which host?", "--host HOST, or --label LABEL for every host that has it");
  }
  // Here it would be resolved against a directory of this host.
  if (!text.startsWith("/")) throw usage(`"${text}" does not begin with /`, "the directory is one of that host");
  const link = await openClient(context).createLink({ ...parseLink(text, "link"), host, selector: label[0] });
  said(context, "made", link);
}

async function set(context: Context, id: string, words: readonly string[]): Promise<void> {
  if (words.length === 0) throw usage("what is to change?", "syncline link set LINK KEY=VALUE...");
  const change = parseLinkChange(words);
  const client = openClient(context);
  said(context, "changed", await client.updateLink(await wholeId(client, id), change));
}

async function remove(context: Context, given: string): Promise<void> {
  const client = openClient(context);
  const id = await wholeId(client, given);
  await client.removeLink(id);
  context.output.event({ type: "link-removed", id });
  context.output.line(`removed ${id}; the files on both sides stay`);
}

/** On the host that is named, or on all where it is paused. */
async function resume(context: Context, given: string, host: string | undefined): Promise<void> {
  const client = openClient(context);
  const id = await wholeId(client, given);
  const paused = (await client.links()).filter(
    (one) => one.link.id === id && (host === undefined ? one.status === "paused" : one.host === host),
  );
  if (paused.length === 0) throw usage(host === undefined ? "it is paused on no host" : `${host} has no link ${id}`, "syncline links -v");
  for (const one of paused) {
    await client.resumeLink(id, one.host);
    context.output.event({ type: "link-resumed", id, host: one.host });
    context.output.line(`${linkPlace(one.link)} goes on on ${one.host}`);
  }
}

/** A beginning that only one link has will do. */
export async function wholeId(client: HubClient, given: string): Promise<string> {
  if (LINK_ID.test(given)) return given;
  const ids = new Set((await client.linkDefinitions()).map(({ id }) => id).filter((id) => id.startsWith(given)));
  const [id] = ids;
  if (id !== undefined && ids.size === 1) return id;
  throw usage(ids.size === 0 ? `there is no link ${given}` : `${given} begins ${ids.size} links`, "syncline links lists them");
}

function said({ output }: Context, done: string, link: LinkJson): void {
  output.event({ type: "link", link });
  const whose = link.host ?? `hosts with ${link.selector}`;
  output.line(`${done} ${link.id}: ${linkPlace(link)} on ${whose}${link.enabled ? "" : ", switched off"}`);
}
