/** A question to the person at the terminal. */
import { SynclineError } from "#model/error.ts";
import type { Context } from "#cli/context.ts";
import type { Output } from "#cli/output.ts";
import { usage } from "#cli/values.ts";

/** Longest answer that is read. */
const ANSWER_BYTES_MAX = 256;
/** Longest secret that is read. */
const SECRET_CHARS_MAX = 1024;

/** Asks yes or no on the terminal; undefined where nobody could answer: no terminal, NDJSON, quiet. */
export function askYesNo(output: Output): ((question: string) => Promise<boolean>) | undefined {
  if (!output.forPeople || !output.screen.out.isTty || process.stdin.isTTY !== true) return undefined;
  return async (question) => {
    output.progress.clear();
    output.screen.out.write(`${question} [y/N] `);
    return /^y(es)?$/i.test((await readLine()).trim());
  };
}

/** Goes on when it is so; with --yes nobody is asked. @throws {SynclineError} USAGE where nobody could answer, or it is not so */
export async function confirmed({ output, parsed }: Context, question: string): Promise<void> {
  if (parsed.given.yes === true) return;
  const ask = askYesNo(output);
  if (ask === undefined) throw usage("nobody is there to be asked", "--yes does it without asking");
  if (!(await ask(question))) throw usage("nothing was done");
}

/**
 * Asks for a secret on the terminal, which does not show it; undefined where nobody could answer. The question goes to
 * standard error, so that output can be kept.
 * @throws {SynclineError} INTERRUPTED
 */
export async function askSecret({ output, signal }: Context, question: string): Promise<string | undefined> {
  const { screen } = output;
  const { stdin } = process;
  if (stdin.isTTY !== true || !screen.err.isTty) return undefined;
  const typed = Promise.withResolvers<string>();
  let text = "";
  const onPiece = (piece: Buffer): void => {
    for (const char of piece.toString("utf8")) {
      if (char === "\u0003") typed.reject(new SynclineError({ code: "INTERRUPTED", op: "ask", message: "interrupted" }));
      else if (char === "\r" || char === "\n" || char === "\u0004") typed.resolve(text);
      // Backspace takes one character back, Ctrl-U all.
      else if (char === "\u007f" || char === "\b") text = [...text].slice(0, -1).join("");
      else if (char === "\u0015") text = "";
      else if (text.length < SECRET_CHARS_MAX) text += char;
    }
  };
  const onAbort = (): void => typed.reject(signal.reason as Error);
  signal.addEventListener("abort", onAbort, { once: true });
  // First, because who answers in the moment of the question would be shown.
  stdin.setRawMode(true);
  screen.err.write(`${question}: `);
  stdin.on("data", onPiece).resume();
  try {
    return await typed.promise;
  } finally {
    signal.removeEventListener("abort", onAbort);
    stdin.off("data", onPiece).pause();
    stdin.setRawMode(false);
    screen.err.write("\n");
  }
}

async function readLine(): Promise<string> {
  let text = "";
  for await (const piece of process.stdin) {
    text += String(piece);
    if (text.includes("\n") || text.length > ANSWER_BYTES_MAX) break;
  }
  // Otherwise the waiting read would keep the process alive at its end.
  process.stdin.unref();
  return text.split("\n")[0] ?? "";
}
