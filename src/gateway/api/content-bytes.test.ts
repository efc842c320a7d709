import { expect, test } from "bun:test";
import { type Taking, digestOf } from "#gateway/api/content-bytes.ts";

test("[API-46] a body whose end cannot be told from a cut is refused", () => {
  const digest = `sha-256=:${Buffer.alloc(32).toString("base64")}:`;
  const asked = (headers: Record<string, string>, body: string | undefined): (() => string | undefined) => {
    const request = new Request("https://hub/f", { method: "PUT", headers, ...(body === undefined ? {} : { body }) });
    return () => digestOf({ request, headers: new Headers(headers) } as unknown as Taking);
  };
  expect(asked({}, "bytes")).toThrow("cannot be told from a cut");
  expect(asked({ "content-digest": digest }, "bytes")()).toBe("0".repeat(64));
  for (const framed of [{ "content-length": "5" }, { "transfer-encoding": "chunked" }]) {
    expect(asked(framed, "bytes")()).toBeUndefined();
  }
  expect(asked({}, undefined)()).toBeUndefined();
});
