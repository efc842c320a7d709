import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import type { Transport } from "#platform/net/transport.ts";
import { memoryTransports } from "#sync/transport/memory-transport.ts";
import { takeBuffer } from "#sync/wire/buffer-pool.ts";
import { CHANNEL_WINDOW_BYTES, MESSAGE_BYTES_MAX } from "#sync/wire/channel.ts";
import { CREDIT, DATA, END, FAIL, FrameReader, OPEN, PING, frameBytes, writeHeader } from "#sync/wire/frame.ts";
import { CHANNELS_MAX, Mux, PING_MS, SILENT_PINGS_MAX } from "#sync/wire/mux.ts";
import type { MuxChannel } from "#sync/wire/mux-channel.ts";

/** A clock whose sleepers wake only when told. */
class HandClock implements Clock {
  #sleepers: (() => void)[] = [];
  nowMs = (): number => 0;
  monotonicMs = (): number => 0;
  sleep(_ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#sleepers.push(resolve);
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
  }
  async tick(): Promise<void> {
    for (const wake of this.#sleepers.splice(0)) wake();
    await settle();
  }
}

/** Lets everything happen that can happen without a timer. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function pair(onOpen: (channel: MuxChannel) => void) {
  const { client, server, cut } = memoryTransports();
  const clock = new HandClock();
  return {
    clock,
    cut,
    client: new Mux(client, { role: "client", clock }),
    server: new Mux(server, { role: "server", clock, onOpen }),
  };
}

/** The server's half against whatever bytes a test writes. */
function raw(onOpen?: (channel: MuxChannel) => void) {
  const { client, server } = memoryTransports();
  const got: Uint8Array[] = [];
  client.listen({ onData: (bytes) => got.push(Uint8Array.from(bytes)), onDrain: () => undefined, onClose: () => undefined });
  const mux = new Mux(server, { role: "server", clock: new HandClock(), onOpen });
  return { mux, wire: client, got: () => Buffer.concat(got) };
}

const open = (id: number, method = "echo"): Uint8Array => frameBytes(id, OPEN, Buffer.from(method));

/** For what a test starts and ends by cutting the connection. */
async function quietly(body: () => unknown): Promise<void> {
  try {
    await body();
  } catch (error) {
    if (!(error instanceof SynclineError)) throw error;
  }
}

async function echo(channel: MuxChannel): Promise<void> {
  try {
    for (;;) {
      const message = await channel.receive();
      if (message === undefined) break;
      await channel.send(message);
    }
    channel.end();
  } catch {
    // The test fails the channel on purpose.
  }
}

describe("mux", () => {
  test("[MUX-1] messages of any size arrive whole, once and in order", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(fc.nat(40), fc.nat(20_000), fc.constantFrom(0, 16_384, 65_536, MESSAGE_BYTES_MAX)), { maxLength: 12 }),
        async (sizes) => {
          const { client } = pair(echo);
          const channel = client.open("echo");
          const sent = sizes.map((size, at) => new Uint8Array(size).fill(at + 1));
          const sending = (async () => {
            for (const message of sent) await channel.send(message);
            channel.end();
          })();
          const back: Uint8Array[] = [];
          for (let message = await channel.receive(); message !== undefined; message = await channel.receive()) back.push(message);
          await sending;
          expect(back.map((message) => message.length)).toEqual(sizes);
          expect(back.every((message, at) => Buffer.from(message).equals(sent[at]!))).toBe(true);
          client.close();
        },
      ),
      { numRuns: 40 },
    );
  });

  test("[MUX-2] a message above the limit is refused before it is sent", () => {
    const { client } = pair(echo);
    const channel = client.open("echo");
    expect(() => channel.send(new Uint8Array(MESSAGE_BYTES_MAX + 1))).toThrow("a message of");
  });

  test("[MUX-3] a channel nobody reads stops its sender and no other channel", async () => {
    const held: MuxChannel[] = [];
    const { client } = pair((channel) => (channel.method === "hold" ? held.push(channel) : void echo(channel)));
    const stuck = client.open("hold");
    let sent = 0;
    const flood = (async () => {
      for (let round = 0; round < 20; round++) {
        await stuck.send(new Uint8Array(1 << 20));
        sent++;
      }
    })();
    await settle();
    expect(sent).toBe(7);
    const quick = client.open("echo");
    await quick.send(Uint8Array.of(42));
    expect(await quick.receive()).toEqual(Uint8Array.of(42));
    expect(sent).toBe(7);
    const reading = (async () => {
      for (let round = 0; round < 20; round++) await held[0]!.receive();
    })();
    await Promise.all([flood, reading]);
    expect(sent).toBe(20);
    client.close();
  });

  test("[MUX-4] a short message overtakes a bulk transfer", async () => {
    let first: string | undefined;
    const { client } = pair((channel) => {
      void quietly(async () => {
        for (let message = await channel.receive(); message !== undefined; message = await channel.receive()) {
          if (message.length === 1) first = channel.method;
          else if (message[0] === 5) first ??= "bulk";
        }
      });
    });
    const bulk = client.open("bulk");
    for (let at = 0; at < 6; at++) void quietly(() => bulk.send(new Uint8Array(1 << 20).fill(at)));
    void client.open("short").send(Uint8Array.of(1));
    await settle();
    await settle();
    expect(first).toBe("short");
    client.close();
  });

  test("[MUX-5] a failed channel ends both directions with its reason and leaves the others alone", async () => {
    const served: MuxChannel[] = [];
    const { client } = pair((channel) => (channel.method === "fail" ? served.push(channel) : void echo(channel)));
    const bad = client.open("fail");
    const waiting = bad.receive();
    await bad.send(Uint8Array.of(1));
    await settle();
    served[0]!.fail(new SynclineError({ code: "ROOT_BUSY", op: "open", message: "held", hint: "wait", retryable: true }));
    const error = await waiting.catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "ROOT_BUSY", message: "held", hint: "wait", retryable: true });
    expect(() => bad.send(Uint8Array.of(2))).toThrow("held");
    expect(bad.signal.aborted).toBe(true);
    const good = client.open("echo");
    await good.send(Uint8Array.of(7));
    expect(await good.receive()).toEqual(Uint8Array.of(7));
    expect(client.openChannels).toBe(1);
    client.close();
  });

  test("[MUX-6] messages in flight to a channel that has just failed are dropped, not held against anyone", async () => {
    const served: MuxChannel[] = [];
    const { client, server } = pair((channel) => served.push(channel));
    const channel = client.open("x");
    await channel.send(Uint8Array.of(1));
    await settle();
    served[0]!.fail(new Error("enough"));
    for (let at = 0; at < 5; at++) void Promise.resolve(channel.send(new Uint8Array(50_000))).catch(() => undefined);
    await settle();
    expect(server.openChannels).toBe(0);
    expect(channel.failure?.message).toBe("enough");
    expect(() => client.open("again")).not.toThrow();
    client.close();
  });

  test("[MUX-7] a lost connection fails every channel with LINK_LOST", async () => {
    const { client, server, cut } = pair(echo);
    const channel = client.open("echo");
    const waiting = channel.receive().catch((error: unknown) => error);
    cut();
    expect(await waiting).toMatchObject({ code: "LINK_LOST", retryable: true });
    expect(await client.closed).toMatchObject({ code: "LINK_LOST" });
    expect(await server.closed).toMatchObject({ code: "LINK_LOST" });
    expect(() => client.open("echo")).toThrow("was lost");
  });

  test("[MUX-8] silence is answered with a ping, and then with the end of the connection", async () => {
    const { client: wire, server } = memoryTransports();
    const got: number[] = [];
    wire.listen({ onData: (bytes) => got.push(bytes[4]!), onDrain: () => undefined, onClose: () => undefined });
    const clock = new HandClock();
    const mux = new Mux(server, { role: "server", clock });
    await clock.tick();
    expect(got).toEqual([PING]);
    wire.write(frameBytes(0, PING, new Uint8Array(0)));
    await settle();
    await clock.tick();
    for (let silent = 1; silent < SILENT_PINGS_MAX; silent++) await clock.tick();
    expect(mux.openChannels).toBe(0);
    await clock.tick();
    expect(await mux.closed).toMatchObject({ code: "LINK_LOST", message: expect.stringContaining(`${(PING_MS * SILENT_PINGS_MAX) / 1000} s`) });
  });

  const breaches: [name: string, bytes: Uint8Array[]][] = [
    ["an unknown frame type", [frameBytes(1, 99, new Uint8Array(0))]],
    ["a length beyond the limit", [hugeHeader()]],
    ["a channel that was never opened", [frameBytes(1, DATA, Uint8Array.of(1))]],
    ["an even channel from a client", [open(2)]],
    ["a channel number used again", [open(1), open(1)]],
    ["a channel number that goes back", [open(5), open(3)]],
    ["too many channels", Array.from({ length: CHANNELS_MAX + 1 }, (_, at) => open(at * 2 + 1, "hold"))],
    ["a method that is none", [open(1, "Open/../x")]],
    ["more credit than was used", [open(1), frameBytes(1, CREDIT, Uint8Array.of(255, 255, 255, 255))]],
    ["a message after the end", [open(1, "hold"), frameBytes(1, END, new Uint8Array(0)), frameBytes(1, DATA, Uint8Array.of(1))]],
    ["a second end", [open(1, "hold"), frameBytes(1, END, new Uint8Array(0)), frameBytes(1, END, new Uint8Array(0))]],
    ["data on channel 0", [frameBytes(0, DATA, Uint8Array.of(1))]],
    ["a ping on a channel", [open(1), frameBytes(1, PING, new Uint8Array(0))]],
    ["an error that cannot be read", [open(1, "hold"), frameBytes(1, FAIL, Uint8Array.of(200))]],
    ["a flood beyond the window", [open(1, "hold"), ...Array.from({ length: 9 }, () => frameBytes(1, DATA, new Uint8Array(1 << 20)))]],
    ["empty messages beyond the window", [open(1, "hold"), emptyMessages(1, CHANNEL_WINDOW_BYTES / 64 + 1)]],
  ];
  for (const [name, bytes] of breaches) {
    test(`[MUX-9] ends the connection for ${name}`, async () => {
      const { mux, wire, got } = raw(() => undefined);
      for (const piece of bytes) wire.write(piece);
      expect(await mux.closed).toMatchObject({ code: "PROTOCOL" });
      await settle();
      // The other side is told before the connection ends.
      expect(lastFrameType(got())).toBe(FAIL);
    });
  }

  test("[MUX-17] a connection whose silence nobody can notice ends", async () => {
    const { client } = memoryTransports();
    const clock = new HandClock();
    clock.sleep = () => Promise.reject(new Error("no clock"));
    const mux = new Mux(client, { role: "client", clock });
    const channel = mux.open("echo");
    await mux.closed;
    expect(channel.failure?.message).toBe("no clock");
  });

  test("[MUX-10] a side that takes no calls ends the connection when one is opened", async () => {
    const { mux, wire } = raw();
    wire.write(open(1));
    expect(await mux.closed).toMatchObject({ code: "PROTOCOL" });
  });

  test("[MUX-11] a flood of pings is answered once at a time", async () => {
    const { mux, wire, got } = raw();
    const ping = frameBytes(0, PING, new Uint8Array(0));
    wire.write(Buffer.concat(Array.from({ length: 50_000 }, () => ping)));
    await settle();
    expect(got().length).toBeLessThan(9 * 100);
    mux.close();
  });

  test("[MUX-12] random and mutated bytes never do worse than end the connection", async () => {
    const valid = Buffer.concat([
      open(1), frameBytes(1, DATA, Buffer.from("hello")), open(3, "hold"), frameBytes(3, DATA, new Uint8Array(300)),
      frameBytes(1, CREDIT, Uint8Array.of(64, 0, 0, 0)), frameBytes(1, END, new Uint8Array(0)), frameBytes(0, PING, new Uint8Array(0)),
    ]);
    const mutated = fc
      .tuple(fc.array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { maxLength: 6 }), fc.nat(valid.length))
      .map(([edits, length]) => {
        const bytes = Buffer.from(valid);
        for (const [at, value] of edits) bytes[at] = value;
        return new Uint8Array(bytes.subarray(0, length));
      });
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.uint8Array({ maxLength: 400 }), mutated), fc.nat(50), async (bytes, cutAt) => {
        const { mux, wire } = raw((channel) => (channel.method === "echo" ? void echo(channel) : undefined));
        wire.write(bytes.subarray(0, cutAt));
        wire.write(bytes.subarray(cutAt));
        await settle();
        wire.close();
        const reason = await mux.closed;
        expect(reason).toBeInstanceOf(SynclineError);
      }),
      { numRuns: 400 },
    );
  });

  test("[MUX-13] a claimed length costs memory only once, and none before it is allowed", () => {
    const headers: number[] = [];
    const reader = new FrameReader({
      header: (_channel, _type, length) => headers.push(length) > 0 && false,
      frame: () => {
        throw new Error("a skipped payload was delivered");
      },
    });
    const frames = Buffer.concat([frameBytes(1, DATA, new Uint8Array(5000)), frameBytes(1, DATA, new Uint8Array(3))]);
    for (let at = 0; at < frames.length; at += 7) reader.push(frames.subarray(at, at + 7));
    expect(headers).toEqual([5000, 3]);
  });

  test("[MUX-14] bytes on the wire are counted alike on both sides", async () => {
    const { client, server } = pair(echo);
    const channel = client.open("echo");
    for (let at = 0; at < 10; at++) await channel.send(new Uint8Array(10_000));
    channel.end();
    for (let at = 0; at <= 10; at++) await channel.receive();
    expect(client.wireBytes.sent).toBe(server.wireBytes.received);
    expect(server.wireBytes.sent).toBe(client.wireBytes.received);
    expect(client.wireBytes.sent).toBeGreaterThan(100_000);
    client.close();
  });

  test("[MUX-15] a sender may reuse its buffer when send is done, also on a slow transport", async () => {
    const { client, server } = memoryTransports();
    const slow = new SlowTransport(client);
    const got: number[] = [];
    const mux = new Mux(slow, { role: "client", clock: new HandClock() });
    const reader = new Mux(server, {
      role: "server",
      clock: new HandClock(),
      onOpen: (channel) => {
        void quietly(async () => {
          for (let message = await channel.receive(); message !== undefined; message = await channel.receive()) {
            expect(message.every((byte) => byte === message[0])).toBe(true);
            got.push(message[0]!);
          }
        });
      },
    });
    const channel = mux.open("x");
    const buffer = new Uint8Array(200_000);
    for (let at = 1; at <= 8; at++) {
      buffer.fill(at);
      await channel.send(buffer);
      buffer.fill(99);
    }
    channel.end();
    while (got.length < 8) await settle();
    expect(got).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    mux.close();
    reader.close();
  });

  test("[MUX-16] a buffer that is given goes to the next who wants one when it was sent, and not while a connection that ends holds it", async () => {
    const { client, server } = memoryTransports();
    const held = new HeldTransport(client);
    const mux = new Mux(held, { role: "client", clock: new HandClock() });
    server.listen({ onData: () => undefined, onDrain: () => undefined, onClose: () => undefined });
    const channel = mux.open("x");
    const first = takeBuffer(200_000);
    const sent = channel.send(first, true);
    await settle();
    // None that waited in the pool before is left there.
    const others = Array.from({ length: 32 }, () => takeBuffer(200_000));
    expect(others.some(({ buffer }) => buffer === first.buffer)).toBe(false);
    held.go();
    await sent;
    expect(takeBuffer(200_000).buffer === first.buffer).toBe(true);
    const last = takeBuffer(200_000);
    void Promise.resolve(channel.send(last, true)).catch(() => undefined);
    await settle();
    mux.close();
    await settle();
    expect(takeBuffer(200_000).buffer === last.buffer).toBe(false);
  });
});

/** Keeps what is written, from the caller's buffer, until it is let go. */
class HeldTransport implements Transport {
  readonly #inner: Transport;
  #held: Uint8Array[] = [];
  #onDrain: (() => void) | undefined;

  constructor(inner: Transport) {
    this.#inner = inner;
  }

  get label(): string {
    return this.#inner.label;
  }

  write(bytes: Uint8Array): boolean {
    this.#held.push(bytes);
    return false;
  }

  go(): void {
    for (const bytes of this.#held.splice(0)) this.#inner.write(bytes);
    this.#onDrain?.();
  }

  listen(handlers: Parameters<Transport["listen"]>[0]): void {
    this.#onDrain = () => handlers.onDrain();
    this.#inner.listen(handlers);
  }

  close(): void {
    this.#inner.close();
  }
}

/** Takes every write, but only on the next turn of the event loop, from the caller's buffer as it is then. */
class SlowTransport implements Transport {
  readonly label = "slow";
  readonly #inner: Transport;
  #drain: (() => void) | undefined;
  #queue: Uint8Array[] = [];
  constructor(inner: Transport) {
    this.#inner = inner;
  }
  write(bytes: Uint8Array): boolean {
    this.#queue.push(bytes);
    if (this.#queue.length === 1) {
      setImmediate(() => {
        for (const waiting of this.#queue.splice(0)) this.#inner.write(waiting);
        this.#drain?.();
      });
    }
    return false;
  }
  listen(handlers: Parameters<Transport["listen"]>[0]): void {
    this.#drain = () => handlers.onDrain();
    this.#inner.listen({ ...handlers, onData: (bytes) => handlers.onData(bytes), onClose: (error) => handlers.onClose(error), onDrain: () => undefined });
  }
  close(): void {
    this.#inner.close();
  }
}

function hugeHeader(): Uint8Array {
  const header = new Uint8Array(9);
  writeHeader(header, 0, 1, DATA, 0xffff_ffff);
  return header;
}

function emptyMessages(id: number, count: number): Uint8Array {
  const frame = frameBytes(id, DATA, new Uint8Array(0));
  const all = new Uint8Array(frame.length * count);
  for (let at = 0; at < count; at++) all.set(frame, at * frame.length);
  return all;
}

function lastFrameType(bytes: Uint8Array): number | undefined {
  let last: number | undefined;
  new FrameReader({ header: (_channel, type) => (last = type) > 0, frame: () => undefined }).push(bytes);
  return last;
}
