/** Passwords for commands: from a file that was named, or asked for on the terminal; never from the command line. */
import type { Context } from "#cli/context.ts";
import { readSmallFile } from "#cli/local-files.ts";
import { askSecret } from "#cli/question.ts";
import { usage } from "#cli/values.ts";

/** The first line, because editors end files with one. */
function fromFile(option: "password-file" | "old-password-file", file: string): string {
  const password = readSmallFile(option, file).split("\n")[0]!.replace(/\r$/, "");
  if (password === "") throw usage(`--${option}: ${file} begins with an empty line`);
  return password;
}

/** Undefined: there is none, or nobody could be asked. Asked for twice, because it cannot be seen. */
export async function newPassword(context: Context, question: string): Promise<string | undefined> {
  const file = context.parsed.given["password-file"];
  if (file !== undefined) return fromFile("password-file", file);
  const first = await askSecret(context, question);
  if (first === undefined || first === "") return undefined;
  if ((await askSecret(context, "once more")) !== first) throw usage("the two are not the same", "try again");
  return first;
}

/** Of a thing that needs none: nobody is asked. */
export function givenPassword({ parsed }: Context): string | undefined {
  const file = parsed.given["password-file"];
  return file === undefined ? undefined : fromFile("password-file", file);
}

/** @throws {SynclineError} USAGE where nobody could be asked */
export async function knownPassword(context: Context, question: string): Promise<string> {
  const file = context.parsed.given["password-file"];
  const password = file === undefined ? await askSecret(context, question) : fromFile("password-file", file);
  if (password !== undefined && password !== "") return password;
  throw usage("no password", "--password-file FILE holds it, where there is no terminal to ask on");
}

/** @throws {SynclineError} USAGE where nobody could be asked */
export async function oldPassword(context: Context): Promise<string> {
  const file = context.parsed.given["old-password-file"];
  const password = file === undefined ? await askSecret(context, "password until now") : fromFile("old-password-file", file);
  if (password !== undefined && password !== "") return password;
  throw usage("the old password is needed", "--old-password-file FILE holds it, where there is no terminal to ask on");
}
