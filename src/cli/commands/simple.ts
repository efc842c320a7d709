/** Commands that only print: help, version, completion. */
import { SHELLS, completionScript } from "#cli/completion.ts";
import type { Command } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { commandHelp, overviewHelp } from "#cli/help.ts";
import { COMMANDS, isCommand } from "#cli/options.ts";
import { nearest, usage } from "#cli/values.ts";
import { VERSION } from "#cli/version.ts";

export const helpCommand: Command = async ({ parsed, output }) => {
  const name = parsed.operands[0];
  if (name === undefined) output.screen.out.write(overviewHelp(output.screen.out.columns()));
  else if (isCommand(name)) output.screen.out.write(commandHelp(name, output.screen.out.columns()));
  else {
    const near = nearest(name, Object.keys(COMMANDS));
    throw usage(
      `unknown command "${name}"`,
      near === undefined ? "syncline help" : `did you mean "syncline help ${near}"?`,
    );
  }
  return EXIT.same;
};

export const versionCommand: Command = async ({ output }) => {
  output.event({
    type: "version",
    version: VERSION,
    platform: `${process.platform}-${process.arch}`,
    bun: Bun.version,
  });
  output.answer(`syncline ${VERSION} (${process.platform}-${process.arch}, Bun ${Bun.version})`);
  return EXIT.same;
};

export const completionCommand: Command = async ({ parsed, output }) => {
  const shell = SHELLS.find((name) => name === parsed.operands[0]);
  if (shell === undefined)
    throw usage(`no completion for "${parsed.operands[0]}"`, `use ${SHELLS.join(", ")}`);
  output.screen.out.write(completionScript(shell));
  return EXIT.same;
};
