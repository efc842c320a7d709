/** `syncline jobs`: what a hub does that takes long, and why something does not happen yet. */
import { setTimeout as sleep } from "node:timers/promises";
import type { HubClient } from "#gateway/client/hub-client.ts";
import type { JobJson } from "#gateway/api/job-shapes.ts";
import { isOver } from "#jobs/job.ts";
import type { Command, Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { openClient } from "#cli/hub-client.ts";
import { explanationLines, jobLines, jobTable, progressText } from "#cli/job-text.ts";
import { readJobArgs } from "#cli/job-words.ts";
import { parseChoice, usage } from "#cli/values.ts";

/** How often a job is looked at that is waited for. */
const LOOK_MS = 500;
const LIMIT_DEFAULT = 20;
const LIMIT_MAX = 100_000;

type Work = (client: HubClient, context: Context, operands: readonly string[]) => Promise<number>;

const WORDS: Record<string, Work> = {
  list,
  run,
  show: async (client, context, operands) => {
    const job = await client.job(idOf(operands));
    context.output.event({ type: "job", ...job });
    context.output.answer(jobLines(job, Date.now(), context.output.screen.paint).join("\n"));
    return EXIT.same;
  },
  explain: async (client, { output }, operands) => {
    const explained = await client.explainJob(idOf(operands));
    output.event({ type: "explanation", ...explained });
    output.answer(explanationLines(explained, Date.now(), output.screen.paint).join("\n"));
    return EXIT.same;
  },
  cancel: async (client, { output }, operands) => {
    const job = await client.changeJob(idOf(operands), "cancel");
    output.event({ type: "job", ...job });
    output.line(job.state === "cancelled" ? `job ${job.id} is cancelled` : `job ${job.id} was asked to end`);
    return EXIT.same;
  },
  retry: async (client, context, operands) => {
    const job = await client.changeJob(idOf(operands), "retry");
    context.output.line(`job ${job.id} is queued again`);
    return followed(client, context, job);
  },
};

export const jobsCommand: Command = async (context) => {
  const [word, ...operands] = context.parsed.operands;
  const work = WORDS[parseChoice(word!, Object.keys(WORDS))]!;
  return work(openClient(context), context, operands);
};

async function list(client: HubClient, { output, parsed }: Context, operands: readonly string[]): Promise<number> {
  if (operands.length > 0) throw usage("jobs list takes no operand", "syncline jobs list --state failed --kind restore");
  const { state, kind, limit } = parsed.given;
  const jobs = await client.jobs({ state, kind }, limitOf(limit));
  for (const job of jobs) output.event({ type: "job", ...job });
  if (jobs.length === 0) output.line("no job");
  else output.answer(jobTable(jobs, Date.now(), output.screen.paint).join("\n"));
  return EXIT.same;
}

function limitOf(text: string | undefined): number {
  const limit = text === undefined ? LIMIT_DEFAULT : Number(text);
  if (Number.isInteger(limit) && limit >= 1 && limit <= LIMIT_MAX) return limit;
  throw usage(`--limit: "${text}" is no number from 1 to ${LIMIT_MAX}`);
}

async function run(client: HubClient, context: Context, operands: readonly string[]): Promise<number> {
  const [kind, ...words] = operands;
  if (kind === undefined) throw usage("which kind of job?", "syncline help jobs lists them");
  const args = readJobArgs(kind, words);
  const job = await client.submitJob({ kind, args, priority: context.parsed.given.priority });
  context.output.line(`job ${job.id} is queued`);
  return followed(client, context, job);
}

function idOf([text, ...more]: readonly string[]): number {
  const digits = /^#?(\d{1,15})$/.exec(text ?? "")?.[1];
  if (digits !== undefined && more.length === 0) return Number(digits);
  throw usage(text === undefined ? "which job?" : `"${[text, ...more].join(" ")}" is no number of a job`, "syncline jobs list");
}

/** With --wait until it is over. */
export async function followed(client: HubClient, context: Context, begun: JobJson): Promise<number> {
  const { output, parsed, signal } = context;
  let job = begun;
  output.event({ type: "job", ...job });
  if (parsed.given.wait !== true) return EXIT.same;
  let told = job.state;
  while (!isOver(job.state)) {
    await sleep(LOOK_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
    job = await client.job(job.id);
    const { done = 0, total } = job.progress ?? {};
    const isBytes = job.progress?.unit === "bytes";
    output.progress.update({
      label: job.progress?.phase ?? job.state,
      done: isBytes ? 0 : done,
      total: isBytes ? undefined : total,
      bytes: isBytes ? done : 0,
      bytesTotal: isBytes ? total : undefined,
    });
    if (job.state === told) continue;
    told = job.state;
    output.event({ type: "job", ...job });
    if (job.state === "waiting") output.line(`try ${job.tries} of ${job.triesMax} failed: ${job.error?.message ?? ""}`);
    else if (output.form.verbose && job.state === "running") output.line(`it runs  ${progressText(job.progress)}`);
  }
  output.lines(jobLines(job, Date.now(), output.screen.paint));
  return job.state === "done" ? EXIT.same : EXIT.problems;
}
