/**
 * From the words of the command line to an exit code. Commands are imported when asked for, so that `--help` and
 * completion cost nothing else.
 */
import type { Command, Context } from "#cli/context.ts";
import { EXIT, exitOfError } from "#cli/exit-code.ts";
import { commandHelp } from "#cli/help.ts";
import { stateDirectory } from "#cli/local-files.ts";
import type { CommandName } from "#cli/options.ts";
import { Output } from "#cli/output.ts";
import { type Parsed, parse } from "#cli/parse.ts";
import { processScreen } from "#cli/screen.ts";
import { SynclineError } from "#model/error.ts";
import { describeErrno } from "#platform/file-system.ts";

const LOADERS: Record<CommandName, () => Promise<Command>> = {
  sync: async () => (await import("#cli/commands/sync.ts")).syncCommand,
  serve: async () => (await import("#cli/commands/serve.ts")).serveCommand,
  verify: async () => (await import("#cli/commands/verify.ts")).verifyCommand,
  log: async () => (await import("#cli/commands/log.ts")).logCommand,
  undo: async () => (await import("#cli/commands/undo.ts")).undoCommand,
  conflicts: async () => (await import("#cli/commands/conflicts.ts")).conflictsCommand,
  resolve: async () => (await import("#cli/commands/resolve.ts")).resolveCommand,
  forget: async () => (await import("#cli/commands/forget.ts")).forgetCommand,
  doctor: async () => (await import("#cli/commands/doctor.ts")).doctorCommand,
  hub: async () => (await import("#cli/commands/hub.ts")).hubCommand,
  config: async () => (await import("#cli/commands/config.ts")).configCommand,
  space: async () => (await import("#cli/commands/space.ts")).spaceCommand,
  ls: async () => (await import("#cli/commands/space-files.ts")).lsCommand,
  put: async () => (await import("#cli/commands/space-files.ts")).putCommand,
  get: async () => (await import("#cli/commands/space-files.ts")).getCommand,
  rm: async () => (await import("#cli/commands/space-files.ts")).rmCommand,
  mkdir: async () => (await import("#cli/commands/space-files.ts")).mkdirCommand,
  mv: async () => (await import("#cli/commands/space-files.ts")).mvCommand,
  history: async () => (await import("#cli/commands/space-history.ts")).historyCommand,
  journal: async () => (await import("#cli/commands/space-journal.ts")).journalCommand,
  "restore-point": async () => (await import("#cli/commands/space-journal.ts")).restorePointCommand,
  restore: async () => (await import("#cli/commands/space-history.ts")).restoreCommand,
  agents: async () => (await import("#cli/commands/agents.ts")).agentsCommand,
  links: async () => (await import("#cli/commands/agents.ts")).linksCommand,
  link: async () => (await import("#cli/commands/link.ts")).linkCommand,
  release: async () => (await import("#cli/commands/release.ts")).releaseCommand,
  deps: async () => (await import("#cli/commands/deps.ts")).depsCommand,
  holds: async () => (await import("#cli/commands/holds.ts")).holdsCommand,
  approve: async () => (await import("#cli/commands/holds.ts")).approveCommand,
  jobs: async () => (await import("#cli/commands/jobs.ts")).jobsCommand,
  schedules: async () => (await import("#cli/commands/schedules.ts")).schedulesCommand,
  token: async () => (await import("#cli/commands/tokens.ts")).tokenCommand,
  "join-token": async () => (await import("#cli/commands/tokens.ts")).joinTokenCommand,
  access: async () => (await import("#cli/commands/access.ts")).accessCommand,
  login: async () => (await import("#cli/commands/sessions.ts")).loginCommand,
  logout: async () => (await import("#cli/commands/sessions.ts")).logoutCommand,
  session: async () => (await import("#cli/commands/sessions.ts")).sessionCommand,
  user: async () => (await import("#cli/commands/users.ts")).userCommand,
  group: async () => (await import("#cli/commands/users.ts")).groupCommand,
  role: async () => (await import("#cli/commands/roles.ts")).roleCommand,
  "s3-key": async () => (await import("#cli/commands/keys.ts")).s3KeyCommand,
  "ssh-key": async () => (await import("#cli/commands/keys.ts")).sshKeyCommand,
  audit: async () => (await import("#cli/commands/audit.ts")).auditCommand,
  share: async () => (await import("#cli/commands/share.ts")).shareCommand,
  sign: async () => (await import("#cli/commands/share.ts")).signCommand,
  cp: async () => (await import("#cli/commands/space-files.ts")).cpCommand,
  webhook: async () => (await import("#cli/commands/webhook.ts")).webhookCommand,
  profile: async () => (await import("#cli/commands/profile.ts")).profileCommand,
  demo: async () => (await import("#cli/commands/demo.ts")).demoCommand,
  agent: async () => (await import("#cli/commands/agent.ts")).agentCommand,
  "far-side": async () => (await import("#cli/commands/far-side.ts")).farSideCommand,
  completion: async () => (await import("#cli/commands/simple.ts")).completionCommand,
  version: async () => (await import("#cli/commands/simple.ts")).versionCommand,
  help: async () => (await import("#cli/commands/simple.ts")).helpCommand,
};

/**
 * Runs one command in this process and returns the exit code. Never throws for what a user can cause.
 *
 * @param args the words after the program's name
 */
export async function main(
  args: readonly string[],
  environment: Record<string, string | undefined>,
): Promise<number> {
  const screen = processScreen(environment);
  const debug = (environment["SYNCLINE_DEBUG"] ?? "") !== "";
  const plain = { json: false, quiet: false, verbose: false };
  const nowMs = (): number => performance.now();
  let parsed: Parsed;
  try {
    parsed = parse(args, environment);
  } catch (error) {
    // The words could not be read, so whether NDJSON was wanted is seen from the bare word.
    new Output(screen, { ...plain, json: args.includes("--json") }, nowMs).error(error, debug);
    return exitOfError(error);
  }
  const { given } = parsed;
  if (given.help === true) {
    screen.out.write(commandHelp(parsed.command, screen.out.columns()));
    return EXIT.same;
  }
  const output = new Output(
    screen,
    { json: given.json ?? false, quiet: given.quiet ?? false, verbose: given.verbose ?? false },
    nowMs,
  );
  const hangup: Hangup = { listener: undefined };
  const context: Context = {
    parsed,
    output,
    environment,
    signal: interruptSignal(output, hangup),
    onHangup: (listener) => (hangup.listener = listener),
    stateDir: () => stateDirectory(given["state-dir"], environment),
  };
  const code = await run(context, debug);
  const { lost } = screen.out;
  if (lost === undefined || code !== EXIT.same) return code;
  // Whoever reads what is there must not take it for all.
  const message = `standard output: ${describeErrno(lost)} (${lost}); not all of it is written`;
  output.error(new SynclineError({ code: "DISK", op: "write", message, hint: "make room: df -h; then run it again" }), debug);
  return EXIT.failed;
}

async function run(context: Context, debug: boolean): Promise<number> {
  const { output, parsed, signal } = context;
  try {
    return await (
      await LOADERS[parsed.command]()
    )(context);
  } catch (error) {
    const interrupted = signal.aborted && (error === signal.reason || exitOfError(error) === EXIT.interrupted);
    if (interrupted) return EXIT.interrupted;
    output.error(error, debug);
    return exitOfError(error);
  } finally {
    output.progress.clear();
    output.flush();
  }
}

type Hangup = { listener: (() => void) | undefined };

/** The first signal asks for an orderly end; the second ends at once. SIGHUP is one of them unless a command takes it. */
function interruptSignal(output: Output, hangup: Hangup): AbortSignal {
  const controller = new AbortController();
  const onSignal = (): void => {
    if (controller.signal.aborted) {
      output.flush();
      process.exit(EXIT.interrupted);
    }
    output.progress.clear();
    if (output.forPeople && output.screen.out.isTty)
      output.screen.err.write("\nending in order; again to end at once\n");
    controller.abort(new SynclineError({ code: "INTERRUPTED", op: "run", message: "interrupted" }));
  };
  for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, onSignal);
  process.on("SIGHUP", () => (hangup.listener ?? onSignal)());
  return controller.signal;
}
