/** `syncline agent`: keep directories of this host the same as spaces of a hub. */
import { resolve } from "node:path";
import { logLine } from "#cli/commands/serve.ts";
import type { Command } from "#cli/context.ts";
import { runHostAgent } from "#cli/engine.ts";
import { EXIT } from "#cli/exit-code.ts";
import { parseLink } from "#cli/link-text.ts";
import { usage } from "#cli/values.ts";

const HOOK_TIMEOUT_MS_DEFAULT = 60_000;

export const agentCommand: Command = async (context) => {
  const { output, signal } = context;
  const { given } = context.parsed;
  const { hub, data } = given;
  if (hub === undefined) throw usage("which hub?", "--hub https://HOST:PORT, or syncline://HOST:PORT");
  if (data === undefined) throw usage("where are key and state to be kept?", "--data DIR");
  await runHostAgent(
    {
      hub,
      name: given.name,
      dataDir: resolve(data),
      joinTokenFile: given["join-token-file"],
      fingerprint: given.fingerprint,
      acceptNew: given["accept-new"] ?? false,
      links: (given.link ?? []).map((text) => parseLink(text)),
      ignore: given.exclude ?? [],
      mayInstall: given["allow-install"] ?? false,
      hooks: {
        before: given["hook-before"],
        after: given["hook-after"],
        onAfterFailure: given["hook-failure"] ?? "report",
        timeoutMs: given["hook-timeout"] ?? HOOK_TIMEOUT_MS_DEFAULT,
      },
      log: (message, fields) => {
        output.event({ type: "log", message, ...fields });
        output.line(logLine(message, fields));
      },
    },
    signal,
  );
  return EXIT.interrupted;
};
