/** `syncline agent --stdio`: the far end of an ssh:// side. Standard output carries the protocol and nothing else. */
import type { Command } from "#cli/context.ts";
import { serveAgent } from "#cli/engine.ts";
import { EXIT } from "#cli/exit-code.ts";
import { usage } from "#cli/values.ts";

export const agentCommand: Command = async (context) => {
  if (context.parsed.given.stdio !== true)
    throw usage("the agent is started by the other side", "syncline sync <alpha> ssh://…");
  await serveAgent(context.stateDir(), context.signal);
  return EXIT.same;
};
