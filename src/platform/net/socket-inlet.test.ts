/** Bytes of connections that are taken where they are wanted: their order, their end, and what is not touched. */
import { afterAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { readdirSync, readlinkSync } from "node:fs";
import { type Socket, connect } from "node:net";
import { makeCertificate } from "#platform/net/certificate.ts";
import { SocketInlet } from "#platform/net/socket-inlet.ts";
import { type TcpConnection, listenTcp } from "#platform/net/tcp-server.ts";

const HOST = "127.0.0.1";
const arrived: ((connection: TcpConnection) => void)[] = [];
const listener = listenTcp({ host: HOST, port: 0 }, (connection) => arrived.shift()?.(connection));
afterAll(() => listener.close());

async function dial(): Promise<{ client: Socket; served: TcpConnection }> {
  const served = new Promise<TcpConnection>((resolve) => arrived.push(resolve));
  const client = connect({ host: HOST, port: listener.port });
  client.on("error", () => undefined);
  return { client, served: await served };
}

const bytes = randomBytes(24 << 20);

type Taken = { readonly all: Buffer; readonly direct: number; readonly isWhole: boolean };

/** All that comes, with pauses; what is there is taken behind what was handed out. */
function takeAll(served: TcpConnection, most: number): Promise<Taken> {
  const pieces: Uint8Array[] = [];
  let direct = 0;
  let events = 0;
  return new Promise((resolve, reject) => {
    served.listen({
      onData(handed) {
        pieces.push(handed.slice());
        const into = new Uint8Array(most);
        for (let count = served.takeInto(into); count > 0; count = served.takeInto(into)) {
          pieces.push(into.slice(0, count));
          direct += count;
        }
        if (++events % 5 > 0) return;
        served.pause();
        setTimeout(() => served.resume(), 2);
      },
      onEnd: (isWhole) => resolve({ all: Buffer.concat(pieces), direct, isWhole }),
      onClose: () => reject(new Error("closed before its end")),
    });
  });
}

describe("bytes that are taken where they are wanted", () => {
  test("[TCP-16] they come behind what was handed out, and the end comes behind all", async () => {
    for (const most of [1 << 20, 5_000]) {
      const { client, served } = await dial();
      const taking = takeAll(served, most);
      client.end(bytes);
      const { all, direct, isWhole } = await taking;
      expect([all.equals(bytes), direct > bytes.length / 4, isWhole]).toEqual([true, true, true]);
      served.end();
      expect(served.takeInto(new Uint8Array(10))).toBe(0);
    }
  });

  test("[TCP-17] under TLS, and of a connection that has ended, nothing is taken past who decrypts it", async () => {
    const identity = makeCertificate(["localhost"], Date.UTC(2026, 10, 20));
    const { client, served } = await dial();
    const { connect: secure } = await import("node:tls");
    const securing = served.startTls({ identity });
    const inner = secure({ socket: client, rejectUnauthorized: false });
    await securing;
    const taking = takeAll(served, 1 << 20);
    inner.end(bytes);
    const { all, direct } = await taking;
    expect([all.equals(bytes), direct]).toEqual([true, 0]);
    served.destroy();
    expect(served.takeInto(new Uint8Array(10))).toBe(0);
  });

  test("[TCP-18] a descriptor that is not the connection's is not read, and none is left", async () => {
    const { client, served } = await dial();
    const other = await dial();
    const own: number[] = [];
    for (const fd of readdirSync("/proc/self/fd").map(Number)) {
      const inlet = SocketInlet.of(fd, served.remote.port);
      if (inlet !== undefined) own.push(fd);
      inlet?.close();
      expect(inlet?.take(new Uint8Array(1)) ?? 0).toBe(0);
    }
    expect(own.length).toBe(1);
    for (const one of [undefined, "3", -1, 1 << 20]) expect(SocketInlet.of(one, served.remote.port)).toBeUndefined();
    const socket = linkOf(own[0]!);
    const descriptors = (): number => readdirSync("/proc/self/fd").filter((fd) => linkOf(Number(fd)) === socket).length;
    expect(descriptors()).toBe(1);
    served.listen({ onData: () => undefined, onEnd: () => undefined, onClose: () => undefined });
    served.takeInto(new Uint8Array(1));
    expect(descriptors()).toBe(2);
    served.destroy();
    for (let tries = 0; descriptors() > 0 && tries < 500; tries++) await Bun.sleep(5);
    expect(descriptors()).toBe(0);
    for (const one of [client, other.client, other.served]) one.destroy();
  });
});

/** What a descriptor is of; "" for one that was open a moment ago. */
function linkOf(fd: number): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return "";
  }
}
