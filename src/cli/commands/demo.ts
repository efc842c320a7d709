/**
 * `syncline demo`, which `npm start` runs: a hub with one space and two agents in this process, each with a sample
 * folder that follows the space, with every step shown and things to try. With --once it makes a change on each side
 * itself and ends when both have arrived.
 */
import { randomBytes } from "node:crypto";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { readBootstrap } from "#config/bootstrap.ts";
import type { DeclaredLink } from "#hub/agents/link.ts";
import type { JournalRecord } from "#hub/space.ts";
import { systemPrincipal } from "#access/access.ts";
import { SynclineError } from "#model/error.ts";
import type { Host } from "#platform/host.ts";
import { writePrivateFile } from "#platform/net/private-file.ts";
import type { Command, Context } from "#cli/context.ts";
import { openHost, runHostAgent } from "#cli/engine.ts";
import { EXIT } from "#cli/exit-code.ts";
import { shellWord } from "#cli/format.ts";
import { HubProcess } from "#cli/hub-process.ts";
import { canWrite, isThere, readIfThere, seedFolder, writeText } from "#cli/local-files.ts";
import { parseLink } from "#cli/link-text.ts";

const FOLDER = ".syncline-demo";
const SPACE = "demo";
/** How long --once waits for a change to arrive; far above what it takes, so that a slow machine passes. */
const ARRIVAL_MS_MAX = 30_000;
const POLL_MS = 5;
const HOOK_TIMEOUT_MS = 60_000;
/** Records of the journal shown at once. */
const SHOWN_MAX = 1000;

const LEFT = {
  "README.txt": "Change, add, rename or delete anything in left or right: the other folder follows.\n",
  "notes/today.txt": "Three things to do.\n",
  "notes/ideas.txt": "An idea.\n",
};
const RIGHT = {
  "photos/list.txt": "sea.jpg\nhills.jpg\n",
  "from-the-right.txt": "I was made on the right side.\n",
};

type Folders = { readonly base: string; readonly left: string; readonly right: string };

export const demoCommand: Command = async (context) => {
  const host = await openHost();
  const base = chooseBase(context.parsed.given.dir);
  const folders = { base, left: join(base, "left"), right: join(base, "right") };
  // A checkout must not show the folders as something to commit.
  seedFolder(base, { ".gitignore": "*\n" });
  seedFolder(folders.left, LEFT);
  seedFolder(folders.right, RIGHT);
  const secrets = keptSecrets(base);
  const hub = await startHub(host, base, secrets);
  const stop = new AbortController();
  const signal = AbortSignal.any([context.signal, stop.signal]);
  try {
    introduce(context, folders, hub, join(base, "token"));
    showJournal(context, hub, signal);
    const agents = (["left", "right"] as const).map((name) => startAgent(name, folders, hub, signal));
    // An agent ends by itself only with what is wrong.
    const failed = Promise.all(agents).then(() => undefined);
    if (context.parsed.given.once === true) await Promise.race([roundTrip(context, folders, host), failed]);
    else await failed;
    stop.abort(new SynclineError({ code: "INTERRUPTED", op: "demo", message: "the demonstration is over" }));
    await failed;
  } finally {
    stop.abort();
    await hub.close();
  }
  return context.signal.aborted || context.parsed.given.once !== true ? EXIT.interrupted : EXIT.same;
};

/** In the working directory, so that the folders are easy to find; otherwise in a place of its own. */
function chooseBase(given: string | undefined): string {
  if (given !== undefined) return resolve(given);
  const here = resolve(FOLDER);
  return canWrite(here) ? here : join(tmpdir(), `syncline-demo-${process.pid}`);
}

type Secrets = { readonly token: string; readonly join: string };

/** Made once: a demonstration that begins again meets the hub and the agents that it made. */
function keptSecrets(base: string): Secrets {
  const kept = (name: string): string => {
    const file = join(base, name);
    const known = readIfThere(file)?.trim();
    if (known !== undefined && known !== "") return known;
    const made = randomBytes(24).toString("hex");
    writePrivateFile(file, `${made}\n`);
    return made;
  };
  return { token: kept("token"), join: kept("join-token") };
}

function startHub(host: Host, base: string, { token, join: value }: Secrets): Promise<HubProcess> {
  const bootstrap = {
    spaces: [{ name: SPACE }],
    users: [{ name: "admin", roles: ["admin"] }],
    tokens: [{ user: "admin", value: token }],
    joinTokens: [{ value }],
  };
  return HubProcess.start({
    host,
    dataDir: join(base, "hub"),
    config: { listen: "127.0.0.1:0" },
    // What YAML reads, JSON is.
    bootstrap: readBootstrap(JSON.stringify(bootstrap), "the demonstration"),
    log: { info: () => undefined, error: () => undefined },
  });
}

function startAgent(name: "left" | "right", folders: Folders, hub: HubProcess, signal: AbortSignal): Promise<void> {
  const link: DeclaredLink = parseLink(`${folders[name]}=${SPACE},settle=immediate`);
  const request = {
    // The sync listener's own address: the port changes from start to start, the hub stays the same.
    hub: `syncline://127.0.0.1:${hub.syncPort}`,
    name,
    dataDir: join(folders.base, `agent-${name}`),
    joinTokenFile: join(folders.base, "join-token"),
    fingerprint: undefined,
    acceptNew: true,
    links: [link],
    ignore: [],
    otlp: undefined,
    mayInstall: false,
    onReload: () => undefined,
    hooks: { before: undefined, after: undefined, timeoutMs: HOOK_TIMEOUT_MS, onAfterFailure: "report" as const },
    log: () => undefined,
  };
  return runHostAgent(request, signal);
}

function introduce({ output }: Context, { left, right }: Folders, hub: HubProcess, tokenFile: string): void {
  const { bold, dim } = output.screen.paint;
  const [l, r, token] = [near(left), near(right), near(tokenFile)];
  // From a checkout it is not on the path.
  const program = isThere("bin/syncline") ? "bin/syncline" : "syncline";
  const options = `--hub ${hub.url} --token-file ${token}`;
  output.lines([
    bold("A hub and two agents keep these two folders the same, through the space demo:"),
    `  ${l}`,
    `  ${r}`,
    "",
    "Try it in another terminal:",
    `  echo hi > ${join(l, "hello.txt")}        ${dim("# appears on the right")}`,
    `  mv ${join(r, "notes")} ${join(r, "diary")}   ${dim("# renamed on the left, no data moves")}`,
    `  rm ${join(l, "hello.txt")}               ${dim("# goes on the right, too; its history stays")}`,
    "",
    "The hub keeps every version:",
    `  ${program} ls demo: ${options}`,
    `  ${program} history demo:README.txt ${options}`,
    `  ${program} restore demo --to 1 --dry-run ${options}`,
    `  curl -H "authorization: Bearer $(cat ${token})" ${hub.url}/v1/agents`,
    dim(`what can be asked: ${hub.url}/v1/openapi.json`),
    "",
    dim("Stop with Ctrl-C."),
    "",
  ]);
}

function near(path: string): string {
  const short = relative(process.cwd(), path);
  return shellWord(short.startsWith("..") ? path : short);
}

/** What the journal gets is what happens. */
function showJournal({ output }: Context, hub: HubProcess, signal: AbortSignal): void {
  const who = systemPrincipal("demo");
  let shown = 0;
  let showing = Promise.resolve();
  const show = async (): Promise<void> => {
    const records = await hub.spaces.journal(who, SPACE, shown, SHOWN_MAX);
    for (const record of records) {
      shown = record.sequence;
      // The removal that belongs to a move comes directly before it.
      const next = records.find(({ sequence }) => sequence === record.sequence + 1);
      if (record.action !== "remove" || next?.from !== record.path) output.line(recordText(record));
    }
  };
  const onEvent = (): void => {
    // A hub that is being closed answers no more.
    showing = showing.then(show).catch(() => undefined);
  };
  hub.spaces.watch(SPACE, onEvent, signal);
}

function recordText({ sequence, origin, action, path, from }: JournalRecord): string {
  const moved = from === undefined ? "" : `  (from ${from})`;
  return `  #${String(sequence).padEnd(4)} ${origin.actor.padEnd(12)}  ${action.padEnd(8)}  ${path}${moved}`;
}

/** A change on either side, and both must arrive. */
async function roundTrip(context: Context, folders: Folders, host: Host): Promise<void> {
  const word = Buffer.from(host.random.bytes(6)).toString("hex");
  // Both have begun when each has what the other came with.
  await arrival(context, host, () => isThere(join(folders.right, "README.txt")), "README.txt");
  await arrival(context, host, () => isThere(join(folders.left, "from-the-right.txt")), "from-the-right.txt");
  for (const [from, to, name] of [
    [folders.left, folders.right, "sent-by-left.txt"],
    [folders.right, folders.left, "sent-by-right.txt"],
  ] as const) {
    const startMs = host.clock.monotonicMs();
    writeText(join(from, name), `${word}\n`);
    await arrival(context, host, () => readIfThere(join(to, name)) === `${word}\n`, name);
    const tookMs = host.clock.monotonicMs() - startMs;
    context.output.line(`  ${name} arrived on the other side within ${Math.ceil(tookMs)} ms`);
  }
  context.output.event({ type: "demo", result: "same" });
}

async function arrival({ signal }: Context, { clock }: Host, isHere: () => boolean, path: string): Promise<void> {
  const startMs = clock.monotonicMs();
  while (!isHere()) {
    if (clock.monotonicMs() - startMs > ARRIVAL_MS_MAX) {
      const message = "a change did not arrive on the other side";
      const hint = "syncline doctor checks this host";
      throw new SynclineError({ code: "INTERNAL", op: "demo", path, message, hint });
    }
    await clock.sleep(POLL_MS, signal);
  }
}
