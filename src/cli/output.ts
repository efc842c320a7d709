/**
 * What a command says while it runs. One Output for each process; it knows the form (for people, NDJSON, quiet) so that
 * commands only say what happened.
 *
 * For people: results on standard output, trouble on standard error. NDJSON: every event one line on standard output,
 * nothing else there. Paths are always made printable; they may hold anything.
 */
import { SynclineError, messageOf } from "#model/error.ts";
import type { Problem } from "#model/observation.ts";
import { printablePath } from "#model/path.ts";
import { FsError, describeErrno, isErrno } from "#platform/file-system.ts";
import { wrapLine } from "#cli/format.ts";
import { Progress } from "#cli/progress.ts";
import type { Screen, Stream } from "#cli/screen.ts";

export type OutputForm = { readonly json: boolean; readonly quiet: boolean; readonly verbose: boolean };

/** Problems printed one by one in one run; the rest is only counted, unless --verbose. */
const PROBLEMS_SHOWN_MAX = 50;

/** Lines are written in pieces of about this many characters, and at the latest when the event loop turns. */
const BATCH_CHARS = 1 << 16;

export class Output {
  readonly screen: Screen;
  readonly form: OutputForm;
  readonly progress: Progress;
  /** Said after the error when a command ends with one; undefined: the error is the last word. NDJSON only. */
  lastEvent: ({ readonly type: string } & Record<string, unknown>) | undefined;
  #problemsShown = 0;
  #batch = "";
  #flushing = false;

  /** @param nowMs monotonic milliseconds, for redraws and rates */
  constructor(screen: Screen, form: OutputForm, nowMs: () => number) {
    this.screen = screen;
    this.form = form;
    const live = screen.out.isTty && !form.json && !form.quiet;
    this.progress = new Progress(live ? screen.out : { ...screen.out, isTty: false }, screen.paint, nowMs);
  }

  /** May lines for people be printed? */
  get forPeople(): boolean {
    return !this.form.json && !this.form.quiet;
  }

  /** A line for people. */
  line(text = ""): void {
    if (!this.forPeople) return;
    this.progress.clear();
    this.#put(fitted(text, this.screen.out));
  }

  lines(texts: readonly string[]): void {
    if (texts.length > 0) this.line(texts.join("\n"));
  }

  /** What the command was asked for: printed with --quiet too, but not among NDJSON. */
  answer(text: string): void {
    if (this.form.json) return;
    this.progress.clear();
    this.#put(fitted(text, this.screen.out));
  }

  /** One NDJSON event; nothing in the other forms. */
  event(value: { readonly type: string } & Record<string, unknown>): void {
    if (!this.form.json) return;
    this.#put(toJson(value));
  }

  /** A person at a terminal sees each line at once. */
  #put(line: string): void {
    this.#batch += `${line}\n`;
    if (this.screen.out.isTty || this.#batch.length >= BATCH_CHARS) this.flush();
    else if (!this.#flushing) {
      this.#flushing = true;
      setImmediate(() => {
        this.#flushing = false;
        this.flush();
      });
    }
  }

  /** What went before on standard output is written first, because both may lead to the same file. */
  #complain(text: string): void {
    this.progress.clear();
    this.flush();
    this.screen.err.write(fitted(text, this.screen.err));
  }

  /** Writes what is batched; before the process ends. */
  flush(): void {
    if (this.#batch === "") return;
    const text = this.#batch;
    this.#batch = "";
    this.screen.out.write(text);
  }

  /** Something went wrong that does not end the run; for people only. */
  warn(text: string): void {
    if (!this.forPeople) return;
    this.#complain(`${this.screen.paint.yellow("warning:")} ${text}\n`);
  }

  problem(problem: Problem): void {
    if (this.form.json) {
      this.event({ type: "problem", problem });
      return;
    }
    if (this.#problemsShown >= PROBLEMS_SHOWN_MAX && !this.form.verbose) return;
    this.#problemsShown++;
    const where = `${problem.side}: ${printablePath(problem.path) || "."}`;
    this.#complain(`${this.screen.paint.red("failed")}  ${where}: ${problem.message} (${problem.code})\n`);
    if (this.#problemsShown === PROBLEMS_SHOWN_MAX && !this.form.verbose) {
      this.#complain("        further problems are only counted; --verbose shows all\n");
    }
  }

  /** The end of a run that could not go on. */
  error(error: unknown, debug: boolean): void {
    const facts = describeError(error);
    this.event({ type: "error", ...facts });
    const where = facts.path === undefined ? "" : ` (${printablePath(facts.path)})`;
    this.#complain(`${this.screen.paint.red("error:")} ${facts.message}${where}\n`);
    if (facts.hint !== undefined) this.#complain(`${this.screen.paint.cyan("hint:")} ${facts.hint}\n`);
    if (debug && error instanceof Error) this.#complain(`${withCauses(error)}\n`);
    if (this.lastEvent !== undefined) this.event(this.lastEvent);
  }
}

/** Lines no wider than a terminal; whoever reads a pipe or a file gets them whole. */
function fitted(text: string, stream: Stream): string {
  if (!stream.isTty) return text;
  const columns = stream.columns();
  return text.split("\n").flatMap((line) => wrapLine(line, columns)).join("\n");
}

export type ErrorText = {
  readonly code: string;
  readonly message: string;
  readonly path: string | undefined;
  readonly hint: string | undefined;
};

/** An error in words for a person; what is not one of ours is a fault of the program and says so. */
export function describeError(error: unknown): ErrorText {
  if (error instanceof SynclineError) {
    // A path that the message names already is not repeated.
    const path = error.path !== undefined && !error.message.includes(error.path) ? error.path : undefined;
    return { code: error.code, message: error.message, path, hint: error.hint };
  }
  if (error instanceof FsError) return diskText(error.message, error.code);
  const refused = refusedCall(error);
  if (refused !== undefined) return refused;
  return {
    code: "INTERNAL",
    message: `internal error: ${messageOf(error)}`,
    path: undefined,
    hint: "run again with SYNCLINE_DEBUG=1 and report what it prints",
  };
}

const diskText = (message: string, code: string): ErrorText => ({ code: "DISK", message, path: undefined, hint: DISK_HINTS[code] });

/** What the operating system says no to, wherever it was asked, is the operator's to mend and no fault of the program. */
function refusedCall(error: unknown): ErrorText | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code, syscall, path } = error as NodeJS.ErrnoException;
  if (code === undefined || syscall === undefined || !isErrno(code)) return undefined;
  const where = path === undefined ? "" : ` ${printablePath(path)}`;
  return diskText(`cannot ${syscall}${where}: ${describeErrno(code)} (${code})`, code);
}

/** The operator's next step, by what the operating system says. */
const DISK_HINTS: Readonly<Record<string, string>> = {
  EACCES: "check the permissions, and as whom the program runs: id",
  EPERM: "check the permissions, and as whom the program runs: id",
  EDQUOT: "make room, or raise the quota: quota -s",
  ENOSPC: "make room: df -h, df -i",
  EEXIST: "something else is there under that name: name another place, or move it away",
  ENOTDIR: "a part of the path is a file: check the path",
  EISDIR: "name a file",
  ENOENT: "check that the directory above it exists",
  EIO: "the disk fails: dmesg says more",
  EMFILE: "raise the limit of open files: ulimit -n",
  ENAMETOOLONG: "choose a shorter name",
  EROFS: "the file system is mounted read-only: mount says why",
};

function withCauses(error: Error): string {
  const cause = error.cause instanceof Error ? `\ncaused by ${withCauses(error.cause)}` : "";
  return `${error.stack ?? error.message}${cause}`;
}

/** JSON of any value of ours: big integers become strings, absent fields are dropped. */
export function toJson(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch {
    // Only big integers cannot be written, and few values have any; looking at every field costs ten times as much.
    return JSON.stringify(value, (_, inner: unknown) => (typeof inner === "bigint" ? String(inner) : inner));
  }
}
