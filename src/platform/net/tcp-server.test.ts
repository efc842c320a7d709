/** TCP connections that may become TLS: what arrives, in which order, and how an end differs from a cut. */
import { afterAll, describe, expect, test } from "bun:test";
import { once } from "node:events";
import { type Socket, connect, createServer } from "node:net";
import { type TLSSocket, connect as secure } from "node:tls";
import { openSockets } from "#platform/host-bun.ts";
import { makeCertificate } from "#platform/net/certificate.ts";
import {
  type TcpConnection,
  type TcpHandlers,
  type TlsFacts,
  connectTcp,
  listenTcp,
  plainAddress,
} from "#platform/net/tcp-server.ts";

const identity = makeCertificate(["localhost"], Date.UTC(2026, 10, 20));
const HOST = "127.0.0.1";

/** What became of a connection, in order. */
class Seen implements TcpHandlers {
  bytes = 0;
  readonly events: string[] = [];
  readonly closed = Promise.withResolvers<void>();
  readonly #connection: TcpConnection;
  constructor(connection: TcpConnection) {
    this.#connection = connection;
  }
  onData(bytes: Uint8Array): void {
    this.bytes += bytes.length;
  }
  onEnd(isWhole: boolean): void {
    this.events.push(isWhole ? "whole" : "cut");
    this.#connection.end();
  }
  onClose(error: Error | undefined): void {
    this.events.push(error === undefined ? "closed" : "broken");
    this.closed.resolve();
  }
}

type Served = { connection: TcpConnection; seen: Seen; facts: TlsFacts | undefined };
const arrived: ((served: Served) => void)[] = [];
let options: { ticketGroup: string | undefined } | undefined;
const listener = listenTcp({ host: HOST, port: 0 }, async (connection) => {
  const seen = new Seen(connection);
  let facts: TlsFacts | undefined;
  try {
    if (options !== undefined) facts = await connection.startTls({ identity, ...options });
  } catch {
    seen.events.push("no handshake");
  }
  connection.listen(seen);
  arrived.shift()?.({ connection, seen, facts });
});
afterAll(() => listener.close());

function nextServed(): Promise<Served> {
  return new Promise((resolve) => arrived.push(resolve));
}

async function dial(group?: string | undefined | false, session?: Buffer): Promise<{ client: Socket | TLSSocket; served: Served }> {
  options = group === false ? undefined : { ticketGroup: group };
  const served = nextServed();
  const to = { host: HOST, port: listener.port };
  const client = group === false ? connect(to) : secure({ ...to, rejectUnauthorized: false, ...(session && { session }) });
  client.on("error", () => undefined);
  return { client, served: await served };
}

describe("TCP", () => {
  test("[TCP-1] bytes come in order, nothing is read while paused, and the end comes after all of them", async () => {
    const { client, served } = await dial(false);
    served.connection.pause();
    const sent = 8 << 20;
    client.end(Buffer.alloc(sent, 7));
    await Bun.sleep(30);
    const early = served.seen.bytes;
    await Bun.sleep(30);
    expect(served.seen.bytes).toBe(early);
    expect(served.seen.events).toEqual([]);
    served.connection.resume();
    await served.seen.closed.promise;
    expect(served.seen.bytes).toBe(sent);
    expect(served.seen.events).toEqual(["whole", "closed"]);
  });

  test("[TCP-2] a writer waits for a reader that is slow, and everything arrives", async () => {
    for (const group of [false, undefined] as const) {
      const { client, served } = await dial(group);
      client.pause();
      const piece = new Uint8Array(1 << 20).fill(3);
      let waits = 0;
      const writing = (async () => {
        for (let at = 0; at < 16; at++) {
          const full = served.connection.write(piece);
          if (full === undefined) continue;
          waits++;
          await full;
        }
        served.connection.end();
      })();
      await Bun.sleep(20);
      expect(waits).toBe(1);
      let bytes = 0;
      client.on("data", (data: Buffer) => (bytes += data.length));
      client.resume();
      await once(client, "end");
      await writing;
      expect(bytes).toBe(16 << 20);
    }
  });

  test("[TCP-3] small writes that wait keep their order", async () => {
    const { client, served } = await dial(false);
    client.pause();
    const writes = Array.from({ length: 2000 }, (_, at) =>
      served.connection.write(Buffer.from(`${at},`.padEnd(4000, " "))),
    );
    let text = "";
    client.on("data", (data: Buffer) => (text += data.toString()));
    client.resume();
    await Promise.all(writes);
    served.connection.end();
    await once(client, "end");
    expect(text.split(",").map((one) => one.trim()).slice(0, -1)).toEqual(writes.map((_, at) => String(at)));
  });

  test("[TCP-4] a write to a connection that is gone is refused, and one that waits is given up", async () => {
    const { client, served } = await dial(false);
    client.pause();
    let waiting: Promise<void> | undefined;
    while (waiting === undefined) waiting = served.connection.write(new Uint8Array(1 << 20));
    const end = waiting.then(() => "taken", () => "refused");
    client.resetAndDestroy();
    expect(await end).toBe("refused");
    expect(served.seen.events.at(-1)).toBe("broken");
    expect(await served.connection.write(new Uint8Array(1))!.then(() => "taken", () => "refused")).toBe("refused");
  });

  test("[TCP-15] what ends later ends in order, behind what is said meanwhile, and takes nothing more", async () => {
    const { client, served } = await dial(false);
    const other = await dial(false);
    const heard: string[] = [];
    client.on("data", () => undefined).on("end", () => heard.push("end"));
    other.client.on("data", (bytes: Buffer) => heard.push(bytes.toString()));
    served.connection.endLater();
    expect(served.connection.isEnding).toBe(true);
    expect(await served.connection.write(new Uint8Array(1))!.then(() => "taken", () => "refused")).toBe("refused");
    await new Promise((resolve) => setImmediate(resolve));
    other.served.connection.write(Buffer.from("reply"));
    await once(client, "end");
    client.end();
    await served.seen.closed.promise;
    expect(heard).toEqual(["reply", "end"]);
    expect(served.seen.events).toEqual(["closed"]);
    other.served.connection.destroy();
  });

  test("[TCP-5] under TLS an end in order is whole, and a cut is not, whatever was sent last", async () => {
    for (const last of ["", "xy", "a few bytes"]) {
      const { client, served } = await dial();
      client.write(Buffer.alloc(100_000));
      if (last !== "") client.write(last);
      client.end();
      await served.seen.closed.promise;
      expect([last, served.seen.bytes, ...served.seen.events]).toEqual([last, 100_000 + last.length, "whole", "closed"]);
    }
    for (const last of ["xy", "a few bytes"]) {
      options = { ticketGroup: undefined };
      const coming = nextServed();
      // Somebody in the middle, who cuts the stream without being able to end it in order.
      const middle = createServer((near) => {
        const far = connect({ host: HOST, port: listener.port });
        near.on("data", (data) => far.write(data)).on("error", () => undefined);
        far.on("data", (data) => near.write(data)).on("error", () => undefined);
        cut = () => far.end();
      });
      let cut = (): void => undefined;
      middle.listen(0, HOST);
      await once(middle, "listening");
      const { port } = middle.address() as { port: number };
      const client = secure({ host: HOST, port, rejectUnauthorized: false });
      client.on("error", () => undefined);
      const served = await coming;
      client.write(last);
      while (served.seen.bytes < last.length) await Bun.sleep(1);
      cut();
      await served.seen.closed.promise;
      expect([last, served.seen.events[0]]).toEqual([last, "cut"]);
      client.destroy();
      middle.close();
    }
  });

  test("[TCP-6] a session is resumed within its ticket group and in no other", async () => {
    const { client, served } = await dial("one");
    expect(served.facts?.isReused).toBe(false);
    const ticket = once(client, "session");
    await served.connection.write(Buffer.from("hello"));
    const [session] = (await ticket) as [Buffer];
    client.end();
    for (const [group, reused] of [["two", false], [undefined, false], ["one", true]] as const) {
      const again = await dial(group, session);
      expect(again.served.facts?.isReused).toBe(reused);
      again.client.destroy();
    }
  });

  test("[TCP-7] what is no TLS ends the handshake and the connection", async () => {
    options = { ticketGroup: undefined };
    const coming = nextServed();
    const client = connect({ host: HOST, port: listener.port });
    client.on("error", () => undefined);
    client.write("USER joe\r\n".repeat(10));
    const served = await coming;
    expect(served.seen.events[0]).toBe("no handshake");
    expect(served.connection.isClosed).toBe(true);
  });

  test("[TCP-8] a connection that is made can be the server of TLS", async () => {
    const server = createServer();
    server.listen(0, HOST);
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    const coming = once(server, "connection") as Promise<[Socket]>;
    const made = await connectTcp({ address: HOST, port }, 5000);
    const [under] = await coming;
    const client = secure({ socket: under, rejectUnauthorized: false });
    await made.startTls({ identity });
    made.listen(new Seen(made));
    await made.write(Buffer.from("from the server"));
    const [data] = (await once(client, "data")) as [Buffer];
    expect(data.toString()).toBe("from the server");
    client.end();
    server.close();
    await expect(connectTcp({ address: HOST, port }, 5000)).rejects.toThrow();
  });

  test("[TCP-19] what is written behind a write that waits goes out before the end, and before what is written later", async () => {
    const large = new Uint8Array(16 << 20);
    for (const group of [false, undefined] as const) {
      for (const isEnded of [true, false]) {
        const { client, served } = await dial(group);
        const { connection } = await served;
        client.pause();
        const last: Buffer[] = [];
        let length = 0;
        client.on("data", (bytes: Buffer) => {
          length += bytes.length;
          last.splice(0, Math.max(0, last.length - 1));
          last.push(bytes);
        });
        const first = connection.write(large);
        const behind = [connection.write(Buffer.from("second ")), connection.write(Buffer.from("third "))];
        if (isEnded) connection.end();
        else behind.push(first!.then(() => connection.write(Buffer.from("fourth "))));
        const text = isEnded ? "second third " : "second third fourth ";
        client.resume();
        await Promise.all([first, ...behind]);
        while (length < large.length + text.length) await once(client, "data");
        expect(Buffer.concat(last).toString("latin1")).toEndWith(text);
        client.destroy();
      }
    }
  });

  test("[TCP-20] a side that never ends its half of a connection that is ended is cut off in time, and has had all before", async () => {
    const served = nextServed();
    options = { ticketGroup: undefined };
    const to = { host: HOST, port: listener.port, rejectUnauthorized: false, allowHalfOpen: true };
    const client = secure(to);
    client.on("error", () => undefined);
    const { connection, seen } = await served;
    const ended = once(client, "end");
    let text = "";
    client.on("data", (bytes: Buffer) => (text += bytes.toString()));
    void connection.write(Buffer.from("bye"));
    connection.end(50);
    await seen.closed.promise;
    await ended;
    expect(text).toBe("bye");
    const own = `${HOST} ${client.localPort}`;
    while (openSockets()?.acceptedAt(listener.port).some(({ peer }) => peer === own) === true) await Bun.sleep(5);
    client.destroy();
  });

  test("[TCP-9] a port that is taken is refused", () => {
    expect(() => listenTcp({ host: HOST, port: listener.port }, () => undefined)).toThrow();
    expect(plainAddress("::ffff:192.0.2.1")).toBe("192.0.2.1");
    expect(plainAddress("2001:db8::1")).toBe("2001:db8::1");
  });
});
