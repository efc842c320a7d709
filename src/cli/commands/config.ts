/** `syncline config`: check, show or explain the configuration of a hub. */
import { readAgentFile } from "#config/agent-config.ts";
import { readBootstrap } from "#config/bootstrap.ts";
import { type ResolvedHubConfig, shownValue } from "#config/hub-config.ts";
import { HUB_KEY_NAMES, isHubKey } from "#config/hub-keys.ts";
import type { Command, Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { tableLines } from "#cli/format.ts";
import { hubConfiguration } from "#cli/hub-configuration.ts";
import { readSmallFile } from "#cli/local-files.ts";
import { nearest, usage } from "#cli/values.ts";

export const configCommand: Command = async (context) => {
  const [what, key] = context.parsed.operands;
  if (what === "check" && key === "agent") return checkAgent(context);
  const resolved = hubConfiguration(context);
  if (what === "check" && key === undefined) check(context, resolved);
  else if (what === "show" && key === undefined) show(context, resolved);
  else if (what === "explain" && key !== undefined) explain(context, resolved, key);
  else throw usage(`"${context.parsed.operands.join(" ")}" is not one of check [agent], show, explain KEY`, "syncline config --help");
  return Promise.resolve(EXIT.same);
};

function check({ output }: Context, { config }: ResolvedHubConfig): void {
  if (config.bootstrap !== undefined) readBootstrap(readSmallFile("bootstrap", config.bootstrap), config.bootstrap);
  output.event({ type: "config", valid: true });
  output.line("nothing to complain about");
}

function checkAgent({ output, parsed }: Context): number {
  const { config } = parsed.given;
  if (config === undefined) throw usage("which file?", "--config FILE");
  readAgentFile(readSmallFile("config", config), config);
  output.event({ type: "config", valid: true });
  output.line("nothing to complain about");
  return EXIT.same;
}

function show({ output }: Context, { chains }: ResolvedHubConfig): void {
  const rows = HUB_KEY_NAMES.map((key) => {
    const { source, value } = chains[key][0]!;
    output.event({ type: "key", key, value: shownValue(key, value), source });
    return [key, shownValue(key, value), source === "default" ? "" : source];
  });
  if (!output.form.json) output.answer(tableLines(rows).join("\n"));
}

function explain({ output }: Context, { chains }: ResolvedHubConfig, key: string): void {
  if (!isHubKey(key)) {
    const near = nearest(key, HUB_KEY_NAMES);
    throw usage(`there is no key "${key}"`, near === undefined ? "syncline config show lists them" : `did you mean ${near}?`);
  }
  const rows = chains[key].map(({ source, value }, at) => {
    output.event({ type: "said", key, value: shownValue(key, value), source, holds: at === 0 });
    return [at === 0 ? "holds" : "", source, shownValue(key, value)];
  });
  if (!output.form.json) output.answer(tableLines(rows).join("\n"));
}
