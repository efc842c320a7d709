/**
 * `syncline demo`, which `npm start` runs: two sample folders kept the same in both directions, with every step shown
 * and things to try. With --once it makes a change on each side itself and ends when both have arrived.
 */
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import type { Command, Context } from "#cli/context.ts";
import { type Pair, openHost, runPair } from "#cli/engine.ts";
import { EXIT } from "#cli/exit-code.ts";
import { shellWord } from "#cli/format.ts";
import { canWrite, readIfThere, seedFolder, writeText } from "#cli/local-files.ts";
import { sessionOptions } from "#cli/session-options.ts";
import { SessionReport } from "#cli/session-report.ts";
import { SynclineError } from "#model/error.ts";
import type { Host } from "#platform/host.ts";
import type { SessionEvent } from "#sync/session/events.ts";

const FOLDER = ".syncline-demo";
/** How long --once waits for a change to arrive; far above what it takes, so that a slow machine passes. */
const ARRIVAL_MS_MAX = 30_000;
const POLL_MS = 5;

const LEFT = {
  "README.txt": "Change, add, rename or delete anything in left or right: the other folder follows.\n",
  "notes/today.txt": "Three things to do.\n",
  "notes/ideas.txt": "An idea.\n",
};
const RIGHT = {
  "photos/list.txt": "sea.jpg\nhills.jpg\n",
  "from-the-right.txt": "I was made on the right side.\n",
};

export const demoCommand: Command = async (context) => {
  const host = await openHost();
  const base = chooseBase(context.parsed.given.dir);
  const pair: Pair = { alpha: join(base, "left"), beta: join(base, "right") };
  // A checkout must not show the folders as something to commit.
  seedFolder(base, { ".gitignore": "*\n" });
  seedFolder(pair.alpha, LEFT);
  seedFolder(pair.beta, RIGHT);
  introduce(context, pair);
  const stop = new AbortController();
  const signal = AbortSignal.any([context.signal, stop.signal]);
  const options = { ...sessionOptions({ watch: true, settle: "immediate" }), verbose: true };
  // Changes are the point of the demonstration, so they are shown without --verbose.
  const { output } = context;
  const report = new SessionReport(output, {
    labels: pair,
    mode: options.mode,
    watch: true,
    dryRun: false,
    approveCommand: (hash) =>
      `syncline sync ${shellWord(pair.alpha)} ${shellWord(pair.beta)} --approve=${hash}`,
    resolveCommand: `syncline resolve ${shellWord(pair.alpha)} ${shellWord(pair.beta)} --keep alpha|beta|copy|newer`,
  });
  const watching = Promise.withResolvers<void>();
  const onEvent = (event: SessionEvent): void => {
    if (event.type === "phase" && event.phase === "watching") watching.resolve();
    if (event.type === "change" && !output.form.verbose) output.line(changeText(event));
    else report.onEvent(event);
  };
  const request = {
    pair,
    given: context.parsed.given,
    stateDir: join(base, "state"),
    host,
    signal,
    askTrust: undefined,
  };
  const running = runPair(request, options, onEvent);
  if (context.parsed.given.once !== true) {
    report.end(await running);
    return EXIT.interrupted;
  }
  try {
    await Promise.race([watching.promise, running]);
    await roundTrip(context, pair, host);
  } finally {
    stop.abort(new SynclineError({ code: "INTERRUPTED", op: "demo", message: "the demonstration is over" }));
    await running.catch(() => undefined);
  }
  return context.signal.aborted ? EXIT.interrupted : EXIT.same;
};

function changeText(event: Extract<SessionEvent, { type: "change" }>): string {
  const arrow = event.side === "beta" ? "left → right" : "left ← right";
  return `  ${arrow}  ${event.action.padEnd(8)}  ${event.path}`;
}

/** In the working directory, so that the folders are easy to find; otherwise in a place of its own. */
function chooseBase(given: string | undefined): string {
  if (given !== undefined) return resolve(given);
  const here = resolve(FOLDER);
  return canWrite(here) ? here : join(tmpdir(), `syncline-demo-${process.pid}`);
}

function introduce({ output }: Context, pair: Pair): void {
  const { bold, dim } = output.screen.paint;
  const near = (path: string): string => {
    const short = relative(process.cwd(), path);
    return shellWord(short.startsWith("..") ? path : short);
  };
  const [left, right] = [near(pair.alpha), near(pair.beta)];
  output.lines([
    bold("Syncline keeps these two folders the same, in both directions:"),
    `  ${left}`,
    `  ${right}`,
    "",
    "Try it in another terminal:",
    `  echo hi > ${join(left, "hello.txt")}        ${dim("# appears on the right")}`,
    `  mv ${join(right, "notes")} ${join(right, "diary")}   ${dim("# renamed on the left, no data moves")}`,
    `  rm ${join(left, "hello.txt")}               ${dim("# goes on the right, too; kept for undo")}`,
    "",
    dim("Stop with Ctrl-C."),
    "",
  ]);
}

/** A change on either side, and both must arrive. */
async function roundTrip(context: Context, pair: Pair, host: Host): Promise<void> {
  const word = Buffer.from(host.random.bytes(6)).toString("hex");
  for (const [from, to, name] of [
    [pair.alpha, pair.beta, "sent-by-left.txt"],
    [pair.beta, pair.alpha, "sent-by-right.txt"],
  ] as const) {
    const startMs = host.clock.monotonicMs();
    writeText(join(from, name), `${word}\n`);
    while (readIfThere(join(to, name)) !== `${word}\n`) {
      const waitedMs = host.clock.monotonicMs() - startMs;
      if (waitedMs > ARRIVAL_MS_MAX) {
        throw new SynclineError({
          code: "INTERNAL",
          op: "demo",
          path: name,
          message: "a change did not arrive on the other side",
          hint: "syncline doctor checks this host",
        });
      }
      await host.clock.sleep(POLL_MS, context.signal);
    }
    const tookMs = host.clock.monotonicMs() - startMs;
    context.output.line(`  ${name} arrived on the other side within ${Math.ceil(tookMs)} ms`);
  }
  context.output.event({ type: "demo", result: "same" });
}
