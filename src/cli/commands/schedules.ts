/** `syncline schedules`: when a hub begins jobs by itself. */
import type { HubClient } from "#gateway/client/hub-client.ts";
import type { ScheduleJson } from "#gateway/api/job-shapes.ts";
import { CATCH_UP_MAX } from "#jobs/schedule.ts";
import { SynclineError } from "#model/error.ts";
import { followed } from "#cli/commands/jobs.ts";
import type { Command, Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { openClient } from "#cli/hub-client.ts";
import { scheduleLines, scheduleTable } from "#cli/job-text.ts";
import { readJobArgs } from "#cli/job-words.ts";
import { parseChoice, usage } from "#cli/values.ts";

type Work = (client: HubClient, context: Context, name: string, more: readonly string[]) => Promise<number>;

const WORDS: Record<string, Work> = {
  put,
  list: async (client, { output }) => {
    const schedules = await client.schedules();
    for (const schedule of schedules) output.event({ type: "schedule", ...schedule });
    if (schedules.length === 0) output.line("no schedule that you may see");
    else output.answer(scheduleTable(schedules, Date.now(), output.screen.paint).join("\n"));
    return EXIT.same;
  },
  show: async (client, context, name) => {
    const schedule = await named(client, name);
    context.output.event({ type: "schedule", ...schedule });
    context.output.answer(scheduleLines(schedule, Date.now(), context.output.screen.paint).join("\n"));
    return EXIT.same;
  },
  enable: (client, context, name) => change(client, context, name, true),
  disable: (client, context, name) => change(client, context, name, false),
  run: async (client, context, name) => {
    const job = await client.runSchedule(name);
    context.output.line(`job ${job.id} is queued`);
    return followed(client, context, job);
  },
  remove: async (client, { output }, name) => {
    await client.removeSchedule(name);
    output.event({ type: "schedule-removed", name });
    output.line(`removed ${name}; jobs that it made stay`);
    return EXIT.same;
  },
};

export const schedulesCommand: Command = async (context) => {
  const [word, name, ...more] = context.parsed.operands;
  const what = parseChoice(word!, Object.keys(WORDS));
  if (what !== "list" && name === undefined) throw usage(`${what} which schedule?`, "syncline schedules list");
  if ((what === "list" && name !== undefined) || (what !== "put" && more.length > 0)) {
    throw usage(`schedules ${what} takes ${what === "list" ? "nothing" : "one name"}`, "syncline schedules --help");
  }
  return WORDS[what]!(openClient(context), context, name ?? "", more);
};

async function put(client: HubClient, context: Context, name: string, [cron, kind, ...words]: readonly string[]): Promise<number> {
  if (cron === undefined || kind === undefined) {
    throw usage("when, and what?", 'syncline schedules put NAME "30 2 * * *" KIND [KEY=VALUE...]');
  }
  const { zone, misfire, overlap, spread, priority } = context.parsed.given;
  const spreadSeconds = spread === undefined ? undefined : Math.round(spread / 1000);
  const catchUp = catchUpOf(context);
  const args = readJobArgs(kind, words);
  const settings = { cron, kind, args, zone, misfire, catchUp, overlap, spreadSeconds, priority };
  return said(context, await client.putSchedule(name, settings));
}

function catchUpOf({ parsed }: Context): number | undefined {
  const text = parsed.given["catch-up"];
  if (text === undefined) return undefined;
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= CATCH_UP_MAX) return count;
  throw usage(`--catch-up: "${text}" is no number from 1 to ${CATCH_UP_MAX}`);
}

async function named(client: HubClient, name: string): Promise<ScheduleJson> {
  const found = (await client.schedules()).find((one) => one.name === name);
  if (found !== undefined) return found;
  const message = `there is no schedule ${name}, or you may not see it`;
  throw new SynclineError({ code: "NOT_FOUND", op: "find schedule", message, hint: "syncline schedules list" });
}

async function change(client: HubClient, context: Context, name: string, enabled: boolean): Promise<number> {
  const { cron, zone, kind, args, priority, misfire, catchUp, overlap, spreadSeconds } = await named(client, name);
  const settings = { cron, zone, kind, args, priority, misfire, catchUp, overlap, spreadSeconds, enabled };
  return said(context, await client.putSchedule(name, settings));
}

function said({ output }: Context, schedule: ScheduleJson): number {
  output.event({ type: "schedule", ...schedule });
  output.lines(scheduleLines(schedule, Date.now(), output.screen.paint));
  return EXIT.same;
}
