import { afterAll, describe, expect, test } from "bun:test";
import { createServer } from "node:net";
import { otherScheme } from "#platform/net/connection-words.ts";
import { unreachable } from "#gateway/client/unreachable.ts";

const HINTS = { certificate: "a certificate", otherwise: "is it running?" };

describe("a hub that gives no answer", () => {
  /** Closes whatever connects, as a server does that is spoken to in another way. */
  const closing = createServer((socket) => void socket.on("data", () => socket.destroy()));
  afterAll(() => void closing.close());

  test("[CLI-130] is told with the reason in plain words, and with what to try", async () => {
    const port = await new Promise<number>((done) => closing.listen(0, "127.0.0.1", () => done((closing.address() as { port: number }).port)));
    const plain = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("") });
    const told = async (url: string): Promise<string[]> => {
      const cause = await fetch(url).then(() => new Error("it answers"), (error: unknown) => error);
      const { code, message, hint } = unreachable(url, "ask", cause, HINTS);
      return [code, message, hint ?? ""];
    };
    const nobody = "http://127.0.0.1:1";
    expect(await told(nobody)).toEqual(["LINK_LOST", `the hub at ${nobody} cannot be reached: connection refused (ECONNREFUSED)`, HINTS.otherwise]);
    const secure = `https://127.0.0.1:${plain.port}`;
    expect(await told(secure)).toEqual([
      "LINK_LOST",
      `the hub at ${secure} cannot be reached: the TLS handshake failed (EPROTO)`,
      `it may speak plain HTTP: http://127.0.0.1:${plain.port}`,
    ]);
    const closed = `http://127.0.0.1:${port}`;
    expect(await told(closed)).toEqual([
      "LINK_LOST",
      `the hub at ${closed} cannot be reached: the connection was closed (ECONNRESET)`,
      `it may speak TLS: https://127.0.0.1:${port}`,
    ]);
    const ended = unreachable(secure, "ask", new Error("certificate has expired"), HINTS);
    expect([ended.code, ended.hint]).toEqual(["TRUST", expect.stringContaining("compare the clocks")]);
    const foreign = unreachable(secure, "ask", new Error("self signed certificate"), HINTS);
    expect([foreign.code, foreign.hint]).toEqual(["TRUST", HINTS.certificate]);
    expect(otherScheme("127.0.0.1:7831", new Error("ECONNRESET: gone"))).toBeUndefined();
    await plain.stop(true);
  });
});
