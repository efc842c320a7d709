/** `syncline far-side`: the far end of an ssh:// side. Standard output carries the protocol and nothing else. */
import type { Command } from "#cli/context.ts";
import { serveFarSide } from "#cli/engine.ts";
import { EXIT } from "#cli/exit-code.ts";

export const farSideCommand: Command = async (context) => {
  await serveFarSide(context.stateDir(), context.signal);
  return EXIT.same;
};
