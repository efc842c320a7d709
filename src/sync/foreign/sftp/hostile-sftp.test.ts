/** SFTP servers that answer with garbage, with too much, with what nobody asked for, in another order, or not at all. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SynclineError } from "#model/error.ts";
import type { Transport } from "#platform/net/transport.ts";
import { ANSWER, Fields, PacketSplitter, PacketWriter, REQUEST, STATUS } from "#platform/net/sftp-wire.ts";
import { SftpChannel } from "#sync/foreign/sftp/sftp-channel.ts";
import { listDirectory, readRange, writeAll } from "#sync/foreign/sftp/sftp-requests.ts";
import { memoryTransports } from "#sync/transport/memory-transport.ts";

type Asked = { readonly type: number; readonly id: number; readonly fields: Fields };
const ok = (id: number, status = 0): Uint8Array => new PacketWriter(ANSWER.status, id).uint32(status).text("").text("").finish();
const file = { size: 5, owner: undefined, mode: 0o100644, mtimeSeconds: 7 };

/** A channel to a server that answers each request as it is told. */
async function channelTo(answer: (asked: Asked, server: Transport) => void, greeting = 3): Promise<SftpChannel> {
  const { client: near, server: far } = memoryTransports();
  const splitter = new PacketSplitter();
  far.listen({
    onData: (bytes) =>
      splitter.push(bytes, (packet) => {
        const copy = packet.slice();
        if (copy[0] === REQUEST.init) return void far.write(new PacketWriter(ANSWER.version, undefined).uint32(greeting).finish());
        const fields = new Fields(copy, 1);
        answer({ type: copy[0]!, id: fields.uint32(), fields }, far);
      }),
    onDrain: () => undefined,
    onClose: () => undefined,
  });
  const channel = new SftpChannel(near);
  await channel.greet();
  return channel;
}

async function codeOf(attempt: Promise<unknown>): Promise<string> {
  try {
    await attempt;
    return "ok";
  } catch (error) {
    if (error instanceof SynclineError) return error.code;
    return error instanceof Error ? error.name : String(error);
  }
}

const stat = (channel: SftpChannel): Promise<unknown> =>
  channel.expect(ANSWER.attrs, "lstat", (packet) => packet.name("/x")).then((fields) => channel.read(fields, (all) => all.toldAttrs()));

describe("an SFTP server that cannot be relied on", () => {
  test("[SFTPC-1] garbage ends the channel with an error, and everybody who waits is told", async () => {
    const kinds = fc.constantFrom(2, 101, 102, 103, 104, 105, 201, 0, 255);
    await fc.assert(
      fc.asyncProperty(kinds, fc.uint8Array({ maxLength: 60 }), fc.boolean(), async (kind, body, isNumbered) => {
        const channel = await channelTo(({ id }, server) => {
          const packet = isNumbered ? new PacketWriter(kind, id) : new PacketWriter(kind, undefined);
          server.write(packet.raw(body).finish());
          // Where it was no answer to anybody, that ends it.
          server.close();
        });
        const codes = await Promise.all([codeOf(stat(channel)), codeOf(listDirectory(channel, "/"))]);
        for (const code of codes) expect(["ok", "PROTOCOL", "LINK_LOST", "SftpRefusal"]).toContain(code);
      }),
      { numRuns: 200 },
    );
    for (const length of [0, (256 << 10) + 1, 2 ** 32 - 1]) {
      const channel = await channelTo((_, server) => {
        const head = new Uint8Array(4);
        new DataView(head.buffer).setUint32(0, length);
        server.write(head);
      });
      expect(await codeOf(stat(channel))).toBe("PROTOCOL");
    }
    expect(await codeOf(channelTo(() => undefined, 2))).toBe("VERSION");
  });

  test("[SFTPC-2] an answer to another number, or a second one, is to nobody and ends the channel", async () => {
    const wrong = await channelTo(({ id }, server) => server.write(ok(id + 1)));
    expect(await codeOf(stat(wrong))).toBe("PROTOCOL");
    let count = 0;
    const twice = await channelTo(({ id }, server) => {
      if (count++ === 0) server.write(new PacketWriter(ANSWER.attrs, id).attrs(file).finish());
      server.write(ok(id));
    });
    expect(await codeOf(stat(twice))).toBe("ok");
    expect(await codeOf(stat(twice))).toBe("PROTOCOL");
  });

  test("[SFTPC-3] a listing is whole, or an error: not when a part is refused, cut off, or the channel ends before its end", async () => {
    const entries = (id: number, ...names: string[]): Uint8Array => {
      const packet = new PacketWriter(ANSWER.name, id).uint32(names.length);
      for (const name of names) packet.name(name).text("").attrs(file);
      return packet.finish();
    };
    const listing = (parts: ((id: number) => Uint8Array | undefined)[]) =>
      channelTo(({ type, id }, server) => {
        if (type === REQUEST.opendir) return void server.write(new PacketWriter(ANSWER.handle, id).text("h").finish());
        if (type !== REQUEST.readdir) return void server.write(ok(id));
        const packet = (parts.shift() ?? ((one) => ok(one, STATUS.eof)))(id);
        if (packet === undefined) server.close();
        else server.write(packet);
      });
    const names = async (parts: ((id: number) => Uint8Array | undefined)[]): Promise<string[] | string> => {
      const channel = await listing(parts);
      try {
        return (await listDirectory(channel, "/")).map(({ name }) => name);
      } catch (error) {
        return error instanceof SynclineError ? error.code : (error as Error).name;
      }
    };
    const many = Array.from({ length: 20 }, (_, at) => (id: number) => entries(id, `f${at}`));
    expect(await names(many)).toHaveLength(20);
    expect(await names([(id) => entries(id, "a"), (id) => ok(id, STATUS.failure)])).toBe("SftpRefusal");
    expect(await names([(id) => entries(id, "a"), () => undefined])).toBe("LINK_LOST");
    expect(await names([(id) => new PacketWriter(ANSWER.name, id).uint32(2).name("a").text("").attrs(file).finish()])).toBe("PROTOCOL");
    expect(await names([(id) => new PacketWriter(ANSWER.name, id).uint32(2 ** 32 - 1).finish()])).toBe("PROTOCOL");
    expect(await names([(id) => new PacketWriter(ANSWER.data, id).text("x").finish()])).toBe("PROTOCOL");
    // What comes behind the end of one answer is part of it.
    expect(await names([(id) => ok(id, STATUS.eof), (id) => entries(id, "late")])).toEqual(["late"]);
  });

  test("[SFTPC-4] bytes come in their order whatever the order and length of the answers", async () => {
    const bytes = Uint8Array.from({ length: 5_000 }, (_, at) => at % 251);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 700 }), fc.integer({ min: 1, max: 700 }), fc.nat(7), async (readBytes, most, late) => {
        const held: Uint8Array[] = [];
        const channel = await channelTo(({ type, id, fields }, server) => {
          if (type !== REQUEST.read) return void server.write(ok(id));
          fields.handle();
          const at = fields.position64();
          const length = Math.min(most, fields.uint32());
          held.push(new PacketWriter(ANSWER.data, id).bytes(bytes.subarray(at, at + length)).finish());
          // Some are held back, and go out last first.
          if (held.length > late) for (const packet of held.splice(0).reverse()) server.write(packet);
          else queueMicrotask(() => { for (const packet of held.splice(0).reverse()) server.write(packet); });
        });
        const pieces: Uint8Array[] = [];
        for await (const piece of readRange({ channel, readBytes, writeBytes: 1 }, "h", 3, bytes.length)) pieces.push(piece.slice());
        expect(Buffer.compare(Buffer.concat(pieces), bytes.subarray(3))).toBe(0);
        channel.destroy(undefined);
      }),
      { numRuns: 40 },
    );
    const more = await channelTo(({ id }, server) => server.write(new PacketWriter(ANSWER.data, id).bytes(bytes).finish()));
    const piece = readRange({ channel: more, readBytes: 100, writeBytes: 1 }, "h", 0, 100).next();
    expect(await codeOf(piece)).toBe("PROTOCOL");
  });

  test("[SFTPC-5] a write that the server refuses in the middle is refused, and what it was given is written in its place", async () => {
    const kept = Buffer.alloc(3_000);
    let refused = -1;
    const channel = await channelTo(({ id, fields }, server) => {
      fields.handle();
      const at = fields.position64();
      Buffer.from(fields.string()).copy(kept, at);
      server.write(ok(id, at === refused ? STATUS.failure : STATUS.ok));
    });
    const never = new AbortController().signal;
    // The source uses its buffer again as soon as it is asked for more.
    const source = async function* (): AsyncGenerator<Uint8Array> {
      const buffer = new Uint8Array(1_000);
      for (let at = 0; at < 3; at++) yield buffer.fill(at + 1);
    };
    const link = { channel, readBytes: 1, writeBytes: 300 };
    expect(await writeAll(link, "h", source(), never)).toBe(3_000);
    expect([kept[0], kept[999], kept[1_000], kept[2_999]]).toEqual([1, 1, 2, 3]);
    refused = 1_300;
    expect(await codeOf(writeAll(link, "h", source(), never))).toBe("SftpRefusal");
  });
});
