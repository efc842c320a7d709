/** `syncline access explain`: may a user do something, and which rule decides. */
import { ACTIONS, RESOURCE_TYPES } from "#access/access.ts";
import { printablePath } from "#model/path.ts";
import type { Command } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { openClient, requirePath } from "#cli/hub-client.ts";
import { parseChoice, usage } from "#cli/values.ts";

const FORM = "write TYPE:NAME, like host:web1, or space:site:docs/index.html";

export const accessCommand: Command = async (context) => {
  const { output, parsed } = context;
  const [word, user, given, resource] = parsed.operands as readonly [string, string, string, string];
  parseChoice(word, ["explain"]);
  const action = parseChoice(given, ACTIONS);
  const [kind = "", name = "", ...rest] = resource.split(":");
  const type = parseChoice(kind, RESOURCE_TYPES);
  if (name === "") throw usage(`"${resource}" names nothing`, FORM);
  const path = rest.length === 0 ? undefined : rest.join(":").replace(/\/$/, "");
  if (path !== undefined && type !== "space") throw usage(`only a space has paths: "${resource}"`, FORM);
  if (path !== undefined) requirePath(path, true);
  const { allowed, reason } = await openClient(context).explain({ user, action, type, name, path });
  output.event({ type: "decision", user, action, resource, allowed, reason });
  const { green, red } = output.screen.paint;
  output.answer(`${allowed ? green("allowed") : red("denied")}: ${printablePath(reason)}`);
  return allowed ? EXIT.same : EXIT.problems;
};
