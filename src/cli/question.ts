/** A question to the person at the terminal. */
import type { Output } from "#cli/output.ts";

/** Longest answer that is read. */
const ANSWER_BYTES_MAX = 256;

/** Asks yes or no on the terminal; undefined where nobody could answer: no terminal, NDJSON, quiet. */
export function askYesNo(output: Output): ((question: string) => Promise<boolean>) | undefined {
  if (!output.forPeople || !output.screen.out.isTty || process.stdin.isTTY !== true) return undefined;
  return async (question) => {
    output.progress.clear();
    output.screen.out.write(`${question} [y/N] `);
    return /^y(es)?$/i.test((await readLine()).trim());
  };
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
