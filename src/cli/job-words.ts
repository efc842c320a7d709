/** Arguments of jobs as they are written on a command line: KEY=VALUE, read as the kind of the job takes them. */
import type * as z from "zod";
import { readBytes } from "#config/quantities.ts";
import { JOB_KINDS, kindNamed } from "#hub/jobs/kinds.ts";
import { nearest, usage } from "#cli/values.ts";

/** @throws {SynclineError} USAGE */
export function readJobArgs(kind: string, words: readonly string[]): Record<string, unknown> {
  const known = kindNamed(kind);
  if (known === undefined) {
    const near = nearest(kind, Object.keys(JOB_KINDS));
    const hint = near === undefined ? `kinds are ${Object.keys(JOB_KINDS).join(", ")}` : `did you mean ${near}?`;
    throw usage(`there is no kind of job "${kind}"`, hint);
  }
  const { shape } = known.args as unknown as z.ZodObject;
  const args: Record<string, unknown> = {};
  for (const word of words) {
    const [, key = "", text = ""] = /^([A-Za-z]+)=(.*)$/s.exec(word) ?? [];
    const schema = shape[key] as z.ZodType | undefined;
    if (schema === undefined) {
      const keys = Object.keys(shape);
      const takes = keys.length === 0 ? `a job ${kind} takes nothing` : `a job ${kind} takes ${keys.join("=…, ")}=…`;
      throw usage(`"${word}" is no argument of it`, takes);
    }
    const value = readings(text).find((one) => schema.safeParse(one).success);
    // A password in an address is in the shell's history already; it need not be in a log too.
    const shown = text.replaceAll(/:\/\/[^/?]*@/g, "://…@");
    if (value === undefined) throw usage(`${key}: "${shown}" cannot be used: ${faultOf(schema, text)}`);
    args[key] = value;
  }
  const missing = Object.keys(shape).filter((key) => args[key] === undefined && !(shape[key] as z.ZodType).safeParse(undefined).success);
  if (missing.length > 0) throw usage(`a job ${kind} needs ${missing.map((key) => `${key}=…`).join(" ")}`, "syncline help jobs");
  return args;
}

/** Of what the text most likely means. */
function faultOf(schema: z.ZodType, text: string): string {
  return schema.safeParse(readings(text).at(-1)).error!.issues[0]!.message;
}

/** What a text can mean, the text itself first. */
function readings(text: string): unknown[] {
  const percent = /^(\d+(?:\.\d+)?)%$/.exec(text);
  if (percent !== null) return [text, Number(percent[1]) / 100];
  if (/^-?\d+(\.\d+)?$/.test(text)) return [text, Number(text)];
  if (text === "true" || text === "false") return [text, text === "true"];
  return [text, readBytes(text)].filter((one) => one !== undefined);
}
