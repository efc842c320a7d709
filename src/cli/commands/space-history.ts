/** `syncline history` and `syncline restore`: who changed what in a space, and going back. */
import { printablePath } from "#model/path.ts";
import type { Command } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { formatBytes, formatMoment, plural, shellWord, tableLines } from "#cli/format.ts";
import { openClient, parseFilePlace, parsePlace } from "#cli/hub-client.ts";
import { usage } from "#cli/values.ts";

const LIMIT_DEFAULT = 20;

export const historyCommand: Command = async (context) => {
  const { output, parsed } = context;
  const { space, path } = parseFilePlace(parsed.operands[0]!);
  const limit = Number(parsed.given.limit ?? LIMIT_DEFAULT);
  if (!Number.isSafeInteger(limit) || limit < 1) throw usage(`--limit: "${parsed.given.limit}" is no count`);
  const rows: string[][] = [];
  for await (const record of openClient(context).versions(space, path, limit)) {
    output.event({ type: "version", ...record });
    const what = record.from === undefined ? record.action : `moved from ${printablePath(record.from)}`;
    const size = record.kind === "file" ? formatBytes(record.size ?? 0) : record.kind;
    const why = record.message === undefined ? record.cause : `${record.cause}: ${printablePath(record.message)}`;
    const told = record.purged === true ? `${why}; purged since` : why;
    rows.push([`#${record.sequence}`, formatMoment(Date.parse(record.time)), record.actor, what, size, told]);
  }
  if (rows.length === 0) output.line("nothing ever was at this path, or its history is forgotten");
  else if (!output.form.json) output.answer(tableLines(rows).join("\n"));
  return EXIT.same;
};

export const restoreCommand: Command = async (context) => {
  const { output, parsed } = context;
  const { given, operands } = parsed;
  const { space, path } = parsePlace(operands[0]!);
  if (given.to === undefined) throw usage("to which point?", "--to a sequence, a time or @NAME");
  const dryRun = given["dry-run"] ?? false;
  const answer = await openClient(context).restore(space, path, given.to, { dryRun, message: given.message });
  output.event({ type: "restore", ...answer });
  const { put, removed } = answer.counts;
  const words = `${plural(put, "path")} put back, ${plural(removed, "path")} removed`;
  output.line(dryRun ? `would be: ${words}` : words);
  const { before, after } = answer;
  if (!dryRun && before !== undefined && after !== before) {
    const place = `${space}${path === "" ? "" : `:${path}`}`;
    output.line(`take it back: syncline restore ${shellWord(place)} --to ${before}`);
  }
  for (const { path, message } of answer.notDone) {
    output.warn(`${printablePath(path)}: ${message ?? "changed meanwhile, left alone"}`);
  }
  return answer.notDoneCount === 0 ? EXIT.same : EXIT.problems;
};
