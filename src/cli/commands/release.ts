/** `syncline release`: which releases a link has made, going back to one, and going on. At the hub, or on the host itself. */
import { resolve } from "node:path";
import type { LinkStateJson } from "#gateway/api/routes-links.ts";
import type { Command, Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { openHost } from "#cli/engine.ts";
import { formatAgo, tableLines } from "#cli/format.ts";
import { openClient } from "#cli/hub-client.ts";
import { wholeId } from "#cli/commands/link.ts";
import { parseChoice, usage } from "#cli/values.ts";
import { SynclineError } from "#model/error.ts";
import { type Pause, shownPause } from "#agent/pause.ts";
import { Releases, noRelease, readReleaseName } from "#agent/releases.ts";

/** How long the command waits for the host to have done it. */
const DONE_MS_MAX = 20_000;
const LOOK_MS = 300;

export const releaseCommand: Command = async (context) => {
  const [word, where, ...rest] = context.parsed.operands as readonly [string, string, ...string[]];
  const what = parseChoice(word, ["list", "rollback", "resume"]) as What;
  const isHere = where.includes("/");
  const [host, release, ...more] = isHere ? ["", ...rest] : rest;
  if (host === undefined) throw usage("on which host?", `syncline release ${what} LINK HOST, or on the host itself its root`);
  if (more.length > 0 || (what !== "rollback" && release !== undefined)) throw usage(`"${more[0] ?? release}" is too much`);
  if (isHere) await onThisHost(context, what, resolve(where), release);
  else await atHub(context, what, where, host, release);
  return EXIT.same;
};

type What = "list" | "rollback" | "resume";

async function onThisHost(context: Context, what: What, root: string, release: string | undefined): Promise<void> {
  const { fs, clock } = await openHost();
  const releases = new Releases(fs, root);
  const names = releases.names();
  if (names.length === 0) {
    throw usage(`${root} has no releases`, "name the root of a link with apply=release, as it is written in the link");
  }
  const shown = releases.shown();
  if (what === "list") return list(context, names, shown, releases.pauses.read());
  if (what === "resume") {
    const was = releases.pauses.clear();
    return context.output.line(was ? "goes on as soon as its agent runs" : "it was not paused");
  }
  const wanted = release ?? releases.before();
  if (wanted === undefined || !names.includes(wanted)) throw noRelease(root, wanted ?? "before that");
  const by = `${process.env["USER"] ?? "somebody"} on the host`;
  await releases.goBack({ reason: `${by} went back to this release`, by, sinceMs: clock.nowMs(), release: wanted, undo: null });
  context.output.event({ type: "release-shown", root, release: wanted });
  context.output.line(`${root} shows ${wanted}; it stays there until: syncline release resume ${root}`);
}

async function atHub(
  context: Context,
  what: What,
  given: string,
  host: string,
  release: string | undefined,
): Promise<void> {
  const client = openClient(context);
  const id = await wholeId(client, given);
  const look = async (): Promise<LinkStateJson> => {
    const found = (await client.links()).find((one) => one.link.id === id && one.host === host);
    if (found === undefined) throw usage(`${host} has no link ${id}`, "syncline links lists them");
    return found;
  };
  if (what === "list") {
    const { state, heardAgoMs } = await look();
    const releases = state?.releases ?? undefined;
    if (releases === undefined) throw usage(`link ${id} makes no releases on ${host}`, "its key apply says whether it does");
    list(context, releases.names, releases.shown ?? undefined, state?.pause ?? undefined);
    return context.output.line(`as heard ${formatAgo(heardAgoMs ?? 0)}`);
  }
  const before = await (what === "rollback" ? client.rollbackLink(id, host, release) : client.resumeLink(id, host));
  const wasPaused = before.state?.pause?.sinceMs;
  const isDone = ({ state }: LinkStateJson): boolean => {
    const pause = state?.pause ?? undefined;
    return what === "resume" ? pause === undefined : (pause?.release ?? null) !== null && pause?.sinceMs !== wasPaused;
  };
  const { clock } = await openHost();
  for (const endMs = clock.monotonicMs() + DONE_MS_MAX; ; ) {
    const now = await look();
    if (isDone(now)) {
      const shown = now.state?.releases?.shown ?? "nothing";
      context.output.event({ type: "release-shown", link: id, host, release: shown });
      const stays = what === "rollback" ? `; it stays there until: syncline release resume ${id} ${host}` : "";
      return context.output.line(`${host} shows ${shown}${stays}`);
    }
    if (clock.monotonicMs() > endMs) throw notDone(host);
    await clock.sleep(LOOK_MS, context.signal);
  }
}

function notDone(host: string): SynclineError {
  return new SynclineError({
    code: "LINK_LOST", op: "release", message: `${host} has been told, and has not said that it is done`,
    hint: `look at it: syncline links ${host} -v`, retryable: true,
  });
}

function list(
  { output }: Context,
  names: readonly string[],
  shown: string | undefined,
  pause: Pick<Pause, "reason" | "by" | "sinceMs" | "release"> | undefined,
): void {
  const rows = names.map((name) => {
    const facts = readReleaseName(name)!;
    output.event({ type: "release", name, made: new Date(facts.madeMs).toISOString(), sequence: facts.sequence, shown: name === shown });
    return [name === shown ? "→" : "", name, new Date(facts.madeMs).toISOString().slice(0, 19), `sequence ${facts.sequence}`];
  });
  if (!output.form.json) output.answer(tableLines(rows).join("\n"));
  if (pause === undefined) return;
  const { reason, by } = shownPause({ ...pause, undo: null });
  output.line(`paused by ${by}: ${reason}`);
}
