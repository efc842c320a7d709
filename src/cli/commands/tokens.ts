/** `syncline token` and `syncline join-token`: the secrets with which people sign in and hosts join. */
import type { TokenJson } from "#gateway/api/routes-access.ts";
import type { JoinTokenJson } from "#gateway/api/routes-hosts.ts";
import { printablePath } from "#model/path.ts";
import type { Command, Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { formatAgo, plural, tableLines } from "#cli/format.ts";
import { expiresOf, expiry } from "#cli/expiry.ts";
import { openClient } from "#cli/hub-client.ts";
import { scopeWords, scopesOf } from "#cli/scopes.ts";
import { parseChoice, usage } from "#cli/values.ts";

export const tokenCommand: Command = async (context) => {
  const { output, parsed } = context;
  const [word, first, second] = parsed.operands;
  const what = parseChoice(word!, ["create", "list", "revoke"]);
  refuseExpires(context, what);
  if (what === "create") {
    if (first === undefined || second === undefined) throw usage("whose, and called what?", "syncline token create USER NAME");
    const made = await openClient(context).createToken(first, second, { expires: expiresOf(context), scopes: scopesOf(context) });
    output.event({ type: "token", ...made.token, value: made.value });
    output.answer(made.value);
    output.line(`token ${made.token.id} of ${first}, ${expiry(made.token.expires)}; it is told this once`);
  } else if (what === "list") {
    refuseMore(what, second);
    const rows: string[][] = [];
    for await (const token of openClient(context).tokens(first)) {
      output.event({ type: "token", ...token });
      rows.push(tokenRow(token));
    }
    table(context, rows, "no token: syncline token create USER NAME");
  } else {
    refuseMore(what, second);
    await openClient(context).revokeToken(idOf(first));
    output.event({ type: "token-revoked", id: first });
    output.line(`revoked ${first}`);
  }
  return EXIT.same;
};

export const joinTokenCommand: Command = async (context) => {
  const { output, parsed } = context;
  const [word, id] = parsed.operands;
  const what = parseChoice(word!, ["create", "list", "revoke"]);
  refuseExpires(context, what);
  if (what !== "revoke") refuseMore(what, id);
  if (what === "create") {
    const { label: labels = [] } = parsed.given;
    const options = { labels, uses: usesOf(context), expires: expiresOf(context) };
    const made = await openClient(context).createJoinToken(options);
    output.event({ type: "join-token", ...made.joinToken, value: made.value });
    output.answer(made.value);
    output.line(`join token ${made.joinToken.id}, ${joinWords(made.joinToken).join(", ")}; it is told this once`);
  } else if (what === "list") {
    const rows: string[][] = [];
    for await (const token of openClient(context).joinTokens()) {
      output.event({ type: "join-token", ...token });
      rows.push([token.id, ...joinWords(token)]);
    }
    table(context, rows, "no join token: syncline join-token create");
  } else {
    await openClient(context).revokeJoinToken(idOf(id));
    output.event({ type: "join-token-revoked", id });
    output.line(`revoked ${id}; hosts that joined with it stay`);
  }
  return EXIT.same;
};

function tokenRow({ id, user, name, scopes, expires, used }: TokenJson): string[] {
  const last = used === undefined ? "never used" : `used ${formatAgo(Date.now() - Date.parse(used))}`;
  const narrow = scopeWords(scopes);
  return [id, user, printablePath(name), last, expiry(expires), narrow];
}

function joinWords({ labels, usesLeft, expires }: JoinTokenJson): string[] {
  const uses = usesLeft === undefined ? "any number of hosts" : plural(usesLeft, "host");
  return [uses, expiry(expires), labels.length === 0 ? "no labels" : labels.join(" ")];
}

function table({ output }: Context, rows: readonly (readonly string[])[], none: string): void {
  if (rows.length === 0) output.line(none);
  else if (!output.form.json) output.answer(tableLines(rows).join("\n"));
}

function usesOf({ parsed }: Context): number | undefined {
  const { uses } = parsed.given;
  if (uses === undefined) return undefined;
  const count = Number(uses);
  if (!Number.isSafeInteger(count) || count < 1) throw usage(`--uses: "${uses}" is no count`);
  return count;
}

function idOf(id: string | undefined): string {
  if (id === undefined) throw usage("which one?", "list shows the ids");
  return id;
}

function refuseMore(what: string, word: string | undefined): void {
  if (word !== undefined) throw usage(`"${word}" is too much for ${what}`);
}

/** What is given for nothing is a mistake about what the command does. */
function refuseExpires({ parsed }: Context, what: string): void {
  if (what === "create") return;
  for (const option of ["expires", "uses", "label"] as const) {
    if (parsed.given[option] !== undefined) throw usage(`--${option} is for create`);
  }
}
