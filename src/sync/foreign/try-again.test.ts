import { describe, expect, test } from "bun:test";
import { SynclineError } from "#model/error.ts";
import { mayTryAgain } from "#sync/foreign/try-again.ts";

describe("trying again", () => {
  test("[FOREIGN-90] is for a connection that was lost, not closed by us, a few times, as long as anybody wants it", () => {
    const lost = new SynclineError({ code: "LINK_LOST", op: "read", message: "gone", retryable: true });
    const closed = new SynclineError({ code: "LINK_LOST", op: "read", message: "closed" });
    const denied = new SynclineError({ code: "DENIED", op: "read", message: "no", retryable: true });
    const open = new AbortController().signal;
    expect([1, 2, 3].map((tries) => mayTryAgain(lost, tries, 3, open))).toEqual([true, true, false]);
    for (const error of [closed, denied, new Error("x")]) expect(mayTryAgain(error, 1, 3, open)).toBe(false);
    expect(mayTryAgain(lost, 1, 3, AbortSignal.abort())).toBe(false);
  });
});
