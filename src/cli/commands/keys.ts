/** `syncline s3-key` and `syncline ssh-key`: with what other doors know a user. */
import { AccessClient } from "#gateway/client/access-client.ts";
import { printablePath } from "#model/path.ts";
import type { Command, Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { formatAgo, tableLines } from "#cli/format.ts";
import { openClient } from "#cli/hub-client.ts";
import { readSmallFileOrInput } from "#cli/local-files.ts";
import { scopeWords, scopesOf } from "#cli/scopes.ts";
import { parseChoice, usage } from "#cli/values.ts";

export const s3KeyCommand: Command = async (context) => {
  const { output, parsed } = context;
  const [word, user, key] = parsed.operands;
  const what = parseChoice(word!, ["create", "list", "revoke"]);
  const client = new AccessClient(openClient(context));
  if (what === "revoke") {
    if (user === undefined || key === undefined) throw usage("whose, and which?", "syncline s3-key revoke USER KEY");
    await client.revokeS3Key(user, key);
    output.event({ type: "s3-key-revoked", user, accessKey: key });
    output.line(`revoked ${key}`);
    return EXIT.same;
  }
  if (key !== undefined) throw usage(`"${key}" is too much for ${what}`);
  const whose = user ?? (await ownName(client));
  if (what === "create") {
    const made = await client.createS3Key(whose, scopesOf(context));
    output.event({ type: "s3-key", user: whose, ...made });
    output.answer(`access key  ${made.accessKey}\nsecret key  ${made.secretKey}`);
    output.line(`of ${whose}; the secret key is told this once`);
    return EXIT.same;
  }
  const rows: string[][] = [];
  for await (const { accessKey, created, scopes } of client.s3Keys(whose)) {
    output.event({ type: "s3-key", user: whose, accessKey, created, scopes });
    rows.push([accessKey, `made ${formatAgo(Date.now() - Date.parse(created))}`, scopeWords(scopes)]);
  }
  table(context, rows, `${whose} has no S3 key: syncline s3-key create ${whose}`);
  return EXIT.same;
};

export const sshKeyCommand: Command = async (context) => {
  const { output, parsed } = context;
  const [word, user, third] = parsed.operands;
  const what = parseChoice(word!, ["add", "list", "remove"]);
  const client = new AccessClient(openClient(context));
  if (what === "list") {
    if (third !== undefined) throw usage(`"${third}" is too much for list`);
    const whose = user ?? (await ownName(client));
    const rows = (await client.sshKeys(whose)).map(({ fingerprint, line, created }) => {
      output.event({ type: "ssh-key", user: whose, fingerprint, line, created });
      const [type = "", , ...comment] = line.split(" ");
      return [fingerprint, type, `added ${formatAgo(Date.now() - Date.parse(created))}`, printablePath(comment.join(" "))];
    });
    table(context, rows, `${whose} has no SSH key: syncline ssh-key add ${whose} FILE`);
    return EXIT.same;
  }
  if (user === undefined || third === undefined) throw usage("whose, and which?", "syncline ssh-key --help");
  if (what === "add") {
    const { fingerprint } = await client.addSshKey(user, (await readSmallFileOrInput("ssh-key add", third)).trim());
    output.event({ type: "ssh-key", user, fingerprint });
    output.answer(fingerprint);
  } else {
    await client.removeSshKey(user, third);
    output.event({ type: "ssh-key-removed", user, fingerprint: third });
    output.line(`removed ${third}`);
  }
  return EXIT.same;
};

async function ownName(client: AccessClient): Promise<string> {
  const { kind, name, id } = await client.whoami();
  if (kind === "user") return name;
  throw usage(`${id} is no user`, "name one");
}

function table({ output }: Context, rows: readonly (readonly string[])[], none: string): void {
  if (rows.length === 0) output.line(none);
  else if (!output.form.json) output.answer(tableLines(rows).join("\n"));
}
