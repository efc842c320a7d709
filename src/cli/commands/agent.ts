/** `syncline agent`: keep directories of this host the same as spaces of a hub. */
import { messageOf } from "#model/error.ts";
import { type AgentConfiguration, agentConfiguration, needRestart } from "#cli/agent-configuration.ts";
import { logLine } from "#cli/commands/serve.ts";
import type { Command, Context } from "#cli/context.ts";
import { type AgentRequest, runHostAgent } from "#cli/engine.ts";
import { EXIT } from "#cli/exit-code.ts";

type Log = AgentRequest["log"];

export const agentCommand: Command = async (context) => {
  const { parsed, output, signal } = context;
  const log: Log = (message, fields) => {
    output.event({ type: "log", message, ...fields });
    output.line(logLine(message, fields));
  };
  const begun = agentConfiguration(parsed.given);
  await runHostAgent({ ...begun, log, onReload: reloads(context, begun, log) }, signal);
  return EXIT.interrupted;
};

/** SIGHUP reads the file anew; without one it ends the program, as it ends any other. */
function reloads({ parsed, signal }: Context, begun: AgentConfiguration, log: Log): AgentRequest["onReload"] {
  /** What was read before there was anybody to take it. */
  let waiting: AgentConfiguration | undefined;
  let take = (next: AgentConfiguration): void => {
    waiting = next;
  };
  const reload = (): void => {
    try {
      const next = agentConfiguration(parsed.given);
      take(next);
      const restart = needRestart(begun, next).join(", ");
      log("configuration read anew", restart === "" ? {} : { restartNeededFor: restart });
    } catch (error) {
      // What is wrong now keeps what was right last.
      const reason = messageOf(error);
      log("configuration kept as it was: the new one cannot be used", { reason: reason.slice(0, 2000) });
    }
  };
  if (parsed.given.config !== undefined) {
    // It ends every other command.
    process.removeAllListeners("SIGHUP");
    process.on("SIGHUP", reload);
    signal.addEventListener("abort", () => process.off("SIGHUP", reload), { once: true });
  }
  return (listener, until) => {
    take = (next) => {
      if (!until.aborted) listener(next);
    };
    if (waiting !== undefined) take(waiting);
  };
}
