/**
 * `syncline verify`: two sides compared by content, or a directory with a sha256sum manifest.
 *
 * Two sides are compared by planning, without an ancestor and with every byte read, what would make one the replica of
 * the other: that plan is the list of differences. --repair carries out the part of it that copies.
 */
import type { Command, Context } from "#cli/context.ts";
import { type Pair, comparePair, openHost, sideText } from "#cli/engine.ts";
import { EXIT } from "#cli/exit-code.ts";
import { formatBytes, formatSeconds, plural } from "#cli/format.ts";
import { describeEntry } from "#cli/plan-text.ts";
import { askYesNo } from "#cli/question.ts";
import { NO_BRAKE } from "#cli/session-options.ts";
import { parseChoice, usage } from "#cli/values.ts";
import { verifyManifest } from "#cli/commands/verify-manifest.ts";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { printablePath } from "#model/path.ts";
import type { Change, Plan, Side } from "#model/plan.ts";
import type { SessionEvent, SessionOptions } from "#sync/session/events.ts";

export const verifyCommand: Command = (context) => {
  const { operands, given } = context.parsed;
  if (given.manifest !== undefined) {
    if (operands.length !== 1)
      throw usage("--manifest needs one directory", "syncline verify --manifest FILE DIR");
    return verifyManifest(context, given.manifest, operands[0]!, given.write ?? false);
  }
  if (given.write === true)
    throw usage("--write needs --manifest FILE", "syncline verify --manifest FILE --write DIR");
  if (operands.length !== 2) throw usage("verify needs two sides", "syncline verify <alpha> <beta>");
  return verifySides(context, { alpha: sideText(operands[0]!), beta: sideText(operands[1]!) });
};

type Finding = "differs" | "metadata" | "missing" | "extra";

const WORDS: Record<Finding, string> = {
  differs: "differs",
  metadata: "metadata",
  missing: "missing",
  extra: "extra",
};

async function verifySides(context: Context, pair: Pair): Promise<number> {
  const { output, parsed, signal } = context;
  const { given } = parsed;
  const right = parseChoice(given.from ?? "alpha", ["alpha", "beta"]) as Side;
  // The session's alpha is the side that is right: it is never changed.
  const oriented = right === "alpha" ? pair : { alpha: pair.beta, beta: pair.alpha };
  const request = {
    pair: oriented,
    given,
    stateDir: context.stateDir(),
    host: await openHost(),
    signal,
    askTrust: askYesNo(output),
  };
  let plan: Plan | undefined;
  let problems = 0;
  const onEvent = (event: SessionEvent): void => {
    if (event.type === "plan") plan = event.plan;
    else if (event.type === "progress") output.progress.update({ ...event, label: "comparing" });
    else if (event.type === "problem") {
      problems++;
      output.problem({ ...event.problem, side: original(event.problem.side, right) });
    }
  };
  const options = verifyOptions(context);
  const summary = await comparePair(request, options, onEvent);
  if (summary.result === "interrupted") return EXIT.interrupted;
  const other: Side = right === "alpha" ? "beta" : "alpha";
  const found = plan === undefined ? [] : report(context, plan, other);
  const repairable = found.filter((one) => one !== "extra").length;
  let repaired = 0;
  if (given.repair === true && repairable > 0) {
    // Extra entries stay: nobody said that they are wrong.
    const done = await comparePair(request, { ...options, dryRun: false, delete: false }, onEvent);
    // What it had not come to is as it was.
    if (done.result === "interrupted") return EXIT.interrupted;
    repaired = done.changes;
    problems = done.problems;
  }
  output.progress.clear();
  const wrong = found.length - (given.repair === true ? repairable : 0) + problems;
  output.event({
    type: "verify",
    files: summary.files,
    differences: found.length,
    repaired,
    problems,
    bytes: summary.bytes.scanned,
    seconds: summary.seconds,
  });
  const { green, red } = output.screen.paint;
  const verdict = wrong === 0 ? green(found.length === 0 ? "same" : "repaired") : red("not the same");
  const counts = [plural(found.length, "difference")];
  if (repaired > 0) counts.push(`${repaired} repaired`);
  if (problems > 0) counts.push(plural(problems, "problem"));
  const read = formatBytes(summary.bytes.scanned);
  output.line(`${verdict}: ${counts.join(", ")} · ${read} read · ${formatSeconds(summary.seconds)}`);
  if (wrong > 0 && given.repair !== true && repairable > 0)
    output.line(`copy ${right}'s content over them: add --repair (or --repair --from ${other})`);
  return wrong === 0 ? EXIT.same : EXIT.problems;
}

function original(side: Side, right: Side): Side {
  if (right === "alpha") return side;
  return side === "alpha" ? "beta" : "alpha";
}

function verifyOptions(context: Context): SessionOptions {
  const { given } = context.parsed;
  return {
    mode: "one-way-replica",
    conflict: "alpha",
    delete: true,
    brake: NO_BRAKE,
    approve: undefined,
    dryRun: true,
    watch: false,
    settle: "immediate",
    rescanMs: 60_000,
    deep: true,
    ignore: given.exclude ?? [],
    include: given.include ?? [],
    preserve: given.preserve ?? PRESERVE_DEFAULT,
    durable: "batch",
    verifyReadBack: true,
    compress: "auto",
    bytesPerSecond: undefined,
    verbose: false,
  };
}

function findingOf(change: Change): Finding {
  if (change.action === "metadata") return "metadata";
  if (change.new === undefined) return "extra";
  return change.old === undefined ? "missing" : "differs";
}

/** Prints every difference; one element for each. */
function report(context: Context, plan: Plan, other: Side): Finding[] {
  const { output } = context;
  const found: Finding[] = [];
  const print = (finding: Finding, path: string, note: string): void => {
    found.push(finding);
    output.event({ type: "difference", finding, side: other, path });
    if (output.forPeople)
      output.answer(`${WORDS[finding].padEnd(8)}  ${other}  ${printablePath(path)}${note}`);
  };
  for (const move of plan.moves) {
    print("missing", move.to, `  (is at ${printablePath(move.from)})`);
    print("extra", move.from, "");
  }
  for (const change of plan.changes) {
    const finding = findingOf(change);
    print(finding, change.path, differenceNote(change));
  }
  for (const conflict of plan.conflicts) print("differs", conflict.path, "");
  return found;
}

function differenceNote(change: Change): string {
  if (change.action === "metadata") return "";
  if (change.old === undefined || change.new === undefined)
    return `  (${describeEntry((change.new ?? change.old)!)})`;
  const [was, should] = [describeEntry(change.old), describeEntry(change.new)];
  return was === should ? `  (${was}, other content)` : `  (${was} instead of ${should})`;
}
