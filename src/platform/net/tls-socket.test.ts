import { expect, test } from "bun:test";
import { connect } from "node:tls";
import { openSockets } from "#platform/host-bun.ts";
import { makeCertificate } from "#platform/net/certificate.ts";
import { connectTls, listenTls } from "#platform/net/tls-socket.ts";
import type { Transport } from "#platform/net/transport.ts";

test("[TLS-6] what arrived is whole during the call, and its memory is free when that returns", async () => {
  const sent = new Uint8Array(3 << 20).map((_, at) => (at * 31 + (at >> 9)) & 255);
  const greeting = Uint8Array.of(1, 2, 3);
  const arrived = Promise.withResolvers<{ got: Uint8Array; views: Uint8Array[] }>();
  const listener = listenTls({
    host: "127.0.0.1", port: 0, identity: makeCertificate(["127.0.0.1"], Date.now()), clientAuthorities: undefined,
    onConnection: () => true,
    onHandshake: (_address, result) => {
      if (result instanceof Error) return arrived.reject(result);
      const got = new Uint8Array(greeting.length + sent.length);
      const views: Uint8Array[] = [];
      let length = 0;
      result.transport.listen({
        onData: (bytes) => {
          got.set(bytes, length);
          views.push(bytes);
          length += bytes.length;
          if (length === got.length) setTimeout(() => arrived.resolve({ got, views }), 0);
        },
        onDrain: () => undefined,
        onClose: (error) => arrived.reject(error ?? new Error("ended too early")),
      });
    },
  });
  let client: Transport | undefined;
  try {
    const options = { host: "127.0.0.1", port: listener.port, authorities: undefined, identity: undefined };
    client = (await connectTls(options, new AbortController().signal)).transport;
    client.listen({ onData: () => undefined, onDrain: () => undefined, onClose: () => undefined });
    client.write(greeting);
    client.write(sent);
    const { got, views } = await arrived.promise;
    expect(Buffer.compare(got, Buffer.concat([greeting, sent]))).toBe(0);
    expect(views.length).toBeGreaterThan(1);
    expect(views.reduce((bytes, view) => bytes + view.buffer.byteLength, 0)).toBeLessThan(sent.length / 2);
  } finally {
    client?.close();
    listener.close();
  }
});

test("[TLS-7] a side that never ends its half of a connection that is closed is cut off, and has had what was said to it", async () => {
  const closed = Promise.withResolvers<Error | undefined>();
  const listener = listenTls({
    host: "127.0.0.1", port: 0, identity: makeCertificate(["127.0.0.1"], Date.now()), clientAuthorities: undefined,
    onConnection: () => true,
    onHandshake: (_address, result) => {
      if (result instanceof Error) return closed.reject(result);
      result.transport.listen({ onData: () => undefined, onDrain: () => undefined, onClose: closed.resolve });
      result.transport.write(Buffer.from("no"));
      result.transport.close();
    },
  });
  const to = { host: "127.0.0.1", port: listener.port, rejectUnauthorized: false, allowHalfOpen: true };
  const client = connect(to);
  let heard = "";
  client.on("error", () => undefined).on("data", (bytes: Buffer) => (heard += bytes.toString()));
  try {
    expect(await closed.promise).toBeUndefined();
    expect(heard).toBe("no");
    while ((openSockets()?.acceptedAt(listener.port) ?? []).length > 0) await Bun.sleep(5);
  } finally {
    client.destroy();
    listener.close();
  }
});
