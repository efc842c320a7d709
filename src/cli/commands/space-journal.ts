/** `syncline journal` and `syncline restore-point`: what became of a space, change by change, and moments with a name. */
import { printablePath } from "#model/path.ts";
import type { HubClient } from "#gateway/client/hub-client.ts";
import type { JournalJson } from "#gateway/api/shapes.ts";
import type { Command, Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { formatBytes, formatMoment, plural, tableLines } from "#cli/format.ts";
import { type Place, openClient, parsePlace } from "#cli/hub-client.ts";
import { usage } from "#cli/values.ts";

const LIMIT_DEFAULT = 20;
/** Lines put into columns together. */
const TABLE_ROWS = 1000;
/** Looked through at once where only the last changes of a part of a space are wanted. */
const WINDOW_CHANGES = 10_000;

export const journalCommand: Command = async (context) => {
  const { output, parsed } = context;
  const place = parsePlace(parsed.operands[0]!);
  const client = openClient(context);
  const after = countOf("after", parsed.given.after);
  const limit = countOf("limit", parsed.given.limit);
  if (after !== undefined && limit !== undefined) {
    throw usage("--after and --limit exclude each other", "--after shows all that came since");
  }
  const records = after === undefined ? await lastOf(client, place, limit ?? LIMIT_DEFAULT) : since(client, place, after);
  let rows: string[][] = [];
  let count = 0;
  const flush = (): void => {
    if (!output.form.json && rows.length > 0) output.answer(tableLines(rows).join("\n"));
    rows = [];
  };
  for await (const record of records) {
    output.event({ type: "change", ...record });
    count++;
    if (!output.form.json) rows.push(journalRow(record, output.form.verbose));
    if (rows.length === TABLE_ROWS) flush();
  }
  flush();
  if (count === 0) output.line("no change");
  return EXIT.same;
};

function countOf(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const count = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(count)) return count;
  throw usage(`--${option}: "${text}" is no count`, "write a whole number");
}

/** Whether a change is about a path or something below it, also as where it came from. */
function isOf({ path: below }: Place, { path, from }: JournalJson): boolean {
  const isIn = (one: string): boolean => below === "" || one === below || one.startsWith(`${below}/`);
  return isIn(path) || (from !== undefined && isIn(from));
}

async function* since(client: HubClient, place: Place, after: number): AsyncGenerator<JournalJson> {
  for await (const record of client.journal(place.space, after)) if (isOf(place, record)) yield record;
}

/** The last `limit` of them, oldest first: windows of the journal are read from its end on until there are enough. */
async function lastOf(client: HubClient, place: Place, limit: number): Promise<JournalJson[]> {
  const { sequence } = await client.space(place.space);
  const width = place.path === "" ? limit : Math.max(limit, WINDOW_CHANGES);
  const windows: JournalJson[][] = [];
  for (let end = sequence, count = 0; end > 0 && count < limit; end -= width) {
    const window: JournalJson[] = [];
    for await (const record of since(client, place, Math.max(0, end - width))) {
      if (record.sequence > end) break;
      window.push(record);
    }
    windows.push(window);
    count += window.length;
  }
  return limit === 0 ? [] : windows.reverse().flat().slice(-limit);
}

/** One change as a line: #41, when, who, what, how large, where, why, in which run. */
export function journalRow(record: JournalJson, withTrace: boolean): string[] {
  const { sequence, time, actor, host, action, kind, size = 0, path, from, cause, message, runId, traceId } = record;
  const who = host === undefined || actor === `agent:${host}` ? actor : `${actor} on ${host}`;
  const where = from === undefined ? printablePath(path) : `${printablePath(from)} → ${printablePath(path)}`;
  const why = message === undefined ? cause : `${cause}: ${printablePath(message)}`;
  return [
    `#${sequence}`,
    formatMoment(Date.parse(time)),
    printablePath(who),
    action,
    kind === "file" ? formatBytes(size) : kind === "removed" ? "-" : kind,
    where,
    why,
    ...(runId === undefined ? [] : [`run ${runId}`]),
    ...(withTrace ? [`trace ${traceId}`] : []),
  ];
}

export const restorePointCommand: Command = async (context) => {
  const [word, space, name] = context.parsed.operands;
  const { space: known } = parsePlace(space!);
  const client = openClient(context);
  if (word === "list") {
    if (name !== undefined) throw usage(`"${name}" is too much`, "syncline restore-point list SPACE");
    return listPoints(client, context, known);
  }
  if (name === undefined) throw usage("which restore point?", `syncline restore-point ${word} SPACE NAME`);
  if (word === "delete") {
    await client.deleteRestorePoint(known, name);
    context.output.event({ type: "restore-point-deleted", space: known, name });
    context.output.line(`@${printablePath(name)} is forgotten; its versions fall under retention again`);
    return EXIT.same;
  }
  const point = await client.createRestorePoint(known, name, context.parsed.given.at);
  context.output.event({ type: "restore-point", space: known, ...point });
  context.output.line(`@${point.name} is ${known} at ${point.sequence}; back to it: syncline restore ${known} --to @${point.name}`);
  return EXIT.same;
};

async function listPoints(client: HubClient, { output }: Context, space: string): Promise<number> {
  const points = await client.restorePoints(space);
  for (const point of points) output.event({ type: "restore-point", space, ...point });
  const rows = points.map(({ name, sequence, time, actor }) => {
    return [`@${name}`, `#${sequence}`, formatMoment(Date.parse(time)), printablePath(actor)];
  });
  if (!output.form.json && rows.length > 0) output.answer(tableLines(rows).join("\n"));
  output.line(plural(points.length, "restore point"));
  return EXIT.same;
}
