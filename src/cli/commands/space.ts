/** `syncline space`: list, make, change and remove spaces of a hub. */
import type { HubClient } from "#gateway/client/hub-client.ts";
import type { SpaceJson } from "#gateway/api/shapes.ts";
import type { Command, Context } from "#cli/context.ts";
import { resolveConflict, showConflicts, undoInSpace } from "#cli/commands/space-conflicts.ts";
import { compareSpace, digestSpace, followSpace, promoteSpace, showFollows } from "#cli/commands/space-follow.ts";
import { EXIT } from "#cli/exit-code.ts";
import { formatBytes, plural, tableLines } from "#cli/format.ts";
import { openClient } from "#cli/hub-client.ts";
import { settingRows, settingsOf } from "#cli/space-settings.ts";
import { parseChoice, usage } from "#cli/values.ts";

/** Links of a space that was deleted that are named. */
const LINKS_SHOWN_MAX = 10;

/** Resolves with another exit code than "all well" where somebody should look. */
type Work = (client: HubClient, context: Context, names: readonly string[]) => Promise<number | void>;

const WORDS: Record<string, { readonly names: number; readonly work: Work }> = {
  list: { names: 0, work: async (client, context) => show(context, await client.spaces()) },
  show: { names: 1, work: async (client, context, [name]) => showOne(context, await client.space(name!)) },
  create: {
    names: 1,
    work: async (client, context, [name]) => {
      const space = await client.createSpace(name!, settingsOf(context));
      said(context, space, `made ${space.name}`);
    },
  },
  rename: {
    names: 2,
    work: async (client, context, [name, other]) => {
      const space = await client.updateSpace(name!, { name: other! });
      said(context, space, `${name} is ${space.name} now`);
    },
  },
  set: {
    names: 1,
    work: async (client, context, [name]) => {
      const settings = settingsOf(context);
      if (settings === undefined) throw usage("set what?", "--quota, --entries, --keep-versions, --keep-for, --ignore");
      const space = await client.updateSpace(name!, { settings });
      context.output.event({ type: "space", ...space });
      if (!context.output.form.json) context.output.line(tableLines(settingRows(space)).join("\n"));
    },
  },
  delete: {
    names: 1,
    work: async (client, context, [name]) => {
      await client.deleteSpace(name!);
      context.output.event({ type: "space-deleted", name });
      context.output.line(`removed ${name}; for seven days it can be had back: syncline space undelete ${name}`);
      await tellLinks(client, context, name!);
    },
  },
  undelete: {
    names: 1,
    work: async (client, context, [name]) => {
      const space = await client.undeleteSpace(name!);
      said(context, space, `${space.name} is back`);
    },
  },
  conflicts: { names: 1, work: (client, context, [place]) => showConflicts(client, context, place!) },
  resolve: { names: 1, work: (client, context, [place]) => resolveConflict(client, context, place!) },
  undo: { names: 2, work: (client, context, [name, run]) => undoInSpace(client, context, name!, run!) },
  digest: { names: 1, work: (client, context, [name]) => digestSpace(client, context, name!) },
  follow: { names: 1, work: (client, context, [name]) => followSpace(client, context, name!) },
  follows: { names: 0, work: (client, context) => showFollows(client, context) },
  compare: { names: 1, work: (client, context, [name]) => compareSpace(client, context, name!) },
  promote: { names: 1, work: (client, context, [name]) => promoteSpace(client, context, name!) },
  unfollow: {
    names: 1,
    work: async (client, context, [name]) => {
      await client.unfollow(name!);
      context.output.event({ type: "space-unfollowed", name });
      context.output.line(`${name} asks its source no more; it takes no changes until: syncline space promote ${name}`);
    },
  },
};

export const spaceCommand: Command = async (context) => {
  const [word, ...names] = context.parsed.operands;
  const { names: wanted, work } = WORDS[parseChoice(word!, Object.keys(WORDS))]!;
  if (names.length !== wanted) throw usage(`space ${word} takes ${plural(wanted, "name")}`, "syncline space --help");
  return (await work(openClient(context), context, names)) ?? EXIT.same;
};

/** Whoever may not see links deletes a space all the same. */
async function tellLinks(client: HubClient, { output }: Context, space: string): Promise<void> {
  const links = await client.linkDefinitions().catch(() => []);
  const left = links.filter((link) => link.space === space && link.enabled).map(({ id }) => id);
  if (left.length === 0) return;
  const shown = left.slice(0, LINKS_SHOWN_MAX).join(", ");
  const more = left.length > LINKS_SHOWN_MAX ? ` and ${left.length - LINKS_SHOWN_MAX} more` : "";
  output.warn(`links that wait until it is back: ${shown}${more}; syncline link remove ID ends one`);
}

const copyOf = (from: SpaceJson["follows"]): string => (from === undefined ? "" : `copy of ${from.source} at ${from.url}`);

function said({ output }: Context, space: SpaceJson, line: string): void {
  output.event({ type: "space", ...space });
  output.line(line);
}

function showOne({ output }: Context, space: SpaceJson): void {
  output.event({ type: "space", ...space });
  if (output.form.json) return;
  const follows = space.follows === undefined ? [] : [["is a", copyOf(space.follows)]];
  output.answer(tableLines([["name", space.name], ...settingRows(space), ...follows]).join("\n"));
}

function show({ output }: Context, spaces: readonly SpaceJson[]): void {
  for (const space of spaces) output.event({ type: "space", ...space });
  if (output.form.json || spaces.length === 0) {
    output.line("no space yet: syncline space create NAME");
    return;
  }
  const rows = spaces.map(({ name, usage: { bytes, entries }, sequence, settings, follows }) => {
    const { quotaBytes } = settings;
    const limit = typeof quotaBytes === "number" ? ` of ${formatBytes(quotaBytes)}` : "";
    return [name, `${formatBytes(bytes)}${limit}`, plural(entries, "entry", "entries"), `sequence ${sequence}`, copyOf(follows)];
  });
  output.answer(tableLines(rows).join("\n"));
}
