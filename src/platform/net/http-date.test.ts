import { expect, test } from "bun:test";
import { guardedPost } from "#platform/net/guarded-post.ts";
import { retryAfterMs } from "#platform/net/http-date.ts";

test("[WEBHOOK-16] what an answer asks to wait is heard in seconds and as a date", async () => {
  const now = Date.parse("2026-11-20T10:00:00Z");
  for (const [text, ms] of [
    ["0", 0], ["120", 120_000], [" 1 ", 1000], ["Fri, 20 Nov 2026 10:00:30 GMT", 30_000], ["Fri Nov 20 10:01:00 2026", 60_000],
    ["Fri, 20 Nov 2026 09:00:00 GMT", 0], ["", undefined], ["-1", undefined], ["1e3", undefined], ["soon", undefined],
  ] as const) {
    expect([text, retryAfterMs(text, now)]).toEqual([text, ms]);
  }
  const headers = { "retry-after": "Fri, 31 Dec 9999 23:59:59 GMT" };
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("", { status: 503, headers }) });
  try {
    const { signal } = new AbortController();
    const asked = { url: server.url.href, headers: {}, body: "", timeoutMs: 10_000, mayBePrivate: true, signal };
    expect((await guardedPost(asked)).retryAfterMs).toBeGreaterThan(365 * 86_400_000);
  } finally {
    await server.stop(true);
  }
});
