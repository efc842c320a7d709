/** `syncline hub backup|restore|check`: is everything there, and would it be there again? */
import { resolve } from "node:path";
import type { BackupProgress, BackupResult } from "#hub/backup/make-backup.ts";
import type { CheckResult } from "#hub/check/check-hub.ts";
import type { Finding } from "#hub/check/findings.ts";
import { SynclineError } from "#model/error.ts";
import { printablePath } from "#model/path.ts";
import type { Context } from "#cli/context.ts";
import { openHost } from "#cli/engine.ts";
import { EXIT } from "#cli/exit-code.ts";
import { formatBytes, plural, shellWord } from "#cli/format.ts";
import { type AtRest, backupAtRest, checkAtRest, restoreHub } from "#cli/hub-care.ts";
import { openClient } from "#cli/hub-client.ts";
import { hubConfiguration, hubDataDir } from "#cli/hub-configuration.ts";
import { parseChoice, usage } from "#cli/values.ts";

/** With the directories that each takes. */
const WORDS: Readonly<Record<string, number>> = { backup: 1, restore: 1, check: 0 };

export async function hubCareCommand(context: Context, word: string, operands: readonly string[]): Promise<number> {
  const known = parseChoice(word, Object.keys(WORDS));
  const wanted = WORDS[known]!;
  if (operands.length !== wanted) {
    throw usage(`hub ${known} takes ${plural(wanted, "directory", "directories")}`, "syncline hub --help");
  }
  if (known === "check") return check(context);
  return known === "backup" ? backup(context, operands[0]!) : restore(context, operands[0]!);
}

const isRemote = ({ parsed }: Context): boolean => parsed.given["token-file"] !== undefined;

async function atRest(context: Context): Promise<AtRest> {
  const resolved = hubConfiguration(context);
  const database = resolved.config.database ?? "sqlite";
  return { host: await openHost(), dataDir: hubDataDir(context, resolved), database };
}

async function backup(context: Context, given: string): Promise<number> {
  const { output } = context;
  const result = await (isRemote(context) ? backupOfRunning(context, given) : backupHere(context, resolve(given)));
  output.event({ type: "backup", directory: given, ...result });
  const { packs, copiedPacks, copiedBytes, totalBytes } = result;
  output.line(
    `backed up ${formatBytes(totalBytes)}: ${formatBytes(copiedBytes)} copied, in ${copiedPacks} of ${plural(packs, "pack")}`,
  );
  return EXIT.same;
}

async function backupHere(context: Context, directory: string): Promise<BackupResult> {
  const at = await atRest(context);
  return held(at, () => backupAtRest(at, directory, (one) => tellBackup(context, one), context.signal));
}

async function backupOfRunning(context: Context, directory: string): Promise<BackupResult> {
  let result: BackupResult | undefined;
  for await (const { type, ...fields } of openClient(context).care("backup", { directory })) {
    if (type === "progress") tellBackup(context, fields as BackupProgress);
    if (type === "done") result = fields as BackupResult;
  }
  return result!;
}

function tellBackup({ output }: Context, { phase, doneBytes, totalBytes }: BackupProgress): void {
  if (!output.form.verbose) return;
  output.line(phase === "chunks" ? `${phase}  ${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}` : phase);
}

async function restore(context: Context, given: string): Promise<number> {
  const { output, parsed, signal } = context;
  const { data } = parsed.given;
  if (data === undefined) throw usage("where to?", "--data NEW names a directory that does not exist yet");
  const target = resolve(data);
  const tell = (done: number, total: number): void => {
    if (output.form.verbose) output.line(`${formatBytes(done)} of ${formatBytes(total)}`);
  };
  const { manifest, totalBytes, damagedPacks } = await restoreHub(await openHost(), resolve(given), target, tell, signal);
  output.event({ type: "restored", data: target, time: manifest.time, totalBytes, damagedPacks });
  output.line(`restored the hub as it was at ${manifest.time}, ${formatBytes(totalBytes)}`);
  output.line(`start it with  syncline hub --data ${shellWord(target)}`);
  if (damagedPacks.length === 0) return EXIT.same;
  output.warn(`${plural(damagedPacks.length, "pack")} of the backup were damaged: what is sound of them was taken`);
  output.warn(`see what is lost: syncline hub check --deep --data ${shellWord(target)}`);
  return EXIT.problems;
}

async function check(context: Context): Promise<number> {
  const { output, parsed } = context;
  const deep = parsed.given.deep ?? false;
  const onFinding = ({ kind, where, what }: Finding): void => {
    output.event({ type: "finding", kind, where, what });
    output.line(`${kind}  ${printablePath(where)}: ${what}`);
  };
  const result = await (isRemote(context) ? checkRunning(context, deep, onFinding) : checkHere(context, deep, onFinding));
  output.event({ type: "check", ...result });
  const { spaces, versions, contents, readBytes, findings } = result;
  const looked = `${plural(spaces, "space")}, ${plural(versions, "version")}, ${plural(contents, "content")}`;
  const read = deep ? `, ${formatBytes(readBytes)} of chunks read` : "";
  output.line(`${looked}${read}: ${findings === 0 ? "all is what was written" : plural(findings, "finding")}`);
  return findings === 0 ? EXIT.same : EXIT.problems;
}

async function checkHere(context: Context, deep: boolean, onFinding: (finding: Finding) => void): Promise<CheckResult> {
  const at = await atRest(context);
  return held(at, () => checkAtRest(at, deep, onFinding, context.signal));
}

async function checkRunning(
  context: Context,
  deep: boolean,
  onFinding: (finding: Finding) => void,
): Promise<CheckResult> {
  let result: CheckResult | undefined;
  for await (const { type, ...fields } of openClient(context).care("check", { deep })) {
    if (type === "finding") onFinding(fields as Finding);
    if (type === "done") result = fields as CheckResult;
  }
  return result!;
}

/** A hub that runs can be asked itself. */
async function held<T>({ dataDir }: AtRest, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof SynclineError) || error.code !== "ROOT_BUSY" || error.op === "back up") throw error;
    throw new SynclineError({
      code: "ROOT_BUSY",
      op: "open hub",
      path: dataDir,
      message: "a hub runs on this data directory",
      hint: "ask the hub itself: --hub URL --token-file FILE",
      cause: error,
    });
  }
}
