/** The part of `syncline space` about copies: follow, follows, compare, unfollow, promote, digest. */
import type { ComparisonJson, FollowJson } from "#gateway/api/routes-follow.ts";
import type { HubClient } from "#gateway/client/hub-client.ts";
import { printablePath } from "#model/path.ts";
import type { Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { formatAgo, formatCount, formatSpan, plural, tableLines } from "#cli/format.ts";
import { readSmallFile, readTokens } from "#cli/local-files.ts";
import type { Paint } from "#cli/screen.ts";
import { parseBytes, usage } from "#cli/values.ts";

/** Differing paths that are shown without --verbose. */
const PATHS_SHOWN_MAX = 20;

export async function followSpace(client: HubClient, { parsed, output }: Context, name: string): Promise<void> {
  const { from, quota, "source-space": source, "source-token-file": tokenFile, "source-ca": ca } = parsed.given;
  if (from === undefined) throw usage("follow whom?", "--from URL names the hub that has the space");
  if (tokenFile === undefined) {
    throw usage("no token for the source", "--source-token-file FILE holds a token of a user there who may read the space");
  }
  const token = readTokens("source-token-file", tokenFile)[0]!;
  const authority = ca === undefined ? undefined : readSmallFile("source-ca", ca);
  const quotaBytes = quota === undefined ? undefined : parseBytes(quota);
  const { space, keptAside } = await client.follow(name, { url: from, space: source, token, ca: authority, quotaBytes });
  output.event({ type: "space-follows", ...space, keptAside });
  output.line(`${name} follows ${source ?? name} of ${from}; how it is: syncline space follows`);
  if (keptAside === undefined) return;
  const { space: aside, sharedSequence, changes } = keptAside;
  const told = `both were the same up to ${sharedSequence}; ${plural(changes, "change")} made here after that`;
  output.line(`${told} are not in the source, and are kept whole in ${aside}`);
}

export async function showFollows(client: HubClient, { output }: Context): Promise<number> {
  const follows = await client.follows();
  for (const one of follows) output.event({ type: "follow", ...one });
  if (follows.length === 0) output.line("no space follows another hub: syncline space follow NAME --from URL");
  else if (!output.form.json) output.answer(followLines(follows, output.screen.paint).join("\n"));
  return follows.every(({ well }) => well) ? EXIT.same : EXIT.problems;
}

/** One line each, and what is wrong below it. Nothing is green that is not whole, the same, and heard. */
export function followLines(follows: readonly FollowJson[], paint: Paint): string[] {
  const heads = tableLines(
    follows.map((one) => [paint.bold(one.space), phaseText(one, paint), placeText(one), `of ${one.source} at ${one.url}`]),
  );
  return follows.flatMap(({ error, differed }, at) => [
    heads[at]!,
    ...(error === undefined ? [] : [`  ${paint.red(error.message)}`]),
    ...(error?.hint === undefined ? [] : [`  ${paint.dim(error.hint)}`]),
    ...(differed === 0 ? [] : [`  ${paint.yellow(`${plural(differed, "path")} differed and were taken over from the source`)}`]),
  ]);
}

function phaseText({ phase, well, lagSeconds }: FollowJson, paint: Paint): string {
  if (well) return paint.green(phase);
  if (phase === "diverged" || phase === "halted") return paint.bold(paint.red(phase));
  const late = phase === "following" && lagSeconds !== undefined ? `silent for ${formatSpan(lagSeconds * 1000)}` : phase;
  return paint.yellow(phase === "following" && lagSeconds !== undefined && lagSeconds < 30 ? "comparing" : late);
}

function placeText({ sequence, sourceSequence, heardAgoSeconds }: FollowJson): string {
  if (sourceSequence === undefined || heardAgoSeconds === undefined) return `at ${formatCount(sequence)}, source not heard yet`;
  const behind = sourceSequence - sequence;
  const at = behind <= 0 ? `at ${formatCount(sequence)}, nothing lacks` : `at ${formatCount(sequence)} of ${formatCount(sourceSequence)}`;
  return `${at}, heard ${formatAgo(heardAgoSeconds * 1000)}`;
}

export async function compareSpace(client: HubClient, { output }: Context, name: string): Promise<number> {
  const found = await client.compare(name);
  output.event({ type: "comparison", name, ...found });
  if (!output.form.json) output.answer(comparisonLines(name, found, output.form.verbose).join("\n"));
  return found.same ? EXIT.same : EXIT.problems;
}

export function comparisonLines(name: string, found: ComparisonJson, verbose: boolean): string[] {
  const { same, sequence, differing, whole, paths } = found;
  if (same) return [`${name} is the same as its source at ${sequence}`];
  const count = whole ? plural(differing, "path") : `more than ${plural(differing, "path")}`;
  const shown = verbose ? paths : paths.slice(0, PATHS_SHOWN_MAX);
  const side = (leaf: { sequence: number } | undefined): string => (leaf === undefined ? "nothing" : `version ${leaf.sequence}`);
  return [
    `${name} differs from its source at ${count} (sequence ${sequence}); they are taken over by themselves`,
    ...tableLines(shown.map(({ path, here, there }) => [`  ${printablePath(path)}`, `here ${side(here)}`, `there ${side(there)}`])),
    ...(differing > shown.length ? [`  and ${formatCount(differing - shown.length)} more`] : []),
  ];
}

export async function promoteSpace(client: HubClient, { output }: Context, name: string): Promise<void> {
  const { space, missing, heardAgoSeconds } = await client.promote(name);
  output.event({ type: "space-promoted", ...space, missing, heardAgoSeconds });
  output.line(`${name} is written to here from now on, after sequence ${space.sequence}`);
  if (missing === undefined) output.line("its source was not heard since this hub began: what it had beyond that is not known");
  else if (missing > 0) output.line(`${plural(missing, "change")} that the source had are not here`);
  else output.line(`nothing lacked when the source was heard last, ${formatAgo((heardAgoSeconds ?? 0) * 1000)}`);
  output.line(`when the old source is back, it can follow this hub: syncline space follow ${name} --from URL`);
}

export async function digestSpace(client: HubClient, { parsed, output }: Context, name: string): Promise<void> {
  const { at } = parsed.given;
  if (at !== undefined && !/^\d{1,16}$/.test(at)) throw usage(`--at: "${at}" is no sequence`, "digests are of sequences, like 41");
  const found = await client.digest(name, at === undefined ? undefined : Number(at));
  output.event({ type: "digest", name, ...found });
  output.answer(`${found.digest}  ${plural(found.count, "entry", "entries")} of ${name} at ${found.sequence}`);
}
