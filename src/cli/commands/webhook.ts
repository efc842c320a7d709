/** `syncline webhook`: addresses that are told of the changes of a space. */
import type { TriedJson, WebhookJson } from "#gateway/api/routes-webhooks.ts";
import { percentEncode } from "#gateway/api/url-path.ts";
import type { HubClient } from "#gateway/client/hub-client.ts";
import { WEBHOOK_ACTIONS } from "#hub/webhooks/webhook.ts";
import type { Command, Context } from "#cli/context.ts";
import { EXIT } from "#cli/exit-code.ts";
import { openClient, requirePath } from "#cli/hub-client.ts";
import { readSmallFile } from "#cli/local-files.ts";
import { confirmed } from "#cli/question.ts";
import { parseChoice, usage } from "#cli/values.ts";
import { webhookFacts, webhookLines } from "#cli/webhook-text.ts";

const WORDS = ["list", "show", "create", "set", "enable", "disable", "delete", "test"];

export const webhookCommand: Command = async (context) => {
  const { output, parsed } = context;
  const [word, space, third] = parsed.operands;
  const what = parseChoice(word!, WORDS);
  if (space === undefined) throw usage("of which space?", `syncline webhook ${what} SPACE`);
  if ((what === "list") !== (third === undefined)) {
    throw usage(third === undefined ? (what === "create" ? "which address?" : "which webhook?") : `"${third}" is too much for list`);
  }
  const client = openClient(context);
  if (third === undefined) return list(context, client, space);
  const path = `${urlOf(space)}/${percentEncode(third)}`;
  switch (what) {
    case "create":
      await create(context, client, space, third);
      break;
    case "test":
      return test(context, client, path);
    case "delete":
      await confirmed(context, `tell ${third} no more?`);
      await client.call(path, { method: "DELETE" });
      output.event({ type: "webhook-deleted", id: third });
      output.line(`deleted ${third}`);
      break;
    default:
      show(context, await changed(context, client, what, path));
  }
  return EXIT.same;
};

const urlOf = (space: string): string => `/v1/spaces/${percentEncode(space)}/webhooks`;

async function list({ output }: Context, client: HubClient, space: string): Promise<number> {
  const { webhooks } = await client.call<{ webhooks: WebhookJson[] }>(urlOf(space));
  for (const webhook of webhooks) output.event({ type: "webhook", space, ...webhook });
  if (webhooks.length === 0) output.line(`nobody is told of changes of ${space}: syncline webhook create ${space} URL`);
  else if (!output.form.json) output.answer(webhookLines(webhooks, output.screen.paint).join("\n"));
  return webhooks.some(({ enabled, failingSince }) => !enabled || failingSince !== undefined) ? EXIT.problems : EXIT.same;
}

async function create(context: Context, client: HubClient, space: string, url: string): Promise<void> {
  const { output, parsed } = context;
  const { prefix, actions } = choice(context);
  const file = parsed.given["secret-file"];
  const given = file === undefined ? undefined : readSmallFile("secret-file", file).trim();
  const body = { url, prefix, actions, secret: given };
  const { webhook, secret } = await client.call<{ webhook: WebhookJson; secret: string }>(urlOf(space), { method: "POST", body });
  output.event({ type: "webhook", space, ...webhook, secret });
  if (!output.form.json) output.answer([...webhookFacts(webhook, Date.now(), output.screen.paint), `secret     ${secret}`].join("\n"));
  output.line("the secret is told this once; the receiver checks signatures with it");
}

async function changed(context: Context, client: HubClient, what: string, path: string): Promise<WebhookJson> {
  if (what === "show") return client.call(path);
  const enabled = what === "enable" ? true : what === "disable" ? false : undefined;
  const change = { ...choice(context), url: context.parsed.given.url, enabled };
  if (Object.values(change).every((value) => value === undefined)) {
    throw usage("what is to change?", "--url URL, --below PATH, --only KIND");
  }
  return client.call(path, { method: "PATCH", body: change });
}

function choice({ parsed }: Context): { prefix: string | undefined; actions: readonly string[] | undefined } {
  const { below, only } = parsed.given;
  const prefix = below?.replaceAll(/^\/+|\/+$/g, "");
  if (prefix !== undefined) requirePath(prefix, true);
  const isAll = only?.length === 1 && only[0] === "all";
  const actions = isAll ? [] : only?.flatMap((words) => words.split(",")).map((one) => parseChoice(one.trim(), WEBHOOK_ACTIONS));
  return { prefix, actions };
}

async function test({ output }: Context, client: HubClient, path: string): Promise<number> {
  const tried = await client.call<TriedJson>(`${path}/test`, { method: "POST" });
  output.event({ type: "webhook-test", ...tried });
  const { green, red } = output.screen.paint;
  if (tried.delivered) output.answer(`${green("delivered")}: it was taken`);
  else output.answer(`${red("not delivered")}: ${JSON.stringify(tried.error ?? "").slice(1, -1)}`);
  return tried.delivered ? EXIT.same : EXIT.problems;
}

function show({ output }: Context, webhook: WebhookJson): void {
  output.event({ type: "webhook", ...webhook });
  if (!output.form.json) output.answer(webhookFacts(webhook, Date.now(), output.screen.paint).join("\n"));
}
