import { describe, expect, test } from "bun:test";
import { SynclineError } from "#model/error.ts";
import { MemoryChannel, MemoryPipe, linkLost, memoryChannelPair } from "#sync/transport/memory-channel.ts";
import { MESSAGE_BYTES_MAX } from "#sync/wire/channel.ts";

describe("memory-channel", () => {
  test("messages arrive whole, once, in order, then the end", async () => {
    const [a, b] = memoryChannelPair();
    for (let at = 0; at < 5; at++) void a.send(Uint8Array.of(at, at));
    a.end();
    for (let at = 0; at < 5; at++) expect(await b.receive()).toEqual(Uint8Array.of(at, at));
    expect(await b.receive()).toBeUndefined();
    expect(await b.receive()).toBeUndefined();
    const waiting = a.receive();
    void b.send(Uint8Array.of(9));
    expect(await waiting).toEqual(Uint8Array.of(9));
  });

  test("[CHANNEL-1] the sender may reuse its buffer once send is done", async () => {
    const [a, b] = memoryChannelPair();
    const buffer = Uint8Array.of(1, 2, 3);
    await a.send(buffer);
    buffer.fill(0);
    expect(await b.receive()).toEqual(Uint8Array.of(1, 2, 3));
  });

  test("[CHANNEL-2] a full window makes the sender wait until half of it is read", async () => {
    const pipe = new MemoryPipe(100);
    const back = new MemoryPipe(100);
    const a = new MemoryChannel(pipe, back);
    const b = new MemoryChannel(back, pipe);
    expect(a.send(new Uint8Array(60))).toBeUndefined();
    let isFree = false;
    const wait = a.send(new Uint8Array(45));
    expect(wait).toBeInstanceOf(Promise);
    const done = (async () => {
      await wait;
      isFree = true;
    })();
    await Promise.resolve();
    expect(isFree).toBe(false);
    await b.receive();
    await done;
    expect(isFree).toBe(true);
  });

  test("[CHANNEL-2] too large a message and a sender that never waits are refused", () => {
    const [a] = memoryChannelPair();
    expect(() => a.send(new Uint8Array(MESSAGE_BYTES_MAX + 1))).toThrow("too much");
    const flood = (): void => {
      for (let at = 0; at < 40; at++) void a.send(new Uint8Array(MESSAGE_BYTES_MAX));
    };
    expect(flood).toThrow(SynclineError);
  });

  test("[CHANNEL-3] a failure ends both directions for everyone who waits", async () => {
    const [a, b] = memoryChannelPair();
    void a.send(Uint8Array.of(1));
    const receiving = a.receive();
    b.fail(linkLost("gone"));
    await expect(receiving).rejects.toMatchObject({ code: "LINK_LOST" });
    await expect(b.receive()).rejects.toMatchObject({ code: "LINK_LOST" });
    expect(() => a.send(Uint8Array.of(1))).toThrow("gone");
    expect(() => b.send(Uint8Array.of(1))).toThrow("gone");
  });

  test("[CHANNEL-3] a waiting sender learns of the failure", async () => {
    const pipe = new MemoryPipe(10);
    const wait = pipe.send(new Uint8Array(10));
    pipe.fail(linkLost("gone"));
    await expect(wait).rejects.toMatchObject({ code: "LINK_LOST" });
  });
});
