/** Webhooks as a person reads them. Pure. */
import type { WebhookJson } from "#gateway/api/routes-webhooks.ts";
import { printablePath } from "#model/path.ts";
import { formatAgo, plural, tableLines } from "#cli/format.ts";
import type { Paint } from "#cli/screen.ts";

function stateOf({ enabled, failingSince, disabledReason, behind }: WebhookJson, paint: Paint): string {
  if (!enabled) return disabledReason === undefined ? paint.dim("switched off") : paint.red("switched off");
  if (failingSince !== undefined) return paint.red("failing");
  return behind === 0 ? paint.green("up to date") : paint.yellow(plural(behind, "change") + " to tell");
}

const limitsOf = ({ prefix, actions }: WebhookJson): string =>
  [prefix === "" ? "" : `below ${printablePath(prefix)}`, actions.length === 0 ? "" : `only ${actions.join(" ")}`]
    .filter((word) => word !== "")
    .join("  ");

export function webhookLines(webhooks: readonly WebhookJson[], paint: Paint): string[] {
  const heads = tableLines(webhooks.map((one) => [one.id, stateOf(one, paint), printablePath(one.url), limitsOf(one)]));
  return webhooks.flatMap((one, at) => [heads[at]!, ...troubleLines(one, paint)]);
}

function troubleLines({ enabled, disabledReason, failingSince, lastError }: WebhookJson, paint: Paint): string[] {
  if (disabledReason !== undefined) return [`  ${paint.red(printablePath(disabledReason))}`];
  return enabled && failingSince !== undefined && lastError !== undefined ? [`  ${paint.red(printablePath(lastError))}`] : [];
}

/** @param nowMs wall clock */
export function webhookFacts(webhook: WebhookJson, nowMs: number, paint: Paint): string[] {
  const { id, url, delivered, lastDelivered, createdBy, created } = webhook;
  const ago = (time: string): string => formatAgo(Math.max(0, nowMs - Date.parse(time)));
  const limits = limitsOf(webhook);
  return [
    ...tableLines([
      ["webhook", paint.bold(id)],
      ["address", printablePath(url)],
      ["state", stateOf(webhook, paint)],
      ["told of", limits === "" ? "every change" : limits],
      ["delivered", lastDelivered === undefined ? `up to ${delivered}` : `up to ${delivered}, last ${ago(lastDelivered)}`],
      ["made", `${ago(created)} by ${printablePath(createdBy)}`],
    ]),
    ...troubleLines(webhook, paint),
  ];
}
