/** `syncline login`, `logout` and `session`: who is signed in, here and anywhere. */
import { setTimeout as sleep } from "node:timers/promises";
import { AccessClient } from "#gateway/client/access-client.ts";
import type { SessionJson, SignedInJson } from "#gateway/api/routes-sessions.ts";
import { printablePath } from "#model/path.ts";
import type { Command, Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { plural } from "#cli/format.ts";
import { clientOf, hubUrl, openClient } from "#cli/hub-client.ts";
import { readSmallFile } from "#cli/local-files.ts";
import { forgetLogin, readLogin, writeLogin } from "#cli/logins.ts";
import { knownPassword } from "#cli/passwords.ts";
import { sessionLines } from "#cli/people-text.ts";
import { parseChoice, usage } from "#cli/values.ts";

/** Between two questions whether somebody has decided; and by how much it grows when the provider asks for it. */
const POLL_SECONDS_MAX = 60;
const SLOWER_MS = 5000;

export const loginCommand: Command = async (context) => {
  const { output, parsed } = context;
  const [user] = parsed.operands;
  const url = hubUrl(context);
  const client = new AccessClient(clientOf(context, undefined));
  const made =
    user === undefined
      ? await byProvider(context, client)
      : await client.signIn(user, await knownPassword(context, `password of ${user} at ${url}`));
  const { ca } = parsed.given;
  writeLogin(context.stateDir(), {
    url,
    user: made.user,
    value: made.value!,
    ...(ca === undefined ? {} : { ca: readSmallFile("ca", ca) }),
  });
  output.event({ type: "signed-in", url, user: made.user, session: made.id });
  output.line(`signed in to ${url} as ${made.user}`);
  return EXIT.same;
};

/** Shows a code and a page, and waits until somebody has decided there. */
async function byProvider({ output, signal, parsed }: Context, client: AccessClient): Promise<SignedInJson> {
  if ((await client.ways()).oidc === undefined) throw usage("this hub has no identity provider: who are you?", "syncline login USER");
  if (parsed.given["password-file"] !== undefined) throw usage("--password-file is for a USER");
  const device = await client.beginDevice();
  const { handle, ...shown } = device;
  output.event({ type: "device", ...shown });
  output.line(`open  ${printablePath(device.verificationUriComplete ?? device.verificationUri)}`);
  output.line(`code  ${output.screen.paint.bold(printablePath(device.userCode))}`);
  output.flush();
  let waitMs = Math.min(device.intervalSeconds, POLL_SECONDS_MAX) * 1000;
  for (;;) {
    await sleep(waitMs, undefined, { signal }).catch(() => signal.throwIfAborted());
    const answer = await client.pollDevice(handle);
    if (!("waiting" in answer)) return answer;
    if (answer.slower) waitMs = Math.min(waitMs + SLOWER_MS, POLL_SECONDS_MAX * 1000);
  }
}

export const logoutCommand: Command = async (context) => {
  const { output } = context;
  const url = hubUrl(context);
  const login = readLogin(context.stateDir(), url);
  if (login === undefined) {
    output.line(`nobody is signed in to ${url} here`);
    return EXIT.same;
  }
  try {
    await new AccessClient(clientOf(context, login.value, login.ca)).signOut();
  } finally {
    // Also where the hub cannot be asked, or knows it no more: it is no use to anybody then.
    forgetLogin(context.stateDir(), url);
  }
  output.event({ type: "signed-out", url, user: login.user });
  output.line(`signed out of ${url}`);
  return EXIT.same;
};

export const sessionCommand: Command = async (context) => {
  const { output, parsed } = context;
  const [word, user, id] = parsed.operands;
  const what = parseChoice(word!, ["list", "revoke"]);
  const client = new AccessClient(openClient(context));
  if (what === "list") {
    if (id !== undefined) throw usage(`"${id}" is too much for list`);
    await list(context, client, user);
  } else if (user === undefined) throw usage("whose?", "syncline session list shows them");
  else if (id === undefined) {
    const ended = await client.revokeSessions(user);
    output.event({ type: "sessions-ended", user, ended });
    output.line(`ended ${plural(ended, "session")} of ${user}`);
  } else {
    await client.revokeSession(user, id);
    output.event({ type: "sessions-ended", user, ended: 1, session: id });
    output.line(`ended ${id}`);
  }
  return EXIT.same;
};

async function list({ output }: Context, client: AccessClient, user: string | undefined): Promise<void> {
  const sessions: SessionJson[] = [];
  for await (const session of client.sessions(user)) {
    sessions.push(session);
    output.event({ type: "session", ...session });
  }
  if (sessions.length === 0) output.line("nobody is signed in");
  else if (!output.form.json) output.answer(sessionLines(sessions, Date.now(), output.screen.paint).join("\n"));
}
