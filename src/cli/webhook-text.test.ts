import { expect, test } from "bun:test";
import type { WebhookJson } from "#gateway/api/routes-webhooks.ts";
import { makePaint } from "#cli/screen.ts";
import { webhookFacts, webhookLines } from "#cli/webhook-text.ts";

const plain = makePaint(false);
const TIME = "2026-11-26T01:00:00.000Z";
const hook: WebhookJson = {
  id: "1fa8df15634eba30", url: "https://ci.example.com/hook", prefix: "", actions: [], enabled: true, created: TIME,
  createdBy: "user:ann", delivered: 9, behind: 0,
};

test("[CLI-62] a webhook that needs somebody says so, with the reason, and nothing reaches the terminal as it is", () => {
  const off = { ...hook, enabled: false, disabledReason: "no delivery since then: HTTP status 500: \u001b[31m" };
  expect(webhookLines([hook, off, { ...hook, failingSince: TIME, lastError: "no route" }, { ...hook, behind: 2, prefix: "a" }], plain)).toEqual([
    "1fa8df15634eba30  up to date         https://ci.example.com/hook",
    "1fa8df15634eba30  switched off       https://ci.example.com/hook",
    "  no delivery since then: HTTP status 500: \\x1b[31m",
    "1fa8df15634eba30  failing            https://ci.example.com/hook",
    "  no route",
    "1fa8df15634eba30  2 changes to tell  https://ci.example.com/hook  below a",
  ]);
  expect(webhookFacts({ ...hook, lastDelivered: TIME }, Date.parse(TIME) + 60_000, plain)).toContain("delivered  up to 9, last 1 min ago");
});
