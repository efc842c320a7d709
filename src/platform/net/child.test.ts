import { expect, test } from "bun:test";
import { runShell } from "#platform/net/child.ts";

test("[AGENT-92] a line of the shell that is told to end is not waited for until all that it has started ends by itself", async () => {
  const limit = new AbortController();
  const ended = runShell("sleep 60; true", { input: "", environment: {} }, limit.signal);
  limit.abort(new Error("over"));
  await expect(ended).rejects.toThrow("over");
}, 30_000);
