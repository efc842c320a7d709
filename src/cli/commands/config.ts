/** `syncline config`: check, show or explain the configuration of a hub. */
import { readAgentFile } from "#config/agent-config.ts";
import { oidcSettingsOf } from "#config/oidc-settings.ts";
import { otlpSettingsOf } from "#config/otlp-settings.ts";
import { readBootstrap } from "#config/bootstrap.ts";
import { type ResolvedHubConfig, shownValue } from "#config/hub-config.ts";
import { HUB_KEY_NAMES, isHubKey } from "#config/hub-keys.ts";
import type { ConfigurationState, Reloaded } from "#gateway/api/routes-config.ts";
import { printablePath } from "#model/path.ts";
import type { Command, Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { formatMoment, tableLines } from "#cli/format.ts";
import { openClient } from "#cli/hub-client.ts";
import { checkLinks } from "#cli/hub-bootstrap.ts";
import { hubConfiguration } from "#cli/hub-configuration.ts";
import { readSmallFile } from "#cli/local-files.ts";
import { nearest, usage } from "#cli/values.ts";

export const configCommand: Command = async (context) => {
  const [what, key] = context.parsed.operands;
  if (what === "status" && key === undefined) return status(context);
  if (what === "reload" && key === undefined) return reload(context);
  if (what === "check" && key === "agent") return checkAgent(context);
  const resolved = hubConfiguration(context);
  if (what === "check" && key === undefined) check(context, resolved);
  else if (what === "show" && key === undefined) show(context, resolved);
  else if (what === "explain" && key !== undefined) explain(context, resolved, key);
  else if (what === "explain") throw usage("which key?", "syncline config explain KEY; syncline config show lists them");
  else throw usage(`"${context.parsed.operands.join(" ")}" is no work of config`, "syncline config --help");
  return Promise.resolve(EXIT.same);
};

/** What the hub that runs has in force. */
async function status(context: Context): Promise<number> {
  const { output } = context;
  const state = await openClient(context).call<ConfigurationState>("/v1/config");
  const { keys, ...facts } = state;
  output.event({ type: "configuration", ...facts });
  for (const key of keys) output.event({ type: "key", ...key });
  const { red, yellow, dim } = output.screen.paint;
  if (!output.form.json) {
    const rows = keys.map(({ key, value, source, reloadable }) => [
      key,
      printablePath(value),
      source === "default" ? "" : printablePath(source),
      reloadable ? "" : dim("restart"),
    ]);
    output.answer(tableLines(rows).join("\n"));
  }
  output.line(`in force since ${formatMoment(Date.parse(state.loaded))}`);
  if (state.fault !== undefined) output.line(`${red("what was read last is wrong")}: ${printablePath(state.fault)}`);
  if (state.restartNeeded.length > 0) output.line(`${yellow("restart needed")} for ${state.restartNeeded.join(", ")}`);
  return state.valid && state.restartNeeded.length === 0 ? EXIT.same : EXIT.problems;
}

async function reload(context: Context): Promise<number> {
  const { output } = context;
  const done = await openClient(context).call<Reloaded>("/v1/config/reload", { method: "POST" });
  output.event({ type: "reloaded", ...done });
  const { yellow } = output.screen.paint;
  for (const { key, from, to, applied } of done.changes) {
    output.line(`${key}  ${printablePath(from)} → ${printablePath(to)}${applied ? "" : `  ${yellow("restart needed")}`}`);
  }
  const { made, changed } = done.bootstrap;
  if (made + changed > 0) output.line(`bootstrap file: ${made} made, ${changed} changed`);
  if (done.changes.length + made + changed === 0) output.line("nothing has changed");
  return EXIT.same;
}

function check({ output }: Context, { config }: ResolvedHubConfig): void {
  if (config.bootstrap !== undefined) checkLinks(readBootstrap(readSmallFile("bootstrap", config.bootstrap), config.bootstrap));
  oidcSettingsOf(config, (file) => readSmallFile("oidc-client-secret-file", file));
  otlpSettingsOf(config, (file) => readSmallFile("otlp-headers-file", file));
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
