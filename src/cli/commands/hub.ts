/** `syncline hub`: keep spaces with their whole history, and serve them. */
import { readBootstrap } from "#config/bootstrap.ts";
import type { HubConfig } from "#config/hub-config.ts";
import { LISTEN_FALLBACK } from "#config/hub-keys.ts";
import type { ApiLog } from "#gateway/api/route.ts";
import type { SynclineError } from "#model/error.ts";
import { printablePath } from "#model/path.ts";
import type { Command, Context } from "#cli/context.ts";
import { openHost } from "#cli/engine.ts";
import { EXIT } from "#cli/exit-code.ts";
import { shellWord } from "#cli/format.ts";
import { configurationFiles, hubConfiguration, hubDataDir } from "#cli/hub-configuration.ts";
import type { HubProcess } from "#cli/hub-process.ts";
import type { HubReading, HubReloadParts } from "#cli/hub-reload.ts";
import { readSmallFile } from "#cli/local-files.ts";

export const hubCommand: Command = async (context) => {
  const { output, parsed, signal } = context;
  const [word, ...operands] = parsed.operands;
  if (word !== undefined) return (await import("#cli/commands/hub-care.ts")).hubCareCommand(context, word, operands);
  const first = readAll(context);
  const { resolved, bootstrap } = first;
  const { config } = resolved;
  const dataDir = hubDataDir(context, resolved);
  const hangup = hangupOf(context);
  const { HubProcess } = await import("#cli/hub-process.ts");
  const log = hubLog(context);
  const read: HubReloadParts["read"] = (named) => readAll(context, named);
  const source = { first, read, files: configurationFiles(context) };
  const hub = await HubProcess.start({ host: await openHost(), dataDir, config, bootstrap, source, log, signal });
  hangup.take(() => void hub.reload("SIGHUP").catch(() => undefined));
  let lost: SynclineError | undefined | void;
  try {
    say(context, hub, dataDir);
    lost = await Promise.race([aborted(signal), hub.lost ?? aborted(signal)]);
    log.info("ending", {});
  } finally {
    await hub.close();
  }
  if (lost !== undefined) throw lost;
  log.info("ended", {});
  output.flush();
  return EXIT.interrupted;
};

/**
 * A hub that begins may take a while, and SIGHUP would end it: to a service manager in good order, which leaves it so. It is heard
 * from the first moment on, and done when there is a hub. On a terminal it means that the terminal is gone.
 */
function hangupOf({ output, onHangup }: Context): { take(reload: () => void): void } {
  let isAsked = false;
  let reload = (): void => {
    isAsked = true;
  };
  if (!output.screen.out.isTty) onHangup(() => reload());
  return {
    take(next) {
      reload = next;
      if (isAsked) next();
    },
  };
}

/** Everything that the hub is told from outside. @throws {SynclineError} USAGE that names file, line and key */
function readAll(context: Context, named?: (config: HubConfig) => void): HubReading {
  const resolved = hubConfiguration(context);
  named?.(resolved.config);
  const file = resolved.config.bootstrap;
  const bootstrap = file === undefined ? undefined : readBootstrap(readSmallFile("bootstrap", file), file);
  return { resolved, bootstrap };
}

/** One JSON value a line with --json; otherwise the same words and fields for people. */
function hubLog({ output }: Context): ApiLog {
  const write = (level: "info" | "error", message: string, fields: Readonly<Record<string, unknown>>): void => {
    const time = new Date().toISOString();
    output.event({ type: "log", time, level, message, ...fields });
    const shown = Object.entries(fields)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => `${name}=${printablePath(String(value))}`);
    output.line([time, level, message, ...shown].join("  "));
  };
  return {
    info: (message, fields) => write("info", message, fields),
    error: (message, fields) => write("error", message, fields),
  };
}

function say({ output }: Context, hub: HubProcess, dataDir: string): void {
  const { url, port, syncPort, doors, authority, setupFile } = hub;
  output.event({ type: "listening", url, port, syncPort, doors, fingerprint: authority?.fingerprint, setupFile, dataDir });
  output.line(`listening on ${url}`);
  for (const door of doors) output.line(`  ${/^https?:/.test(door) ? `S3 on ${door}` : door}`);
  output.line(`  agents on port ${syncPort}`);
  output.line(`data in ${printablePath(dataDir)}`);
  if (authority !== undefined) output.line(`authority ${authority.fingerprint} in ${shellWord(`${dataDir}/keys`)}`);
  if (setupFile !== undefined) {
    output.line("nobody exists yet; become the first user, an administrator, with");
    const body = `'{"token":"'"$(cat ${shellWord(setupFile)})"'","user":"admin","password":"..."}'`;
    const ca = authority === undefined ? "" : ` --cacert ${shellWord(`${dataDir}/ca.pem`)}`;
    output.line(`  curl${ca} ${url}/v1/setup --json ${body}`);
  } else if (url.endsWith(LISTEN_FALLBACK)) output.line("try  syncline space list --token-file FILE");
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((done) => signal.addEventListener("abort", () => done(), { once: true }));
}
