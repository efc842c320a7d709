/** `syncline forget`: start a pair anew, as if it had never been synchronised. */
import type { Command } from "#cli/context.ts";
import { type Pair, forgetPair, openHost, sideText } from "#cli/engine.ts";
import { EXIT } from "#cli/exit-code.ts";
import { printablePath } from "#model/path.ts";

export const forgetCommand: Command = async (context) => {
  const { output, parsed, signal } = context;
  const pair: Pair = { alpha: sideText(parsed.operands[0]!), beta: sideText(parsed.operands[1]!) };
  const request = {
    pair,
    signal,
    given: parsed.given,
    stateDir: context.stateDir(),
    host: await openHost(),
    askTrust: undefined,
  };
  const known = await forgetPair(request);
  output.event({ type: "forget", ...pair, known });
  const shown = `${printablePath(pair.alpha)} ↔ ${printablePath(pair.beta)}`;
  if (!known) output.line(`nothing is remembered of ${shown}; \`syncline log\` shows pairs as they were named`);
  else output.line(`forgotten: ${shown}\nthe next run compares everything anew and deletes nothing`);
  return EXIT.same;
};
