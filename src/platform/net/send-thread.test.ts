/** Large pieces into connections from another thread: all bytes, their order, who is slow, who goes. */
import { afterAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { type Socket, connect } from "node:net";
import { makeCertificate } from "#platform/net/certificate.ts";
import { SocketOutlet } from "#platform/net/send-thread.ts";
import { type TcpConnection, listenTcp } from "#platform/net/tcp-server.ts";

const HOST = "127.0.0.1";
const arrived: ((connection: TcpConnection) => void)[] = [];
const listener = listenTcp({ host: HOST, port: 0 }, (connection) => arrived.shift()?.(connection));
afterAll(() => listener.close());

async function dial(): Promise<{ client: Socket; served: TcpConnection }> {
  const served = new Promise<TcpConnection>((resolve) => arrived.push(resolve));
  const client = connect({ host: HOST, port: listener.port });
  client.pause();
  client.on("error", () => undefined);
  return { client, served: await served };
}

async function allOf(client: Socket): Promise<Buffer> {
  const pieces: Buffer[] = [];
  client.on("data", (piece: Buffer) => pieces.push(piece));
  client.resume();
  await once(client, "end");
  return Buffer.concat(pieces);
}

const quiet = { onData: () => undefined, onEnd: () => undefined, onClose: () => undefined };
/** More than a socket and its buffers take. */
const bytes = randomBytes(24 << 20);

describe("large pieces", () => {
  test("[TCP-10] pieces of any size that are written without waiting arrive in their order, and the end behind them", async () => {
    const { client, served } = await dial();
    served.listen(quiet);
    const lengths = [3 << 20, 10, 1 << 20, 200_000, 70_000, 9 << 20, 1, 10 << 20];
    const written: (Promise<void> | undefined)[] = [];
    let at = 0;
    for (const [index, length] of lengths.entries()) {
      const piece = bytes.subarray(at, at + length);
      written.push(index === 4 ? served.write(piece) : served.writeElsewhere(piece));
      at += length;
    }
    served.end(60_000);
    expect((await allOf(client)).equals(bytes.subarray(0, at))).toBe(true);
    expect((await Promise.allSettled(written)).map(({ status }) => status)).toEqual(lengths.map(() => "fulfilled"));
  });

  test("[TCP-11] a client that takes nothing holds up nobody else", async () => {
    const [slow, ...others] = await Promise.all([dial(), dial(), dial(), dial()]);
    let isSlowDone = false;
    const slowly = slow.served.writeElsewhere(bytes).then(() => (isSlowDone = true));
    for (const { client, served } of others) {
      const all = allOf(client);
      await served.writeElsewhere(bytes);
      served.end();
      expect((await all).equals(bytes)).toBe(true);
    }
    expect(isSlowDone).toBe(false);
    const all = allOf(slow.client);
    await slowly;
    slow.served.end();
    expect((await all).equals(bytes)).toBe(true);
  });

  test("[TCP-12] what waits is refused when either side goes, and no descriptor is left", async () => {
    const warm = await dial();
    await warm.served.writeElsewhere(bytes.subarray(0, 1 << 20));
    const before = readdirSync("/proc/self/fd").length;
    for (const who of ["client", "server"] as const) {
      const { client, served } = await dial();
      served.listen(quiet);
      const written = [served.writeElsewhere(bytes), served.writeElsewhere(bytes)];
      if (who === "client") client.destroy();
      else served.destroy();
      expect((await Promise.allSettled(written)).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
      await expect(served.writeElsewhere(bytes)).rejects.toThrow();
      client.destroy();
      served.destroy();
    }
    while (readdirSync("/proc/self/fd").length > before) await Bun.sleep(5);
    warm.client.destroy();
    warm.served.destroy();
  });

  test("[TCP-13] under TLS they go the same way as all else", async () => {
    const identity = makeCertificate(["localhost"], Date.UTC(2026, 10, 20));
    const { client, served } = await dial();
    const { connect: secure } = await import("node:tls");
    const securing = served.startTls({ identity });
    const inner = secure({ socket: client, rejectUnauthorized: false });
    await securing;
    const all = allOf(inner as unknown as Socket);
    await served.writeElsewhere(bytes);
    served.end();
    expect((await all).equals(bytes)).toBe(true);
  });

  test("[TCP-14] a descriptor that is not the connection's is not written to", async () => {
    const { client, served } = await dial();
    const other = await dial();
    let taken = 0;
    for (const fd of readdirSync("/proc/self/fd").map(Number)) {
      const outlet = SocketOutlet.of(fd, served.remote.port);
      if (outlet !== undefined) taken++;
      outlet?.close();
    }
    expect(taken).toBe(1);
    for (const one of [undefined, "3", -1, 1 << 20]) expect(SocketOutlet.of(one, served.remote.port)).toBeUndefined();
    for (const one of [client, other.client, served, other.served]) one.destroy();
  });
});
