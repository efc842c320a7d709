/** `syncline share` and `syncline sign`: addresses at which others read a part of a space, or put files there. */
import type { ShareJson } from "#gateway/api/routes-shares.ts";
import { printablePath } from "#model/path.ts";
import { percentEncode } from "#gateway/api/url-path.ts";
import type { Command, Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { expiresOf, expiry } from "#cli/expiry.ts";
import { openClient, parseFilePlace, parsePlace } from "#cli/hub-client.ts";
import { givenPassword } from "#cli/passwords.ts";
import { shareFacts, shareLines, shareWords } from "#cli/share-text.ts";
import { parseChoice, usage } from "#cli/values.ts";

const ONLY_CREATE = ["allow", "downloads", "expires", "note", "password-file"] as const;

export const shareCommand: Command = async (context) => {
  const { output, parsed } = context;
  const [word, place, id] = parsed.operands;
  const what = parseChoice(word!, ["create", "list", "show", "revoke"]);
  for (const option of what === "create" ? [] : ONLY_CREATE) {
    if (parsed.given[option] !== undefined) throw usage(`--${option} is for create`);
  }
  if ((what === "create" || what === "list") && id !== undefined) throw usage(`"${id}" is too much for ${what}`);
  if (what === "create") return create(context, place!);
  const { space, path } = parsePlace(place!);
  if (path !== "") throw usage(`"${place}" is no space`, `syncline share ${what} SPACE`);
  const client = openClient(context);
  if (what === "list") {
    const { shares } = await client.call<{ shares: ShareJson[] }>(urlOf(space));
    for (const share of shares) output.event({ type: "share", space, ...share });
    if (shares.length === 0) output.line(`no share of ${space}: syncline share create ${space}:PATH`);
    else if (!output.form.json) output.answer(shareLines(shares, output.screen.paint).join("\n"));
    return EXIT.same;
  }
  if (id === undefined) throw usage("which one?", `syncline share list ${space} shows their ids`);
  const url = `${urlOf(space)}/${percentEncode(id)}`;
  if (what === "show") {
    const share = await client.call<ShareJson>(url);
    output.event({ type: "share", space, ...share });
    if (!output.form.json) output.answer(shareFacts(share, Date.now(), output.screen.paint).join("\n"));
  } else {
    await client.call(url, { method: "DELETE" });
    output.event({ type: "share-revoked", id });
    output.line(`revoked ${id}: its address leads nowhere now`);
  }
  return EXIT.same;
};

export const signCommand: Command = async (context) => {
  const { output, parsed } = context;
  const { space, path } = parseFilePlace(parsed.operands[0]!);
  const { put, for: ms } = parsed.given;
  const body = { path, method: put === true ? "PUT" : "GET", seconds: ms === undefined ? undefined : Math.ceil(ms / 1000) };
  const url = `/v1/spaces/${percentEncode(space)}/sign`;
  const made = await openClient(context).call<{ url: string; method: string; until: string }>(url, { method: "POST", body });
  output.event({ type: "signed", space, path, ...made });
  output.answer(made.url);
  output.line(`${made.method} of ${space}:${printablePath(path)}, ${expiry(made.until)}`);
  return EXIT.same;
};

const urlOf = (space: string): string => `/v1/spaces/${percentEncode(space)}/shares`;

async function create(context: Context, place: string): Promise<number> {
  const { output, parsed } = context;
  const { space, path } = parsePlace(place);
  const { allow, note } = parsed.given;
  const body = {
    path,
    kind: allow,
    note,
    password: givenPassword(context),
    expires: expiresOf(context),
    downloadsMax: downloadsOf(parsed.given.downloads),
  };
  const made = await openClient(context).call<{ share: ShareJson; url: string }>(urlOf(space), { method: "POST", body });
  output.event({ type: "share", space, ...made.share, url: made.url });
  output.answer(made.url);
  output.line(`share ${made.share.id}, ${shareWords(made.share)}; the address is told this once`);
  return EXIT.same;
}

function downloadsOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const count = Number(text);
  if (!/^\d{1,9}$/.test(text) || count < 1) throw usage(`--downloads: "${text}" is no count`);
  return count;
}
