/** `syncline login`, `logout` and `session`: who is signed in, here and anywhere. */
import { AccessClient } from "#gateway/client/access-client.ts";
import type { SessionJson } from "#gateway/api/routes-sessions.ts";
import type { Command, Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { plural } from "#cli/format.ts";
import { clientOf, hubUrl, openClient } from "#cli/hub-client.ts";
import { readSmallFile } from "#cli/local-files.ts";
import { forgetLogin, readLogin, writeLogin } from "#cli/logins.ts";
import { knownPassword } from "#cli/passwords.ts";
import { sessionLines } from "#cli/people-text.ts";
import { parseChoice, usage } from "#cli/values.ts";

export const loginCommand: Command = async (context) => {
  const { output, parsed } = context;
  const [user] = parsed.operands;
  if (user === undefined) throw usage("who are you?", "syncline login USER");
  const url = hubUrl(context);
  const password = await knownPassword(context, `password of ${user} at ${url}`);
  const made = await new AccessClient(clientOf(context, undefined)).signIn(user, password);
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
