/** `syncline audit`: who did what, as a list, as a file, and as a proof. */
import type { AuditJson } from "#gateway/api/routes-audit.ts";
import { AccessClient } from "#gateway/client/access-client.ts";
import { printablePath } from "#model/path.ts";
import { readDurationMs } from "#config/quantities.ts";
import type { Command, Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { openClient } from "#cli/hub-client.ts";
import { auditLines } from "#cli/people-text.ts";
import { confirmed } from "#cli/question.ts";
import { parseChoice, usage } from "#cli/values.ts";
import { writePrivately } from "#cli/local-files.ts";

/** Lines are told after so many, so that columns fit and memory is bounded. */
const TOLD_AT_ONCE = 1000;

export const auditCommand: Command = async (context) => {
  const [word, file] = context.parsed.operands;
  const what = parseChoice(word!, ["list", "export", "verify", "accept"]);
  if (file !== undefined && what !== "export") throw usage(`"${file}" is too much for ${what}`);
  const client = new AccessClient(openClient(context));
  if (what === "list") return list(context, client);
  if (what === "accept") return accept(context, client);
  return what === "verify" ? verify(context, client) : exportTo(context, client, file);
};

async function list(context: Context, client: AccessClient): Promise<number> {
  const { output, parsed } = context;
  const { actor, action, resource, outcome, trace: traceId, since, until, limit = "20" } = parsed.given;
  const filter = { actor, action, resource, outcome, traceId, from: momentOf("since", since), until: momentOf("until", until) };
  let waiting: AuditJson[] = [];
  const tell = (): void => {
    if (!output.form.json && waiting.length > 0) {
      output.answer(auditLines(waiting, output.screen.paint, output.form.verbose).join("\n"));
    }
    waiting = [];
  };
  let count = 0;
  for await (const record of client.audit(filter, wholeOf("limit", limit, 1))) {
    output.event({ type: "audit", ...record });
    count++;
    if (waiting.push(record) === TOLD_AT_ONCE) tell();
  }
  tell();
  if (count === 0) output.line("nothing of that kind");
  return EXIT.same;
}

async function verify({ output, parsed }: Context, client: AccessClient): Promise<number> {
  const verdict = await client.verifyAudit(notedOf(parsed.given.noted));
  output.event({ type: "verdict", ...verdict });
  const { green, red } = output.screen.paint;
  if (verdict.sound) {
    output.answer(`${green("sound")}: every record is what was written`);
    output.line(`keep this head somewhere else, and give it to a later verify: --noted ${verdict.head!.seq}:${verdict.head!.hash}`);
    return EXIT.same;
  }
  output.answer(`${red("not what was written")}: record ${verdict.seq}: ${printablePath(verdict.why ?? "")}`);
  return EXIT.problems;
}

async function accept(context: Context, client: AccessClient): Promise<number> {
  const { output, parsed } = context;
  const { message } = parsed.given;
  if (message === undefined) throw usage("why may it go on?", '--message "what was found, and who looked at it"');
  await confirmed(context, "go on although the log is not what was written?");
  const found = await client.acceptAudit(message);
  output.event({ type: "accepted", ...found });
  if (found.sound) output.line("the log is sound: nothing was done");
  else output.line(`the log goes on; record ${found.seq} stays named by verify: ${printablePath(found.why ?? "")}`);
  return EXIT.same;
}

/** Into a file, whole or not at all to who looks at the exit code; or to standard output. */
async function exportTo({ output, parsed }: Context, client: AccessClient, file: string | undefined): Promise<number> {
  const pieces = client.exportAudit(wholeOf("after", parsed.given.after ?? "0", 0));
  if (file === undefined || file === "-") {
    const decoder = new TextDecoder();
    for await (const piece of pieces) output.screen.out.write(decoder.decode(piece, { stream: true }));
    return EXIT.same;
  }
  const bytes = await writePrivately(file, pieces);
  output.event({ type: "exported", file, bytes });
  output.line(`wrote ${printablePath(file)}`);
  return EXIT.same;
}

/** A span back from now, or a moment. RFC 3339. */
function momentOf(option: string, text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  const span = /^\d{4}-/.test(text) ? undefined : readDurationMs(text);
  const ms = span === undefined ? Date.parse(text) : Date.now() - span;
  if (Number.isNaN(ms)) throw usage(`--${option}: "${text}" is no time`, "write 7d, or 2026-12-31T00:00:00Z");
  return new Date(ms).toISOString();
}

function wholeOf(option: string, text: string, least: number): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < least) throw usage(`--${option}: "${text}" is no count`);
  return value;
}

function notedOf(text: string | undefined): { seq: number; hash: string } | undefined {
  if (text === undefined) return undefined;
  const [, seq, hash] = /^(\d+):([0-9a-f]{64})$/.exec(text) ?? [];
  if (seq === undefined || hash === undefined) throw usage(`--noted: "${text}" is no head`, "verify prints it: N:HASH");
  return { seq: Number(seq), hash };
}
