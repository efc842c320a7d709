/** Jobs and schedules of a hub as a person reads them. Pure. */
import type { ExplanationJson, JobJson, ScheduleJson } from "#gateway/api/job-shapes.ts";
import { printablePath } from "#model/path.ts";
import { formatAgo, formatBytes, formatCount, formatMoment, formatSpan, plural, tableLines } from "#cli/format.ts";
import type { Paint } from "#cli/screen.ts";

const TEXT_CHARS_MAX = 100;
const ABOUT_CHARS_MAX = 60;

export function jobTable(jobs: readonly JobJson[], nowMs: number, paint: Paint): string[] {
  return tableLines(
    jobs.map((job) => [
      `#${job.id}`,
      paintedState(job.state, paint),
      job.kind,
      aboutOf(job),
      whenOf(job, nowMs),
      outcomeOf(job),
    ]),
  );
}

function paintedState(state: JobJson["state"], paint: Paint): string {
  if (state === "done") return paint.green(state);
  if (state === "failed") return paint.bold(paint.red(state));
  return state === "waiting" ? paint.yellow(state) : state === "running" ? paint.bold(state) : paint.dim(state);
}

/** What it is about: its own arguments, as they would be written. */
function aboutOf({ args }: Pick<JobJson, "args">): string {
  return shortened(writtenArgs(args), ABOUT_CHARS_MAX);
}

function writtenArgs(args: unknown): string {
  const words = Object.entries(args as Record<string, unknown>)
    .filter(([, value]) => value !== "" && value !== false)
    .map(([key, value]) => `${key}=${typeof value === "string" ? printablePath(value) : JSON.stringify(value)}`);
  return words.join(" ");
}

function whenOf({ state, submitted, started, ended, notBefore }: JobJson, nowMs: number): string {
  if (ended !== undefined) return formatAgo(nowMs - Date.parse(ended));
  if (state === "running" && started !== undefined) return `for ${formatSpan(nowMs - Date.parse(started))}`;
  if (notBefore !== undefined) return `again ${formatAgo(nowMs - Date.parse(notBefore))}`;
  return `waits ${formatSpan(nowMs - Date.parse(submitted))}`;
}

function outcomeOf({ state, progress, error, result, cancelAsked }: JobJson): string {
  if (state === "running") return cancelAsked ? "is to end" : progressText(progress);
  if (error !== undefined && state !== "done") return shortened(printablePath(error.message), TEXT_CHARS_MAX);
  return state === "done" ? shortened(resultText(result), TEXT_CHARS_MAX) : "";
}

/** "restoring  12,000 of 50,000 paths (24 %)". */
export function progressText(progress: JobJson["progress"]): string {
  if (progress === undefined) return "";
  const { done, total, unit, phase } = progress;
  if (phase !== undefined && done === 0 && total === undefined) return phase;
  const amount = (value: number): string => (unit === "bytes" ? formatBytes(value) : formatCount(value));
  const of = total === undefined || total === 0 ? "" : ` of ${amount(total)}`;
  const share = total === undefined || total === 0 ? "" : ` (${Math.min(100, Math.floor((100 * done) / total))} %)`;
  return `${phase === undefined ? "" : `${phase}  `}${amount(done)}${of}${unit === "bytes" ? "" : ` ${unit}`}${share}`;
}

/** "damagedChunks" is "damaged chunks"; that something is bytes is said by its unit. */
const wordsOf = (name: string): string => name.replace(/Bytes$/, "").replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

/** Numbers by their names; what is a list is counted. */
function resultText(result: unknown): string {
  if (typeof result !== "object" || result === null) return "";
  return Object.entries(result)
    .filter(([, value]) => typeof value === "number" || typeof value === "string")
    .map(([name, value]) => `${wordsOf(name)} ${/bytes/i.test(name) ? formatBytes(value as number) : String(value)}`)
    .join(", ");
}

export function jobLines(job: JobJson, nowMs: number, paint: Paint): string[] {
  const { tries, triesMax, preempted, error } = job;
  const facts: [string, string | undefined][] = [
    ["state", paintedState(job.state, paint) + (job.cancelAsked && job.state === "running" ? ", is to end" : "")],
    ["about", aboutOf(job)],
    ["priority", job.priority],
    ["by", `${printablePath(job.submittedBy)}${job.schedule === undefined ? "" : `, schedule ${job.schedule}`}`],
    ["submitted", at(job.submitted, nowMs)],
    ["started", at(job.started, nowMs)],
    ["ended", at(job.ended, nowMs)],
    ["deadline", at(job.deadline, nowMs)],
    ["tries", tries === 0 ? undefined : `${tries} of ${triesMax} failed`],
    ["gave way", preempted === 0 ? undefined : plural(preempted, "time")],
    ["progress", progressText(job.progress)],
    ["result", resultText(job.result)],
    ["error", error === undefined ? undefined : `${printablePath(error.message)} (${error.code})`],
    ["hint", error?.hint === undefined ? undefined : printablePath(error.hint)],
    ["trace", job.traceId],
  ];
  const rows = facts.filter(([, value]) => value !== undefined && value !== "").map(([name, value]) => [`  ${name}`, value!]);
  return [`${paint.bold(`#${job.id}`)} ${job.kind}`, ...tableLines(rows), ...namedLines(job)];
}

/** What a restore left alone, and what a check found. */
function namedLines({ state, result, checkpoint }: JobJson): string[] {
  const left = (result as { left?: { path: string; why: string }[] } | undefined)?.left ?? [];
  const findings = state === "failed" ? ((checkpoint as { findings?: string[] } | undefined)?.findings ?? []) : [];
  return [...left.map(({ path, why }) => `  ${path}: ${why}`), ...findings.map((line) => `  ${printablePath(line)}`)];
}

function at(time: string | undefined, nowMs: number): string | undefined {
  if (time === undefined) return undefined;
  const ms = Date.parse(time);
  return `${formatMoment(ms)}, ${formatAgo(nowMs - ms)}`;
}

export function explanationLines(explained: ExplanationJson, nowMs: number, paint: Paint): string[] {
  const { job, reason, base, effective, ahead, aheadJobs, breaker, waitedSeconds, agingStepSeconds } = explained;
  const lines = [`${paint.bold(`#${job.id}`)} ${job.kind}, ${paintedState(job.state, paint)}: ${printablePath(reason)}`];
  if (job.state !== "queued" && job.state !== "waiting") return lines;
  const aged = effective > base ? `, ${effective} with its age` : "";
  lines.push(`  priority ${job.priority} (${base})${aged}; it rises by one every ${formatSpan(agingStepSeconds * 1000)}`);
  const bound = explained.starvationBoundSeconds;
  const left = bound - waitedSeconds;
  if (bound === 0 || left <= 0) lines.push("  no job that comes later goes before it any more");
  else lines.push(`  jobs that come later can go before it for ${formatSpan(left * 1000)} more, of ${formatSpan(bound * 1000)}`);
  if (ahead > 0) {
    const more = ahead > aheadJobs.length ? " …" : "";
    lines.push(`  ${plural(ahead, "job")} before it: ${aheadJobs.map((id) => `#${id}`).join(" ")}${more}`);
  }
  if (breaker !== undefined && breaker.state !== "closed") {
    const until = breaker.state === "open" ? `, tried again ${formatAgo(nowMs - Date.parse(breaker.until))}` : "";
    lines.push(`  breaker of ${breaker.dependency}: ${breaker.state} after ${plural(breaker.failures, "failure")}${until}`);
  }
  return lines;
}

export function scheduleTable(schedules: readonly ScheduleJson[], nowMs: number, paint: Paint): string[] {
  return tableLines(
    schedules.map(({ name, kind, cron, zone, enabled, next, lastOutcome }) => [
      paint.bold(name),
      kind,
      zone === "UTC" ? cron : `${cron} ${zone}`,
      enabled ? (next === undefined ? "never again" : `next ${formatAgo(nowMs - Date.parse(next))}`) : paint.dim("disabled"),
      lastOutcome === undefined ? "not run yet" : `last: ${printablePath(lastOutcome)}`,
    ]),
  );
}

export function scheduleLines(schedule: ScheduleJson, nowMs: number, paint: Paint): string[] {
  const { misfire, catchUp, overlap, spreadSeconds } = schedule;
  const rows: [string, string | undefined][] = [
    ["jobs", `${schedule.kind} ${writtenArgs(schedule.args)}`.trim()],
    ["priority", schedule.priority],
    ["times", `${schedule.cron} ${schedule.zone}${spreadSeconds === 0 ? "" : `, put off by up to ${formatSpan(spreadSeconds * 1000)}`}`],
    ["missed", misfire === "catch-up" ? `catch-up, ${plural(catchUp, "time")}` : misfire],
    ["overlap", overlap],
    ["for", printablePath(schedule.submittedBy)],
    ["next", schedule.enabled ? (at(schedule.next, nowMs) ?? "never again") : "disabled"],
    ["last", at(schedule.last, nowMs)],
    ["outcome", schedule.lastOutcome === undefined ? undefined : printablePath(schedule.lastOutcome)],
  ];
  const shown = rows.filter(([, value]) => value !== undefined).map(([name, value]) => [`  ${name}`, value!]);
  return [paint.bold(schedule.name) + (schedule.origin === "hub" ? " (the hub's own)" : ""), ...tableLines(shown)];
}

function shortened(text: string, chars: number): string {
  return text.length <= chars ? text : `${text.slice(0, chars - 1)}…`;
}
