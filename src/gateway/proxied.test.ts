import { expect, test } from "bun:test";
import { connect } from "node:net";
import { type Arrival, arrivalOf } from "#gateway/proxied.ts";
import { listenTcp } from "#platform/net/tcp-server.ts";

test("[PROXY-3] what comes right behind a balancer's header arrives, and an end in order is told apart from a cut", async () => {
  const arrived = Promise.withResolvers<Arrival | undefined>();
  let next = arrived;
  const listener = listenTcp({ host: "127.0.0.1", port: 0 }, (connection) => {
    void arrivalOf(connection, new Set(["127.0.0.1"])).then((arrival) => next.resolve(arrival));
  });
  const events = async (isCut: boolean): Promise<string> => {
    next = Promise.withResolvers();
    const client = connect({ host: "127.0.0.1", port: listener.port });
    client.on("error", () => undefined);
    client.write("PROXY TCP4 192.0.2.1 198.51.100.1 4000 21\r\nearly");
    const { connection } = (await next.promise)!;
    const seen: string[] = [];
    const over = Promise.withResolvers<void>();
    const later = Promise.withResolvers<void>();
    connection.listen({
      onData(bytes) {
        seen.push(Buffer.from(bytes).toString());
        if (seen.join("").endsWith("later")) later.resolve();
      },
      onEnd(isWhole) {
        seen.push(isWhole ? " whole" : " cut");
        connection.end();
      },
      onClose(error) {
        if (error !== undefined) seen.push(" broken");
        over.resolve();
      },
    });
    client.write(" later");
    await later.promise;
    if (isCut) client.resetAndDestroy();
    else client.end();
    await over.promise;
    client.destroy();
    return seen.join("");
  };
  try {
    expect(await events(false)).toBe("early later whole");
    expect(await events(true)).toBe("early later broken");
  } finally {
    listener.close();
  }
});
